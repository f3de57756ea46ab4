"""Integer constants of the artefact, produced only when they are written."""

from __future__ import annotations

import numpy as np

from ..calibrate import QuantParams, quantize
from ..graph import Array, Lazy, Weight


def quantized(weight: Weight, params: QuantParams, transpose: bool = False) -> Weight:
    """The codes of a weight, computed each time they are read so that a large model never holds all of them.

    Args:
        transpose: swap the two axes of a matrix after quantization.
    """

    def codes() -> Array:
        array = quantize(weight.numpy(), params)
        return np.ascontiguousarray(array.T if transpose else array)

    return Lazy(params.format.dtype, weight.shape[::-1] if transpose else weight.shape, codes)


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
