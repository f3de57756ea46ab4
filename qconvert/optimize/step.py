"""What a step of the accuracy algorithms came to, as a value that goes into the run record as it is."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from ..evaluate.model import Number, Value


class AlgorithmStep(Value):
    """One step of the accuracy algorithms, with its effect on held-out calibration samples.

    Attributes:
        before_db, after_db: output SQNR.
        corrected: both are with quickly corrected biases, since a later step corrects them in earnest; that one is judged without
            and so starts lower than the step before it ends.
        kept: whether the step's change is in the result.
        settings: with which the algorithm ran; held_back: what their limits have left out, in words.
    """

    name: str
    kept: bool
    before_db: Number
    after_db: Number
    corrected: bool = False
    seconds: Number
    settings: dict[str, Any] = Field(default_factory=dict)
    held_back: str = ""
