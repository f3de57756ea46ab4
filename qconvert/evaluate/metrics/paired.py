"""A metric of two models over the same samples, added up sample by sample."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ...graph import Array
from ..model import Interval, Metric
from ..outputs import is_float
from ..statistics import Running, mean_interval, paired_proportions
from .classes import Scores, predictions
from .confusion import added, counts


class Pair(Protocol):
    """A metric under way, for both models."""

    def add(self, reference: Array, output: Array, label: Any, where: str) -> None:
        """Take in one sample: the judged output of the FP32 model and of the result; raises D009 where the label does not fit."""

    def result(self, name: str) -> Metric:
        """The metric so far."""


@dataclass(frozen=True, slots=True)
class Spec:
    """A row of METRICS.

    Attributes:
        start: makes an empty pair.
    """

    higher_is_better: bool
    start: Callable[[], Pair]


class Mean:
    """A metric that is a mean over rows.

    The interval of the drop is that of the mean of the paired differences; where every score is 0 or 1 that of a difference
    of paired proportions.
    """

    def __init__(self, scores: Scores, higher_is_better: bool = True) -> None:
        self._scores, self._better = scores, higher_is_better
        self._before, self._after, self._drop = Running(), Running(), Running()
        self._lost = self._won = 0
        self._hits_only = higher_is_better

    def add(self, reference: Array, output: Array, label: Any, where: str) -> None:
        """Take in one sample."""
        before, after = (self._scores(array, label, where) for array in (reference, output))
        self._hits_only &= bool(np.isin([before, after], (0, 1)).all())
        for old, new in zip(before.tolist(), after.tolist(), strict=True):
            self._before.add(old)
            self._after.add(new)
            self._drop.add(old - new if self._better else new - old)
            self._lost += old > new
            self._won += new > old

    def result(self, name: str) -> Metric:
        """The metric so far."""
        return metric(
            name,
            self._before.mean,
            self._after.mean,
            higher_is_better=self._better,
            samples=self._drop.count,
            interval=self._interval(),
        )

    def _interval(self) -> Interval | None:
        if self._hits_only:
            return paired_proportions(self._lost, self._won, self._drop.count)
        return mean_interval(self._drop)


class Counted:
    """A metric computed from counts of right and wrong classes; being no mean over rows it has no interval."""

    def __init__(self, finish: Callable[[Array], float], threshold: float) -> None:
        self._finish, self._threshold = finish, threshold
        self._before = self._after = np.zeros((3, 0), np.int64)
        self._rows = 0

    def add(self, reference: Array, output: Array, label: Any, where: str) -> None:
        """Take in one sample."""
        before, true = predictions(reference, label, where, self._threshold)
        after, _ = predictions(output, label, where, self._threshold)
        self._before = added(self._before, counts(before, true))
        self._after = added(self._after, counts(after, true))
        self._rows += len(true)

    def result(self, name: str) -> Metric:
        """The metric so far."""
        return metric(
            name, self._finish(self._before), self._finish(self._after), higher_is_better=True, samples=self._rows
        )


class Thresholded:
    """A metric that needs a threshold where there is a single score a label.

    The threshold is 0 for logits and 0.5 for probabilities. Which of them it is shows only after the last sample: if every
    output of the FP32 model lay in 0..1 they are probabilities. So both are counted, and one is picked in the end.
    """

    def __init__(self, start: Callable[[float], Pair]) -> None:
        self._logits, self._probabilities = start(0.0), start(0.5)
        self._low, self._high = np.inf, -np.inf

    def add(self, reference: Array, output: Array, label: Any, where: str) -> None:
        """Take in one sample."""
        self._logits.add(reference, output, label, where)
        self._probabilities.add(reference, output, label, where)
        if is_float(reference):
            self._low = min(self._low, float(reference.min(initial=np.inf)))
            self._high = max(self._high, float(reference.max(initial=-np.inf)))

    def result(self, name: str) -> Metric:
        """The metric so far."""
        inside = self._low >= 0 and self._high <= 1
        return (self._probabilities if inside else self._logits).result(name)


def metric(
    name: str, before: float, after: float, *, higher_is_better: bool, samples: int, interval: Interval | None = None
) -> Metric:
    """A metric with its drop: how much worse `after` is than `before`."""
    drop = 0.0 if before == after else (before - after if higher_is_better else after - before)
    return Metric(
        name=name, float_value=before, value=after, drop=drop,
        higher_is_better=higher_is_better, samples=samples, interval=interval,
    )  # fmt: skip
