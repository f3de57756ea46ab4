"""How the values of a tensor fit into a 16-bit float: what overflows, what loses digits, what becomes zero."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..graph import Array
from .sketch import Sketch

LARGEST = {"float16": 65504.0, "bfloat16": 2.0**127 * (2 - 2.0**-7)}
SMALLEST = {"float16": 2.0**-14, "bfloat16": 2.0**-126}  # normal numbers; below them digits are lost
_NOTHING = {"float16": 2.0**-25, "bfloat16": 2.0**-134}  # half of the smallest subnormal number


@dataclass(frozen=True, slots=True)
class Census:
    """Values of one tensor, counted.

    Attributes:
        size: values seen.
        overflow: beyond the largest number; subnormal: below the smallest normal one, but not zero; lost: those that become zero.
        peak: largest magnitude.
    """

    size: int
    overflow: int
    subnormal: int
    lost: int
    peak: float

    @property
    def clean(self) -> bool:
        """Whether every value keeps its digits."""
        return not (self.overflow or self.subnormal or self.lost)


def census_of_array(values: Array, dtype: str) -> Census:
    """The census of a constant; infinite entries, as in masks, count as overflow."""
    size = np.abs(values[values != 0]).astype(np.float64)
    peak = float(size.max(initial=0.0))
    return _counted(size, np.ones(size.shape), values.size, peak, dtype)


def census_of_sketch(sketch: Sketch, dtype: str) -> Census:
    """The census of an activation; counts are those of the histogram, scaled to all values seen."""
    centres, counts = sketch.bins
    peak = float(np.maximum(-sketch.low, sketch.high))
    share = sketch.size / max(int(counts.sum()), 1)
    found = _counted(np.abs(centres[centres != 0]), counts[centres != 0] * share, sketch.size, peak, dtype)
    if peak > LARGEST[dtype] and not found.overflow:  # the extremes are exact, the histogram is thinned
        return Census(found.size, 1, found.subnormal, found.lost, found.peak)
    return found


def _counted(size: Array, counts: Array, total: int, peak: float, dtype: str) -> Census:
    lost = size <= _NOTHING[dtype]
    small = (size < SMALLEST[dtype]) & ~lost
    overflow, subnormal, gone = (int(np.ceil(counts[mask].sum())) for mask in (size > LARGEST[dtype], small, lost))
    return Census(total, overflow, subnormal, gone, peak)
