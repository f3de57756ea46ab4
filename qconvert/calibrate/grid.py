"""Weights that lie on a grid already, as those of quantized or quantization-aware trained models do: it is found and kept."""

from __future__ import annotations

import numpy as np

from ..graph import Array
from ..targets.formats import Format

_LOOKS = (8, 96)  # values of a channel that are looked at before all of them are
_OFF = 1e-3  # of a step: float32 arithmetic that leads from codes to weights rounds far less
_FEWER = 1 / 12  # share of values that may lose a whole step, at which rounding all of them anew costs as much


def grid_reach(rows: Array, reach: Array, format_: Format) -> Array:
    """For each channel the reach [channels] whose scale gives its values back exactly; NaN where there is none.

    The largest value of a channel on a grid is a whole number k of steps, so every k that the format has is tried, the smallest
    first. One step beyond the format's codes, as two's complement has it on the negative side, is worth its saturation where few
    values lie there.

    Args:
        rows: weights [channels, n]; reach: their largest magnitudes [channels].
    """
    found = np.full(len(rows), np.nan)
    left = np.flatnonzero(reach > 0)
    parts = [rows[:, :: max(1, rows.shape[1] // count)] for count in _LOOKS if count < rows.shape[1]]
    for k in range(1, format_.qmax + 2):
        if not left.size:
            break
        hits = left
        for part in (*parts, rows):
            hits = hits[_whole(part[hits], reach[hits] / k)] if hits.size else hits
        if k > format_.qmax:
            hits = hits[_fits(rows[hits], reach[hits] / k, k, format_)]
        found[hits] = reach[hits] / k * format_.qmax
        left = left[np.isnan(found[left])]
    return found


def _whole(rows: Array, step: Array) -> Array:
    """Channels [bool] whose values are whole steps."""
    codes = rows / step[:, np.newaxis]
    return np.asarray((np.abs(codes - np.rint(codes)) <= _OFF).all(axis=1))


def _fits(rows: Array, step: Array, k: int, format_: Format) -> Array:
    """Channels [bool] of which few values lie beyond the codes of the format."""
    codes = np.rint(rows / step[:, np.newaxis])
    beyond = (codes < format_.qmin) | (codes > format_.qmax)
    return np.asarray(beyond.mean(axis=1) <= _FEWER)
