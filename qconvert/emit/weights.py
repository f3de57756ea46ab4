"""Integer constants of the artefact, produced only when they are written."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np

from ..calibrate import QuantParams, quantize
from ..graph import Array, Lazy, Weight, numpy_dtype
from ..targets.formats import Format

# As the weight; with its last two axes swapped; [C, blocks, block]; the same packed into bytes, of rank 3 or as rows.
Layout: TypeAlias = Literal["own", "turned", "blocks", "packed", "packed-rows"]


def quantized(weight: Weight, params: QuantParams, layout: Layout = "own") -> Weight:
    """The codes of a weight, computed each time they are read so that a large model never holds all of them."""

    def codes() -> Array:
        array = quantize(weight.numpy(), params)
        if layout in ("own", "turned"):
            return np.ascontiguousarray(np.swapaxes(array, -1, -2) if layout == "turned" else array)
        blocks = _blocks(array, params)
        return blocks if layout == "blocks" else packed(_unsigned(blocks, params.format), params.format).reshape(shape)

    shape = _extent(weight.shape, params, layout)
    return Lazy("uint8" if layout.startswith("packed") else params.format.dtype, shape, codes)


def _extent(shape: tuple[int, ...], params: QuantParams, layout: Layout) -> tuple[int, ...]:
    if layout in ("own", "turned"):
        return (*shape[:-2], shape[-1], shape[-2]) if layout == "turned" else shape
    channels, blocks = params.scale.shape
    size = params.block if layout == "blocks" else params.block * params.format.width // 8
    return (channels, blocks * size) if layout == "packed-rows" else (channels, blocks, size)


def _blocks(codes: Array, params: QuantParams) -> Array:
    """Codes as [C, blocks, block], the last block of a channel filled up with 0."""
    rows = np.moveaxis(codes, params.axis or 0, 0).reshape(params.scale.shape[0], -1)
    missing = params.scale.shape[1] * params.block - rows.shape[1]
    filled = np.pad(rows, ((0, 0), (0, missing))) if missing else rows
    return filled.reshape(*params.scale.shape, params.block)


def _unsigned(codes: Array, format_: Format) -> Array:
    """Codes moved to 0..2^bits-1; onnxruntime's packed operators take the middle for zero where no zero point is given."""
    return (codes.astype(np.int16) + (0 if format_.dtype.startswith("u") else 1 << (format_.width - 1))).astype(
        np.uint8
    )


def packed(codes: Array, format_: Format) -> Array:
    """Unsigned codes [..., n] in bytes [..., ceil(n * width / 8)], the first code in the lowest bits (MatMulNBits)."""
    count = 8 // format_.width
    if count == 1:
        return codes
    missing = -codes.shape[-1] % count
    filled = np.pad(codes, [(0, 0)] * (codes.ndim - 1) + [(0, missing)]) if missing else codes
    parts = filled.reshape(*codes.shape[:-1], -1, count)
    found = np.zeros(parts.shape[:-1], dtype=np.uint8)
    for i in range(count):
        found |= parts[..., i] << (i * format_.width)
    return found


CODES_A_GROUP = 8  # codes are filled up to a multiple of this, so that parts of 1, 2 and 4 bits fill whole bytes


def code_bits(weight: Weight, params: QuantParams, low: int, bits: int) -> Weight:
    """Bits `low` to `low + bits` of the codes, in the order [C, blocks, block], the first code in the lowest bits of a byte.

    Args:
        params: with blocks.
    """
    count = int(params.scale.size) * params.block
    groups = -(-count // CODES_A_GROUP)

    def packed_bits() -> Array:
        codes = (_blocks(quantize(weight.numpy(), params), params).reshape(-1) >> np.uint8(low)) & np.uint8(2**bits - 1)
        if bits == 8:
            return codes
        filled = np.pad(codes, (0, groups * CODES_A_GROUP - count)).reshape(-1, 8 // bits)
        return np.bitwise_or.reduce(filled << np.arange(0, 8, bits, dtype=np.uint8), axis=1, keepdims=True)

    return Lazy("uint8", (count,) if bits == 8 else (groups * bits, 1), packed_bits)


def float_codes(weight: Weight, params: QuantParams, dtype: str, turned: bool) -> Weight:
    """The levels of a weight as numbers of a small float type; `turned` swaps the axes of a matrix."""

    def codes() -> Array:
        levels = np.asarray(params.table)[quantize(weight.numpy(), params)].astype(numpy_dtype(dtype))
        return np.ascontiguousarray(levels.T if turned else levels)

    return Lazy(dtype, weight.shape[::-1] if turned else weight.shape, codes)


def bias_codes(bias: Array, scale: Array) -> Array:
    """int32 codes [C] of a bias in the accumulator's scale (input scale * weight scale)."""
    codes = np.rint(bias.astype(np.float64) / scale.astype(np.float64))
    return np.asarray(np.clip(codes, -(2**31), 2**31 - 1).astype(np.int32))


def anchor_scale(weight: Array, axis: int | None) -> Array:
    """float32 scales [C] of a weight that is only carried in 16 bits: near-float precision."""
    reach = (
        np.abs(weight).max()
        if axis is None
        else np.abs(weight).max(axis=tuple(i for i in range(weight.ndim) if i != axis))
    )
    return np.asarray(np.maximum(reach / 32767, np.finfo(np.float32).tiny), dtype=np.float32)
