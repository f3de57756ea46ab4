"""How well the codes of a tensor are used, from its sketch: clipping and codes that nothing falls on; and outlier channels."""

from __future__ import annotations

import numpy as np

from ..calibrate import QuantParams, Sketch
from ..graph import Array

_WIDTH = 1 / 128  # relative width of a sketch's bucket


def clipped(sketch: Sketch, params: QuantParams) -> float:
    """Share of the values that lie outside of what the codes can say, 0..1."""
    centres, counts = sketch.bins
    total = counts.sum()
    half = float(params.scale.max()) / 2
    outside = (centres < float(params.low.min()) - half) | (centres > float(params.high.max()) + half)
    return float(counts[outside].sum() / total) if total else 0.0


def unused(sketch: Sketch, params: QuantParams) -> float:
    """Share of the codes that no value of the calibration samples falls on, 0..1."""
    low, high = params.format.qmin, params.format.qmax
    size = high - low + 1
    if params.scale.ndim or size > 1 << 12:
        return 0.0
    centres, _ = sketch.bins
    reach = np.abs(centres) * (_WIDTH / 2)
    first, last = (_codes(edge, params) - low for edge in (centres - reach, centres + reach))
    steps = np.zeros(size + 1, dtype=np.int64)
    np.add.at(steps, first, 1)
    np.add.at(steps, last + 1, -1)
    return float(np.mean(np.cumsum(steps[:-1]) == 0)) if centres.size else 1.0


def _codes(values: Array, params: QuantParams) -> Array:
    codes = np.rint(values / float(params.scale)) + float(params.zero_point)
    return np.clip(codes, params.format.qmin, params.format.qmax).astype(np.int64)


def outliers(peaks: Array, factor: float = 6.0) -> tuple[tuple[int, ...], float]:
    """Channels that reach much further than the median one, the furthest first, and the largest ratio."""
    live = peaks[peaks > 0]
    if peaks.size < 4 or not live.size:
        return (), 1.0
    middle = float(np.median(live))
    found = np.flatnonzero(peaks > factor * middle)
    order = sorted(found.tolist(), key=lambda c: (-float(peaks[c]), c))
    return tuple(order[:8]), float(peaks.max()) / middle
