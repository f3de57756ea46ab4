"""What a user asks for, as it was said; loads nothing but the standard library (see `fresh`)."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..recipe import Recipe


@dataclass(frozen=True)
class Asked:
    """What a user asks for, on the command line or in Python.

    Attributes:
        output: file or folder (see `staging.destination`), a folder in any case if it ends with a slash; with several targets the
            folder above theirs.
        data: dataset folder; recipe: file or value, None for the preset of the target.
        targets: names; without any that of the recipe, or those that it lists.
        changes: dotted recipe keys to values, such as {"dataset.samples": 64}; paths in them start in the working directory.
        evaluate: measure accuracy and latency; threads: of calibration and evaluation.
        reports: folder of the reports, None for that of the output.
        update_baseline: the run becomes the baseline of `gates.against`.
        cache: folder of results that later runs take over, None for none.
    """

    model: Path
    output: str | os.PathLike[str]
    data: Path | None = None
    recipe: Path | Recipe | None = None
    targets: Sequence[str] = ()
    changes: Mapping[str, Any] = field(default_factory=dict)
    evaluate: bool = True
    threads: int = 1
    reports: Path | None = None
    update_baseline: bool = False
    cache: Path | None = None

    @property
    def place(self) -> Path:
        """The output as a path."""
        return Path(self.output)

    @property
    def in_folder(self) -> bool:
        """Whether the output is said to be a folder."""
        return os.fspath(self.output).endswith(("/", os.sep))
