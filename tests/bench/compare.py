"""A result against FP32 over the evaluation samples: fidelity and task figures, with intervals of the drop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from qconvert.data import Sample, load_function
from qconvert.evaluate import METRICS, Comparison
from qconvert.runtime import Session

from .cases import OUT, Case

_DRAWS = 300
Outputs = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Figure:
    """One figure of the task.

    Attributes:
        drop: how much worse the result is; low, high: its 95 % interval, paired over samples.
    """

    name: str
    float_value: float
    value: float
    drop: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparisons:
    """What the comparison of one result gave."""

    sqnr_db: float
    figures: tuple[Figure, ...]


def run_all(model: Path, samples: Sequence[Sample]) -> Outputs:
    """Outputs of every sample."""
    session = Session(model)
    return [session.run(sample.feed) for sample in samples]


def compare(case: Case, samples: Sequence[Sample], before: Outputs, after: Outputs) -> Comparisons:
    """Fidelity, and the figures of the recipe's metric."""
    total = Comparison()
    for reference, outputs in zip(before, after, strict=True):
        total.add(reference, outputs)
    request = case.request(OUT / "unused.onnx")
    metric = str(request.recipe.evaluation.metric)
    figures = (
        (_built_in(metric, samples, before, after),)
        if metric in METRICS
        else _drawn(load_function(metric, request.base_dir), samples, before, after)
    )
    return Comparisons(total.result("evaluation").sqnr_db, figures)


def _built_in(metric: str, samples: Sequence[Sample], before: Outputs, after: Outputs) -> Figure:
    pair = METRICS[metric].start()
    for sample, reference, outputs in zip(samples, before, after, strict=True):
        name = next(iter(reference))
        pair.add(reference[name], outputs[name], sample.label, sample.id)
    found = pair.result(metric)
    assert found.interval is not None
    return Figure(metric, found.float_value, found.value, found.drop, found.interval.low, found.interval.high)


def _drawn(user: Any, samples: Sequence[Sample], before: Outputs, after: Outputs) -> tuple[Figure, ...]:
    """Figures of a function in `metrics.py`; the interval comes from drawing its units again, the same for both models."""
    float_units, units = (
        user.units((s.id, s.feed, o, s.label) for s, o in zip(samples, outputs, strict=True))
        for outputs in (before, after)
    )
    float_values, values = user.score(float_units), user.score(units)
    draws = np.random.default_rng(0).integers(len(units), size=(_DRAWS, len(units)))
    drops = [_drops(user, user.score([float_units[i] for i in d]), user.score([units[i] for i in d])) for d in draws]
    found = []
    for name, drop in _drops(user, float_values, values).items():
        low, high = np.percentile([one[name] for one in drops], (2.5, 97.5)).tolist()
        found.append(Figure(name, float_values[name], values[name], drop, low, high))
    return tuple(found)


def _drops(user: Any, before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    return {name: (before[name] - after[name]) * (1 if user.higher_is_better[name] else -1) for name in before}
