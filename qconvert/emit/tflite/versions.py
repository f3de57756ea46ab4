"""The smallest version of an operator that understands a call; LiteRT refuses a version above the one that it registers.

Source: `tools/versioning/op_version.cc` of TensorFlow Lite. DEPTH_TO_SPACE is the exception: LiteRT registers version 1 only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .model import Tensor

# Operators by the versions for (int8, int16) input; all others have version 1, or a row of their own below.
_BY_TYPE: dict[tuple[int, int], tuple[str, ...]] = {
    (2, 3): ("AVERAGE_POOL_2D", "MAX_POOL_2D", "LOGISTIC", "TANH", "SOFTMAX", "MEAN", "MIRROR_PAD", "REDUCE_MAX", "REDUCE_MIN", "RELU", "RELU6", "RSQRT", "CONCATENATION", "DEQUANTIZE", "ABS", "BATCH_MATMUL"),
    (2, 4): ("MAXIMUM", "MINIMUM", "GATHER", "MUL", "RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"),
    (2, 1): ("STRIDED_SLICE", "SPACE_TO_DEPTH", "SUM", "LOG_SOFTMAX", "SQUARED_DIFFERENCE", "ARG_MAX", "ARG_MIN", "L2_NORMALIZATION"),
    (2, 2): ("SPLIT_V",),
    (1, 2): ("LEAKY_RELU",),
    (3, 3): ("BROADCAST_TO",),
    (3, 1): ("REVERSE_V2", "CONV_2D", "DEPTHWISE_CONV_2D"),
    (2, 5): ("TRANSPOSE",),
}  # fmt: skip
_TYPED = {name: versions for versions, names in _BY_TYPE.items() for name in names}


def version(name: str, options: Mapping[str, Any], inputs: Sequence[Tensor | None], outputs: Sequence[Tensor]) -> int:
    """Version of one call."""
    special = _SPECIAL.get(name)
    data = next((t for t in inputs if t is not None), outputs[0])
    found = special(options, inputs, outputs) if special else 0
    return found or _typed(name, data.dtype)


def _typed(name: str, dtype: str) -> int:
    small, wide = _TYPED.get(name, (1, 1))
    return small if dtype == "int8" else wide if dtype == "int16" else 1


def _rank(inputs: Sequence[Tensor | None]) -> int:
    return max(len(t.shape) for t in inputs if t is not None)


def _broadcasts(inputs: Sequence[Tensor | None]) -> bool:
    return len({t.shape for t in inputs if t is not None}) > 1


def _conv(options: Mapping[str, Any], inputs: Sequence[Tensor | None], outputs: Sequence[Tensor]) -> int:
    data, weight = inputs[0], inputs[1]
    assert data is not None
    assert weight is not None
    if data.shape[-1] != weight.shape[-1] and len(weight.shape) == 4:
        return 6
    return 7 if weight.dtype == "int4" else 0


def _depthwise(options: Mapping[str, Any], inputs: Sequence[Tensor | None], outputs: Sequence[Tensor]) -> int:
    weight = inputs[1]
    return 7 if weight is not None and weight.dtype == "int4" else 0


def _fully_connected(options: Mapping[str, Any], inputs: Sequence[Tensor | None], outputs: Sequence[Tensor]) -> int:
    data, weight = inputs[0], inputs[1]
    assert data is not None
    assert weight is not None
    if data.dtype == "int16" and weight.dtype == "int4":
        return 13
    if len(inputs) == 2:
        return 6
    if options.get("keep_num_dims"):
        return 5
    return 10 if weight.dtype == "int4" else 4 if data.dtype == "int8" else 1


def _mul(options: Mapping[str, Any], inputs: Sequence[Tensor | None], outputs: Sequence[Tensor]) -> int:
    scales = [float(t.scale.reshape(-1)[0]) for t in (*inputs, outputs[0]) if t is not None and t.scale is not None]
    wide = outputs[0].dtype == "int16"
    return (
        3
        if len(scales) == 3 and not wide and np.float32(scales[0]) * np.float32(scales[1]) / np.float32(scales[2]) >= 1
        else 0
    )


def _sum(
    options: Mapping[str, Any], inputs: Sequence[Tensor | None], outputs: Sequence[Tensor], many: int = 0, wide: int = 1
) -> int:
    if outputs[0].dtype == "int16":
        return 1 if options.get("pot", True) else wide
    return many if many and _broadcasts(inputs) and _rank(inputs) > 4 else 2


def _add(options: Mapping[str, Any], inputs: Sequence[Tensor | None], outputs: Sequence[Tensor]) -> int:
    return _sum(options, inputs, outputs, wide=3)


def _sub(options: Mapping[str, Any], inputs: Sequence[Tensor | None], outputs: Sequence[Tensor]) -> int:
    return _sum(options, inputs, outputs, many=3, wide=5)


def _extreme(options: Mapping[str, Any], inputs: Sequence[Tensor | None], outputs: Sequence[Tensor]) -> int:
    return 3 if outputs[0].dtype == "int8" and _broadcasts(inputs) and _rank(inputs) > 4 else 0


def _div(options: Mapping[str, Any], inputs: Sequence[Tensor | None], outputs: Sequence[Tensor]) -> int:
    return 2 if _broadcasts(inputs) and _rank(inputs) > 4 else 1


def _pad(options: Mapping[str, Any], inputs: Sequence[Tensor | None], outputs: Sequence[Tensor]) -> int:
    return 4 if len(outputs[0].shape) > 4 else 3 if outputs[0].dtype == "int16" else 2


def _transpose(options: Mapping[str, Any], inputs: Sequence[Tensor | None], outputs: Sequence[Tensor]) -> int:
    return 4 if len(outputs[0].shape) > 4 and outputs[0].dtype == "int8" else 0


def _strided_slice(options: Mapping[str, Any], inputs: Sequence[Tensor | None], outputs: Sequence[Tensor]) -> int:
    data = inputs[0]
    return 4 if data is not None and len(data.shape) > 4 else 0


def _transpose_conv(options: Mapping[str, Any], inputs: Sequence[Tensor | None], outputs: Sequence[Tensor]) -> int:
    if options.get("activation"):
        return 4
    return 3 if len(inputs) == 4 else 2


def _resize(options: Mapping[str, Any], inputs: Sequence[Tensor | None], outputs: Sequence[Tensor]) -> int:
    return 3 if options.get("half_pixel") and outputs[0].dtype == "int8" else 0


def _nearest(options: Mapping[str, Any], inputs: Sequence[Tensor | None], outputs: Sequence[Tensor]) -> int:
    new = options.get("half_pixel") or options.get("align_corners")
    return 3 if new and outputs[0].dtype == "int8" else 0


def _quantize(options: Mapping[str, Any], inputs: Sequence[Tensor | None], outputs: Sequence[Tensor]) -> int:
    return 2 if outputs[0].dtype == "int16" else 1


_SPECIAL = {
    "CONV_2D": _conv,
    "DEPTHWISE_CONV_2D": _depthwise,
    "FULLY_CONNECTED": _fully_connected,
    "MUL": _mul,
    "ADD": _add,
    "SUB": _sub,
    "DIV": _div,
    "MAXIMUM": _extreme,
    "MINIMUM": _extreme,
    "PAD": _pad,
    "PADV2": _pad,
    "TRANSPOSE": _transpose,
    "STRIDED_SLICE": _strided_slice,
    "TRANSPOSE_CONV": _transpose_conv,
    "RESIZE_BILINEAR": _resize,
    "RESIZE_NEAREST_NEIGHBOR": _nearest,
    "QUANTIZE": _quantize,
}
