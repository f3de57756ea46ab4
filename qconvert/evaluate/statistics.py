"""Confidence intervals, and running means that need no memory of what they have seen."""

from __future__ import annotations

from math import sqrt

from .model import Interval

Z95 = 1.959963984540054  # 97.5 % quantile of the standard normal distribution


def wilson(hits: int, total: int) -> Interval:
    """95 % score interval of a proportion, right at 0 and 1 and for few samples too.

    `(p + z²/2n ± z sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n)` with p = hits/n: E. B. Wilson, Journal of the American
    Statistical Association 22 (1927); recommended by Brown, Cai and DasGupta, Statistical Science 16 (2001).
    """
    if total <= 0:
        return Interval(low=0.0, high=1.0)
    p, square = hits / total, Z95 * Z95
    scale = 1 + square / total
    centre = (p + square / (2 * total)) / scale
    half = Z95 * sqrt(p * (1 - p) / total + square / (4 * total * total)) / scale
    low = 0.0 if hits == 0 else max(centre - half, 0.0)
    return Interval(low=low, high=1.0 if hits == total else min(centre + half, 1.0))


class Running:
    """Mean and spread of a stream of numbers.

    The spread follows Welford's update (Technometrics 4, 1962), which is exactly 0 for equal numbers; the mean is the plain
    quotient, which is exact for counts.
    """

    def __init__(self) -> None:
        self.count = 0
        self._sum = self._middle = self._squares = 0.0

    def add(self, value: float) -> None:
        """Take in one number."""
        self.count += 1
        self._sum += value
        delta = value - self._middle
        self._middle += delta / self.count
        self._squares += delta * (value - self._middle)

    @property
    def mean(self) -> float:
        """Of all numbers so far; 0 before the first."""
        return self._middle if self._squares == 0 else self._sum / self.count

    @property
    def variance(self) -> float:
        """Unbiased sample variance; NaN for fewer than two numbers."""
        return self._squares / (self.count - 1) if self.count > 1 else float("nan")


def mean_interval(values: Running) -> Interval | None:
    """95 % interval of a mean by normal approximation, `mean ± z s / sqrt(n)`; None for fewer than two numbers."""
    if values.count < 2:
        return None
    half = Z95 * sqrt(values.variance / values.count)
    return Interval(low=values.mean - half, high=values.mean + half)


def paired_proportions(lost: int, won: int, total: int) -> Interval | None:
    """95 % interval of the drop `(lost - won) / total` of a share of hits, counted on the same samples before and after.

    The normal approximation with half a pair added to each of the four cells (hit or missed, before and after). Unlike the
    plain one it does not shrink to a point where all samples agree: there it reaches to about ±2/n. A. Agresti and Y. Min,
    Statistics in Medicine 24 (2005).

    Args:
        lost: samples that were hits only before.
        won: samples that are hits only after.
    """
    if total <= 0:
        return None
    n = total + 2
    centre = (lost - won) / n
    half = Z95 * sqrt((lost + won + 1) / n - centre * centre) / sqrt(n)
    return Interval(low=max(centre - half, -1.0), high=min(centre + half, 1.0))
