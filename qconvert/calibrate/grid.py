"""Weights that lie on a grid already, as those of quantized or quantization-aware trained models do: it is found and kept."""

from __future__ import annotations

import numpy as np

from ..graph import Array
from ..targets.formats import Format

_LOOKS = (8, 96)  # values of a channel that are looked at before all of them are
_OFF = 1e-3  # of a step: float32 arithmetic that leads from codes to weights rounds far less
_TOGETHER = 1 << 16  # quotients that are looked at together
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
    first, *parts = [rows[:, :: max(1, rows.shape[1] // count)] for count in _LOOKS if count < rows.shape[1]] + [rows]
    possible = _possible(first, reach, format_.qmax + 1)
    for k in (np.flatnonzero(possible.any(axis=0)) + 1).tolist():
        hits = np.flatnonzero(possible[:, k - 1] & np.isnan(found))
        for part in parts:
            hits = hits[_whole(part[hits], reach[hits] / k)] if hits.size else hits
        if k > format_.qmax:
            hits = hits[_fits(rows[hits], reach[hits] / k, k, format_)]
        found[hits] = reach[hits] / k * format_.qmax
    return found


def _possible(rows: Array, reach: Array, most: int) -> Array:
    """Whether the values of a channel are whole steps [channels, most], by the number of steps in the channel's reach, from 1."""
    steps = reach[:, np.newaxis] / np.arange(1, most + 1, dtype=reach.dtype)
    found = np.zeros(steps.shape, dtype=bool)
    some = np.flatnonzero(reach > 0)
    together = max(1, _TOGETHER // max(1, most * rows.shape[1]))
    for at in range(0, some.size, together):
        part = some[at : at + together]
        found[part] = _whole(rows[part, np.newaxis], steps[part])
    return found


def _whole(rows: Array, step: Array) -> Array:
    """Where [step's shape] all values of the last axis are whole steps."""
    codes = rows / step[..., np.newaxis]
    codes -= np.rint(codes)
    return np.asarray((np.abs(codes, out=codes) <= _OFF).all(axis=-1))


def _fits(rows: Array, step: Array, k: int, format_: Format) -> Array:
    """Channels [bool] of which few values lie beyond the codes of the format."""
    codes = np.rint(rows / step[:, np.newaxis])
    beyond = (codes < format_.qmin) | (codes > format_.qmax)
    return np.asarray(beyond.mean(axis=1) <= _FEWER)
