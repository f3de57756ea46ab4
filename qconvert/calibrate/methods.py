"""Range methods: pure functions from a sketch to the interval that the codes should cover."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ..graph import Array
from ..targets.formats import Format
from .params import params_for_range
from .sketch import BUCKETS, Sketch

Range = tuple[float, float]


@dataclass(frozen=True, slots=True)
class MethodOptions:
    """Settings that some methods read.

    Attributes:
        percentile: share of the values inside the range, in percent.
    """

    percentile: float = 99.99


def min_max(sketch: Sketch, format_: Format, options: MethodOptions) -> Range:
    """Everything that was seen: no clipping, but outliers coarsen the grid."""
    return sketch.low, sketch.high


def percentile(sketch: Sketch, format_: Format, options: MethodOptions) -> Range:
    """The central share of all values, the rest split evenly between both ends."""
    centres, counts = sketch.bins
    if not counts.size:
        return sketch.low, sketch.high
    reached = np.cumsum(counts)
    tail = (1 - options.percentile / 100) / 2 * reached[-1]
    if sketch.low >= 0 or sketch.high <= 0:
        tail *= 2  # one-sided: nothing to cut at zero
    low = centres[min(np.searchsorted(reached, tail, side="right"), centres.size - 1)]
    high = centres[np.searchsorted(reached, reached[-1] - tail, side="left")]
    return (
        min(float(low), 0.0) if sketch.low < 0 else sketch.low,
        max(float(high), 0.0) if sketch.high > 0 else sketch.high,
    )


_GRID = 2048  # bins of the error estimate: eight a code at 8 bits


def mse(sketch: Sketch, format_: Format, options: MethodOptions) -> Range:
    """The interval with the least mean squared error of rounding and clipping together.

    Both ends are searched in turn on the histogram, coarse to fine; zeros have no error under any range.
    """
    centres, counts = _regrid(sketch)
    if not counts.size or sketch.low >= sketch.high:
        return sketch.low, sketch.high
    low, high = min(sketch.low, 0.0), max(sketch.high, 0.0)
    best = (low, high)
    for step, span in ((0.08, 0.64), (0.02, 0.08), (0.005, 0.02)):
        shrink = np.arange(0.0, span + step / 2, step)
        for ends in _candidates(best, (low, high), shrink, first=step == 0.08):
            errors = clipping_error(centres, counts, ends, format_)
            best = (float(ends[0][errors.argmin()]), float(ends[1][errors.argmin()]))
    return best


def _candidates(best: Range, full: Range, shrink: Array, first: bool) -> list[tuple[Array, Array]]:
    """Intervals to try: both ends together at first, then each end for itself around the best so far."""
    width_low, width_high = full
    moves = shrink if first else np.concatenate([-shrink[::-1], shrink[1:]])
    factor_low = np.clip((best[0] / width_low if width_low else 0.0) - moves, 0.02, 1.0)
    factor_high = np.clip((best[1] / width_high if width_high else 0.0) - moves, 0.02, 1.0)
    still_low, still_high = np.full(moves.shape, best[0]), np.full(moves.shape, best[1])
    sets = [(factor_low * width_low, factor_high * width_high)] if first else []
    if width_low:
        sets.append((factor_low * width_low, still_high))
    if width_high:
        sets.append((still_low, factor_high * width_high))
    return sets


def clipping_error(centres: Array, counts: Array, ends: tuple[Array, Array], format_: Format) -> Array:
    """Sum of squared errors [candidates] that the quantizers of the intervals make on the histogram."""
    params = params_for_range(format_, *ends)
    scale, zero = params.scale.astype(np.float64)[:, None], params.zero_point.astype(np.float64)[:, None]
    # All in one array: fresh ones for every step take longer to come by than the step takes.
    found = np.asarray(centres / scale)
    np.rint(found, out=found)
    found += zero
    np.clip(found, format_.qmin, format_.qmax, out=found)
    found -= zero
    found *= scale
    found -= centres
    return np.asarray(np.square(found, out=found) @ counts)


def _regrid(sketch: Sketch) -> tuple[Array, Array]:
    """The histogram on a uniform grid over [low, high], without exact zeros: means and counts of the filled cells."""
    centres, counts = sketch.bins
    keep = centres != 0
    centres, counts = centres[keep], counts[keep].astype(np.float64)
    if centres.size <= _GRID:
        return centres, counts
    cell = ((centres - sketch.low) * (_GRID / (sketch.high - sketch.low))).astype(np.int64).clip(0, _GRID - 1)
    total = np.bincount(cell, counts, _GRID)
    mean = np.bincount(cell, counts * centres, _GRID)
    filled = total > 0
    return mean[filled] / total[filled], total[filled]


_LEVELS = 128
_NEGATIVE, _INFINITE = BUCKETS // 2, 0x7F80  # first buckets of the negative numbers and of infinity


def entropy(sketch: Sketch, format_: Format, options: MethodOptions) -> Range:
    """The clip that changes the distribution of magnitudes least, by Kullback-Leibler divergence (Migacz 2017).

    The reference is the distribution with everything beyond the clip moved to its last bin, the candidate is the same
    merged to 128 levels. One-sided and two-sided tensors keep their own ratio of ends.
    """
    low, high = min(sketch.low, 0.0), max(sketch.high, 0.0)
    reach = max(-low, high)
    histogram = _magnitudes(sketch, reach)
    if reach == 0 or not histogram.sum():
        return sketch.low, sketch.high
    ends = np.arange(_LEVELS, _GRID + 1, _LEVELS // 8)
    clip = reach * float(ends[int(np.argmin([_divergence(histogram, int(end)) for end in ends]))]) / _GRID
    return max(low, -clip), min(high, clip)


def _magnitudes(sketch: Sketch, reach: float) -> Array:
    """The histogram of magnitudes on _GRID cells over [0, reach], without exact zeros.

    A bucket near `reach` is several cells wide, so its count is spread over all of them. The spike of zeros after Relu says
    nothing about the clip and is left out.
    """
    counts = sketch.counts[1:_INFINITE] + sketch.counts[_NEGATIVE + 1 : _NEGATIVE + _INFINITE]
    edges = np.minimum((np.arange(1, _INFINITE + 1, dtype=np.uint32) << 16).view(np.float32), reach)
    reached = np.concatenate([[0], np.cumsum(counts)])
    return np.diff(np.interp(np.linspace(0, reach, _GRID + 1), edges, reached))


def _divergence(histogram: Array, end: int) -> float:
    reference = histogram[:end].copy()
    reference[-1] += histogram[end:].sum()
    level = (np.arange(end) * _LEVELS) // end
    filled = histogram[:end] > 0
    total, cells = np.bincount(level, histogram[:end], _LEVELS), np.bincount(level, filled, _LEVELS)
    candidate = np.where(filled, (total / np.maximum(cells, 1))[level], 0.0)
    p, q = reference / reference.sum(), candidate / max(candidate.sum(), 1e-30)
    seen = p > 0
    return float(np.sum(p[seen] * np.log(p[seen] / np.maximum(q[seen], 1e-12))))


RANGE_METHODS: dict[str, Callable[[Sketch, Format, MethodOptions], Range]] = {
    "mse": mse,
    "min-max": min_max,
    "percentile": percentile,
    "entropy": entropy,
}
