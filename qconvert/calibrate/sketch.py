"""A mergeable summary of a tensor's values: exact extremes, and a histogram over the upper 16 bits of each float32.

The upper half of a float32 is its bfloat16 bucket: sign, exponent and 7 bits of mantissa. 65,536 counters therefore cover
every float with a relative width of at most 1/128, without a range in advance, and add up across samples, batches and
machines in any order. Large tensors are thinned by a fixed stride per sample, so the result never depends on packaging.
Beside it stand the distinct values themselves while they are few, which shows a tensor that was made of 8-bit numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import ceil, gcd

import numpy as np

from ..graph import Array

BUCKETS = 65_536
LEVELS = 256  # of 8 bits
_LEAST_LEVELS = 64  # fewer values may lie evenly by chance
_OFF_GRID = 0.01  # of a step
THIN_ABOVE = 4_096  # values of one sample's tensor that enter the histogram; extremes always see all


@dataclass(frozen=True, eq=False)
class Sketch:
    """Summary of all values that a tensor took.

    Attributes:
        low, high: exact minimum and maximum, NaN if there was one; 0 if nothing was seen.
        size: number of values seen.
        counts: histogram [65536] over bfloat16 buckets, of a thinned subset.
        levels: distinct values [n] of that subset, ascending; None for more than 256 of them.
    """

    low: float
    high: float
    size: int
    counts: Array
    levels: Array | None = None

    @property
    def reach(self) -> float:
        """Largest magnitude."""
        return max(abs(self.low), abs(self.high))

    def merged(self, other: Sketch) -> Sketch:
        """The sketch of both sets of values; commutative and associative."""
        if not (self.size and other.size):
            return self if self.size else other
        # Not min and max of Python, which can lose a NaN.
        low, high = float(np.minimum(self.low, other.low)), float(np.maximum(self.high, other.high))
        levels = _united(self.levels, other.levels)
        return Sketch(low, high, self.size + other.size, self.counts + other.counts, levels)

    @cached_property
    def step(self) -> float | None:
        """Distance of evenly spaced values that 8 bits hold exactly, zero among them, as of pixels; None for any others."""
        levels = self.levels
        if levels is None or levels.size < _LEAST_LEVELS:
            return None
        low, high = min(self.low, 0.0), max(self.high, 0.0)
        step = (high - low) / max(round((high - low) / float(np.diff(levels).min())), 1)
        places = np.append(levels, [low, high]).astype(np.float64) / step
        exact = np.abs(places - np.rint(places)).max() < _OFF_GRID and _LEAST_LEVELS <= (high - low) / step < LEVELS
        return step if exact else None

    @cached_property
    def bins(self) -> tuple[Array, Array]:
        """Centres [n] (float64, ascending) and counts [n] of the filled buckets; zero is exact."""
        filled = np.flatnonzero(self.counts)
        centres, counts = _centres()[filled], self.counts[filled]
        order = np.argsort(centres, kind="stable")
        return np.clip(centres[order], self.low, self.high), counts[order]


def _united(a: Array | None, b: Array | None) -> Array | None:
    if a is None or b is None:
        return None
    found = np.union1d(a, b)
    return found if found.size <= LEVELS else None


def _centres() -> Array:
    codes = np.arange(BUCKETS, dtype=np.uint32)
    with np.errstate(invalid="ignore"):  # the buckets of infinity and NaN stay empty
        lower = (codes << 16).view(np.float32).astype(np.float64)
        upper = ((codes << 16) | 0xFFFF).view(np.float32).astype(np.float64)
        centres = (lower + upper) / 2
    centres[[0, 0x8000]] = 0.0  # both zeros and what is too small to matter
    return np.asarray(centres)


class Sketcher:
    """Collects the sketch of one tensor, sample by sample, in fixed memory."""

    def __init__(self) -> None:
        self._low, self._high, self._size = np.inf, -np.inf, 0
        self._counts = np.zeros(BUCKETS, dtype=np.int64)
        self._pending = np.empty(BUCKETS, dtype=np.uint16)
        self._filled = 0
        self._levels: Array | None = np.empty(0, np.float32)

    def add(self, values: Array) -> None:
        """Take in one sample's tensor (float32, any shape)."""
        if values.size == 0:
            return
        flat = np.ascontiguousarray(values, dtype=np.float32).reshape(-1)
        self._low = float(np.minimum(self._low, flat.min()))
        self._high = float(np.maximum(self._high, flat.max()))
        self._size += flat.size
        sample = thinned(flat)
        if self._levels is not None:
            self._levels = _united(self._levels, np.unique(sample))
        codes = sample.view(np.uint32) >> np.uint32(16)
        if self._filled + codes.size > BUCKETS:
            self._flush()
        self._pending[self._filled : self._filled + codes.size] = codes
        self._filled += codes.size

    def _flush(self) -> None:
        self._counts += np.bincount(self._pending[: self._filled], minlength=BUCKETS)
        self._filled = 0

    @property
    def width(self) -> float:
        """Largest minus smallest value so far, zero included."""
        return max(self._high, 0.0) - min(self._low, 0.0) if self._size else 0.0

    def result(self) -> Sketch:
        """The sketch of everything added so far."""
        self._flush()
        low, high = (self._low, self._high) if self._size else (0.0, 0.0)
        return Sketch(low, high, self._size, self._counts.copy(), self._levels)


def thinned(flat: Array) -> Array:
    """At most THIN_ABOVE values at a fixed stride that is coprime to the size, so that it cannot lock onto a channel or row."""
    if flat.size <= THIN_ABOVE:
        return flat
    stride = ceil(flat.size / THIN_ABOVE)
    while gcd(stride, flat.size) != 1:
        stride += 1
    return np.ascontiguousarray(flat[::stride])


def sketch_of(values: Array) -> Sketch:
    """The sketch of one array."""
    sketcher = Sketcher()
    sketcher.add(values)
    return sketcher.result()
