"""Intervals that are known before any data is seen, in the format of a target."""

from __future__ import annotations

import numpy as np

from ..lift import Grid, Span
from ..targets.formats import Format
from .params import QuantParams, params_for_range

_SIGN = {"uint8": "int8", "int8": "uint8", "uint16": "int16", "int16": "uint16"}


def params_for_span(span: Span, format_: Format, bounds: tuple[float, float] | None = None) -> QuantParams:
    """Parameters that cover an interval.

    Codes that the format can hold are kept bit for bit, and so are those that differ in their sign only. For symmetric formats
    of other codes the larger end decides.

    Args:
        bounds: interval that the values cannot leave; it cuts what had to be computed anew.
    """
    kept = _kept(span.grid, format_) if span.grid is not None else None
    if kept is not None:
        return QuantParams(format_, np.asarray(kept.scale, np.float32), np.asarray(kept.zero_point, format_.dtype))
    low, high = span.low, span.high
    if span.grid is not None and format_.symmetric and -low > high and _is_middle(span.grid):
        low = -high  # signed codes reach one step further down
    if bounds is not None:
        low, high = max(low, bounds[0]), min(high, bounds[1])
    return params_for_range(format_, low, high)


def _kept(grid: Grid, format_: Format) -> Grid | None:
    """The codes as the format writes them; None where it cannot."""
    shift = 1 << (format_.bits - 1)
    if grid.dtype != format_.dtype:
        if grid.dtype != _SIGN.get(format_.dtype):
            return None
        grid = Grid(format_.dtype, grid.scale, grid.zero_point + (shift if format_.dtype.startswith("u") else -shift))
    middle = shift if format_.dtype.startswith("u") else 0
    return grid if not format_.symmetric or grid.zero_point == middle else None


def _is_middle(grid: Grid) -> bool:
    return grid.zero_point == (1 << (8 * np.dtype(grid.dtype).itemsize - 1) if grid.dtype.startswith("u") else 0)
