"""Sessions timed against each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from qconvert.runtime import Feed, Options, Session
from qconvert.runtime.timing import Timings, time_interleaved


def timed(models: Mapping[str, Path], feed: Feed, rounds: int, budget: float) -> Timings:
    """Time models on the same inputs, interleaved, on one thread."""
    runs: dict[str, Callable[[], object]] = {
        name: partial(Session(path, Options(threads=1)).raw().run, None, dict(feed)) for name, path in models.items()
    }
    return time_interleaved(runs, rounds, budget=budget)
