"""What a file gives on another core: its outputs against this host's, and instructions of one inference, FP32 and result."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from ..graph import Array
from ..runtime import Feed
from ..runtime.emulator import Core, Emulated, emulate
from .fidelity import Comparison
from .model import Emulation


class Runner(Protocol):
    """Runs the file on this host."""

    outputs: tuple[str, ...]

    def run(self, feed: Feed) -> dict[str, Array]:
        """Outputs by name for one batch."""


def measure_emulated(
    core: Core,
    float_model: Path,
    model: Path,
    runner: Runner,
    feeds: Sequence[Feed],
    config: Sequence[tuple[str, str]] = (),
) -> Emulation:
    """Run both files on an emulated core.

    Args:
        runner: the result on this host, for comparison.
        feeds: samples; instructions are counted on the first.

    Raises:
        QConvertError: T001, V008.
    """
    real, found = emulate(core, [float_model, model], feeds, runner.outputs, config)
    here = [runner.run(feed) for feed in feeds]
    compared = Comparison()
    for mine, theirs in zip(here, found.outputs, strict=True):
        compared.add(mine, theirs)
    return Emulation(
        core=core.name,
        title=core.title,
        samples=len(feeds),
        identical=_identical(here, found),
        sqnr_db=compared.result("evaluation").sqnr_db,
        float_instructions=real.instructions,
        instructions=found.instructions,
    )


def _identical(here: Sequence[dict[str, Array]], found: Emulated) -> bool:
    return all(
        np.array_equal(mine[name], theirs[name])
        for mine, theirs in zip(here, found.outputs, strict=True)
        for name in mine
    )
