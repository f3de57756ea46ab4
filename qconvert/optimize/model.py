"""What an accuracy algorithm is, and how a list of them is run: each step is kept only if it helps on held-out samples."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ..data.settings import Settings
from ..evaluate import Number, Value
from .draft import Draft, Lab


class AlgorithmStep(Value):
    """One step of the accuracy algorithms, with its effect on held-out calibration samples.

    Attributes:
        before_db, after_db: output SQNR; kept: whether the step's change is in the result.
    """

    name: str
    kept: bool
    before_db: Number
    after_db: Number
    seconds: Number


@dataclass(frozen=True)
class Algorithm:
    """One row of the table.

    Attributes:
        title: what it does, for people.
        settings: type of its settings in the recipe; its defaults are used by `auto`.
        run: improves a draft.
        auto: part of `algorithms: auto`, in the order of the table.
    """

    title: str
    settings: type[Settings]
    run: Callable[[Draft, Lab, Any], Draft]
    auto: bool = True


_WORTH_DB = 0.05  # less is noise of the held-out samples


def improve(
    draft: Draft,
    lab: Lab,
    steps: Sequence[tuple[str, Algorithm, Settings]],
    always: bool,
    progress: Callable[[int, int], None],
) -> tuple[Draft, tuple[AlgorithmStep, ...]]:
    """Run algorithms one after the other.

    Args:
        steps: name, row and settings of each.
        always: keep every step (they were asked for by name); otherwise only those that gain.
    """
    done: list[AlgorithmStep] = []
    best, score = draft, lab.score(draft)
    for n, (name, algorithm, settings) in enumerate(steps):
        start = time.perf_counter()
        candidate = algorithm.run(best, lab, settings)
        after = lab.score(candidate) if candidate is not best else score
        kept = candidate is not best and (always or after > score + _WORTH_DB)
        done.append(
            AlgorithmStep(name=name, kept=kept, before_db=score, after_db=after, seconds=time.perf_counter() - start)
        )
        if kept:
            best, score = candidate, after
        progress(n + 1, len(steps))
    return best, tuple(done)
