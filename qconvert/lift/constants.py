"""Constants of a quantized graph as float weights; large ones are dequantized each time they are read."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..graph import Array, Lazy, Weight, weight
from .model import Params

_HELD = 16 << 20  # bytes of a weight that is kept in float; larger ones are computed when they are needed


def dequantized(codes: Weight, params: Params) -> Weight:
    """The real values of integer codes."""
    return _made(lambda: params.real(codes.numpy()), codes)


def rounded(values: Weight, params: Params) -> Weight:
    """Real values after a round trip through their codes."""
    return _made(lambda: params.real(params.codes(values.numpy().astype(np.float32))), values)


def _made(values: Callable[[], Array], like: Weight) -> Weight:
    lazy = Lazy("float32", like.shape, values)
    return weight(values()) if lazy.nbytes <= _HELD else lazy
