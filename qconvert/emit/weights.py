"""Integer constants of the artefact, produced only when they are written."""

from __future__ import annotations

from typing import Literal, TypeAlias

import numpy as np

from ..calibrate import QuantParams, quantize
from ..graph import Array, Lazy, Weight

# As the weight; a matrix with its axes swapped; [C, blocks, block].
Layout: TypeAlias = Literal["own", "turned", "blocks"]


def quantized(weight: Weight, params: QuantParams, layout: Layout = "own") -> Weight:
    """The codes of a weight, computed each time they are read so that a large model never holds all of them."""

    def codes() -> Array:
        array = quantize(weight.numpy(), params)
        arranged = array.T if layout == "turned" else _blocks(array, params) if layout == "blocks" else array
        return np.ascontiguousarray(arranged)

    shape = {"own": weight.shape, "turned": weight.shape[::-1], "blocks": (*params.scale.shape[:2], params.block)}
    return Lazy(params.format.dtype, shape[layout], codes)


def _blocks(codes: Array, params: QuantParams) -> Array:
    """Codes as [C, blocks, block], the last block of a channel filled up with 0."""
    rows = np.moveaxis(codes, params.axis or 0, 0).reshape(params.scale.shape[0], -1)
    missing = params.scale.shape[1] * params.block - rows.shape[1]
    return np.pad(rows, ((0, 0), (0, missing))).reshape(*params.scale.shape, params.block)


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
