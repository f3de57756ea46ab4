"""Time by operator, FP32 beside the result."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..runtime import Feed, Options
from ..runtime.profile import Spent, profile
from .model import Latency, OperatorTime, Profile

RUNS = 15


def measure_operators(float_model: Path, model: Path, options: Options, feed: Feed, latency: Latency) -> Profile:
    """Profile both models on the same inputs; the figures of each add up to its measured latency.

    Raises:
        QConvertError: M006 or M009 where one of them does not run.
    """
    before, after = (profile(path, options, feed, RUNS) for path in (float_model, model))
    return Profile(float_ops=_scaled(before, latency.float_ms), ops=_scaled(after, latency.ms), runs=RUNS)


def _scaled(spent: Mapping[str, Spent], milliseconds: float) -> tuple[OperatorTime, ...]:
    total = sum(each.us for each in spent.values())
    factor = milliseconds * 1000 / total if total else 0.0
    rows = (OperatorTime(op=op, count=each.count, us=each.us * factor) for op, each in spent.items())
    return tuple(sorted(rows, key=lambda row: (-row.us, row.op)))
