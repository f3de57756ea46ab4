"""Scale and zero point, and the arithmetic of quantization that every other module shares."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from ..graph import Array
from ..targets.formats import Format
from .levels import nearest

SMALLEST_SCALE = float(np.finfo(np.float32).tiny)  # a subnormal scale loses precision and is refused by accelerators


@dataclass(frozen=True, eq=False)
class QuantParams:
    """real = scale * (code - zero_point), ONNX QuantizeLinear.

    Attributes:
        scale: float32, scalar [], one a channel [C], or one a block [C, ceil(K / block)].
        zero_point: integers of the format's dtype, same shape.
        axis: channel axis; None for one scale.
        table: levels [2^bits], ascending, that codes are indices of: real = scale * table[code]; None for evenly spaced codes.
        block: number of a channel's K values, in the order of the remaining axes, that share a scale; 0 for all of them.
    """

    format: Format
    scale: Array
    zero_point: Array
    axis: int | None = None
    block: int = 0
    table: Array | None = None

    @property
    def low(self) -> Array:
        """Smallest real value that a code stands for."""
        if self.table is not None:
            return np.asarray(self.scale * self.table[0])
        return np.asarray(self.scale * (self.format.qmin - self.zero_point.astype(np.float32)))

    @property
    def high(self) -> Array:
        """Largest real value that a code stands for."""
        if self.table is not None:
            return np.asarray(self.scale * self.table[-1])
        return np.asarray(self.scale * (self.format.qmax - self.zero_point.astype(np.float32)))


def params_for_range(
    format_: Format, low: Array | float, high: Array | float, axis: int | None = None, block: int = 0
) -> QuantParams:
    """Scale and zero point that represent [low, high] and, exactly, zero.

    A range of zero width gets scale 1, since any scale represents it.
    """
    low_ = np.minimum(np.asarray(low, dtype=np.float64), 0.0)
    high_ = np.maximum(np.asarray(high, dtype=np.float64), 0.0)
    qmin, qmax = format_.qmin, format_.qmax
    if format_.symmetric:
        reach, middle = np.maximum(-low_, high_), 0 if qmin < 0 else (qmax + 1) // 2
        scale = _large_enough(reach / (qmax - middle), format_)
        zero = np.full(scale.shape, middle)
    else:
        scale = _shifts(_large_enough((high_ - low_) / (qmax - qmin), format_), format_)
        with np.errstate(divide="ignore", invalid="ignore"):
            zero = np.where(scale > 0, np.clip(np.rint(qmin - low_ / scale), qmin, qmax), qmin)
    scale = np.where(scale > 0, np.maximum(scale, SMALLEST_SCALE), 1.0)
    scale = _shifts(scale, format_)
    return QuantParams(format_, scale.astype(np.float32), zero.astype(format_.dtype), axis, block)


def _large_enough(scale: Array, format_: Format) -> Array:
    """Scales that the kernel computes with correctly; none stays none."""
    return np.where(scale > 0, np.maximum(scale, format_.least_scale), scale)


def _shifts(scale: Array, format_: Format) -> Array:
    """Scales as the format allows them: any, or the next powers of two."""
    if format_.exponents is None:
        return scale
    whole = np.ceil(np.log2(np.where(scale > 0, scale, 1.0)) - 1e-9)  # powers of two stay what they are
    return np.where(scale > 0, 2.0 ** np.clip(whole, *format_.exponents), scale)


def params_for_scale(format_: Format, scale: Array, axis: int | None = None) -> QuantParams:
    """Symmetric parameters with the given scale."""
    return QuantParams(
        format_, np.asarray(scale, dtype=np.float32), np.zeros(np.shape(scale), dtype=format_.dtype), axis
    )


def params_fixed(format_: Format, scale: float, zero_point: int) -> QuantParams:
    """Parameters that are given, not measured."""
    return QuantParams(format_, np.asarray(scale, dtype=np.float32), np.asarray(zero_point, dtype=format_.dtype))


def quantize(values: Array, params: QuantParams) -> Array:
    """Codes of real values: round half to even, then saturate (ONNX QuantizeLinear)."""
    return _in_pieces(values, params, params.format.dtype if params.table is None else "uint8", _quantized)


def _quantized(values: Array, params: QuantParams) -> Array:
    scale, zero = _along(params, values.shape)
    if params.table is not None:
        return nearest(values / scale, params.table).astype(np.uint8)
    return _codes(values, scale, zero, params.format)


def _codes(values: Array, scale: Array, zero: Array, format_: Format) -> Array:
    if format_.floating:
        with np.errstate(over="ignore"):
            inside = np.clip(values / scale, format_.qmin, format_.qmax)
        return np.asarray(inside.astype(format_.dtype).astype(np.float32))
    with np.errstate(over="ignore"):  # infinity saturates like any large value
        codes = np.rint(values / scale) + zero
    return np.asarray(np.clip(codes, format_.qmin, format_.qmax))


def dequantize(codes: Array, params: QuantParams) -> Array:
    """Real values of codes (ONNX DequantizeLinear)."""
    return _in_pieces(codes, params, "float32", _dequantized)


def _dequantized(codes: Array, params: QuantParams) -> Array:
    scale, zero = _along(params, codes.shape)
    if params.table is not None:
        return np.asarray(params.table[codes.astype(np.intp)] * scale)
    return np.asarray((codes.astype(np.float32) - zero) * scale)


def fake_quantize(values: Array, params: QuantParams) -> Array:
    """Real values after a round trip through the codes."""
    return _in_pieces(values, params, "float32", _rounded)


def _rounded(values: Array, params: QuantParams) -> Array:
    if params.table is not None:
        return _dequantized(_quantized(values, params), params)
    scale, zero = _along(params, values.shape)
    return np.asarray((_codes(values, scale, zero, params.format).astype(np.float32) - zero) * scale)


PIECE = 1 << 22  # elements that are computed together, so that large weights need no memory for intermediate results


def _in_pieces(
    values: Array, params: QuantParams, dtype: str, function: Callable[[Array, QuantParams], Array]
) -> Array:
    if values.size <= PIECE:
        return np.asarray(function(values, params).astype(dtype))
    result, axis = np.empty(values.shape, dtype), params.axis or 0
    single = params.axis is None or params.scale.ndim == 0
    for part in pieces(values.shape, axis):
        where = (slice(None),) * axis + (part,)
        own = params if single else replace(params, scale=params.scale[part], zero_point=params.zero_point[part])
        result[where] = function(values[where], own)
    return result


def pieces(shape: tuple[int, ...], axis: int) -> Iterator[slice]:
    """Stretches of an axis that have about PIECE elements each."""
    step = max(1, PIECE * shape[axis] // max(prod(shape), 1))
    yield from (slice(start, start + step) for start in range(0, shape[axis], step))


def _along(params: QuantParams, extent: tuple[int, ...]) -> tuple[Array, Array]:
    """Scale and zero point in a shape that goes with values of the given one."""
    zero = params.zero_point.astype(np.float32)
    if params.axis is None or params.scale.ndim == 0:
        return params.scale, zero
    if params.block:
        return _spread(params, params.scale, extent), _spread(params, zero, extent)
    shape = [1] * len(extent)
    shape[params.axis] = -1
    return params.scale.reshape(shape), zero.reshape(shape)


def _spread(params: QuantParams, blocks: Array, extent: tuple[int, ...]) -> Array:
    """One value a block [C, B] as one a weight."""
    axis = params.axis or 0
    rest = extent[:axis] + extent[axis + 1 :]
    flat = np.repeat(blocks, params.block, axis=1)[:, : int(np.prod(rest))]
    return np.moveaxis(flat.reshape(extent[axis], *rest), 0, axis)
