"""What TensorRT's ONNX importer refuses in Q/DQ nodes: the errors C001 to C009 of `check_tensorrt`.

Sources: `docs/operators.md` of onnx-tensorrt and the assertions of its QuantizeLinear / DequantizeLinear import; sections
"Quantized Types" and "Explicit Quantization" of the TensorRT developer guide for what each type allows.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import ml_dtypes
import numpy as np

from ..errors import Diagnostic, Severity
from ..graph import Node
from .fusion import label
from .quantized import (  # fmt: skip
    DEQUANTIZE,
    QUANTIZE,
    Dequantize,
    Origin,
    Params,
    Quantize,
    QuantizedInput,
    QuantizedView,
    Weighted,
    as_float,
    axis_behind,
)

_KNOWN = frozenset({"int8", "int4", "float8_e4m3fn", "float4_e2m1fn"})
_INTEGER_OPS = frozenset({"DynamicQuantizeLinear", "DynamicQuantizeMatMul", "MatMulIntegerToFloat", "MatMulNBits", "QGemm", "QAttention", "QMoE", "GatherBlockQuantized", "DynamicQuantizeLSTM", "QEmbedLayerNormalization"})  # fmt: skip
_BLOCKS = {"int4": (64, 128), "float4_e2m1fn": (16,), "float8_e4m3fn": (32,)}


def _error(code: str, node: Node, message: str, hint: str) -> Diagnostic:
    return Diagnostic(code, message, label(node), hint, Severity.ERROR)


def _nodes(view: QuantizedView) -> Iterator[tuple[Node, Params, Quantize | Dequantize]]:
    """Q nodes, and those DQ nodes that have no Q of their own, so that a pair counts once."""
    for q in view.quantizes.values():
        yield q.node, q.params, q
    for dq in view.dequantizes.values():
        if dq.quantize is None:
            yield dq.node, dq.params, dq


def _constant(item: Quantize | Dequantize) -> bool:
    return item.constant if isinstance(item, Quantize) else item.source is Origin.WEIGHT


def int32_bias(view: QuantizedView) -> Iterator[Diagnostic]:
    """C001: a DequantizeLinear of int32 is refused (operators.md: DequantizeLinear takes INT8, FP8, INT4)."""
    for dq in view.dequantizes.values():
        if dq.params.dtype == "int32":
            users = ", ".join(f"`{label(n)}`" for n in dq.consumers) or "nothing"
            yield _error(
                "C001",
                dq.node,
                f"int32 bias for: {users}",
                "keep the bias as a float initializer (in onnxruntime's quantizer: `QuantizeBias=False`)",
            )


def other_types(view: QuantizedView) -> Iterator[Diagnostic]:
    """C002: only INT8, INT4, FP8 E4M3 and FP4 exist; a uint8 zero point is read as int8 (developer guide, quantized types)."""
    for node, params, _ in _nodes(view):
        if params.dtype is None or params.dtype in _KNOWN or (params.dtype == "int32" and node.op in DEQUANTIZE):
            continue
        omitted = node.op in QUANTIZE and not node.input(2) and not node.attr("output_dtype")
        why = "no zero point, which means uint8" if omitted else f"quantized type: {params.dtype}"
        yield _error("C002", node, why, "quantize to int8 with an int8 zero point of 0")


def zero_points(view: QuantizedView) -> Iterator[Diagnostic]:
    """C003: quantization is symmetric, and there are as many zero points as scales (both asserted by the importer)."""
    for node, params, _ in _own(view):
        zero, scale = params.zero_point, params.scale
        if zero is None:
            continue
        if np.any(values := as_float(zero)):
            yield _error(
                "C003",
                node,
                f"zero point: {values[values != 0].ravel()[0]:g}",
                "calibrate symmetrically, so that every zero point is 0",
            )
        elif scale is not None and scale.size != zero.size:
            yield _error(
                "C003",
                node,
                f"{zero.size} zero points for {scale.size} scales",
                "give one zero point of 0 for each scale",
            )


def _own(view: QuantizedView) -> Iterator[tuple[Node, Params, Quantize | Dequantize]]:
    """Each pair once; the DQ too where it reads other parameters than its Q."""
    yield from _nodes(view)
    for dq in view.dequantizes.values():
        q = dq.quantize
        if q is not None and (
            (dq.node.input(1) != q.node.input(1) and not dq.params.same_scale(q.params)) or _differ(dq.params, q.params)
        ):
            yield dq.node, dq.params, dq


def _differ(a: Params, b: Params) -> bool:
    return (
        a.zero_point is not None
        and b.zero_point is not None
        and not np.array_equal(as_float(a.zero_point), as_float(b.zero_point))
    )


def scales(view: QuantizedView) -> Iterator[Diagnostic]:
    """C004: the importer asserts that each scale is positive; infinite and subnormal ones lose the values."""
    for node, params, _ in _own(view):
        if params.scale is not None and (why := _bad_scale(params.scale)):
            yield _error(
                "C004",
                node,
                why,
                "give every scale a positive normal number; a channel of zeros takes the scale of its neighbours",
            )


def _bad_scale(scale: Any) -> str | None:
    values = as_float(scale).ravel()
    if not values.size:
        return "no scale at all"
    bad = values[~(np.isfinite(values) & (values > 0))]
    if bad.size:
        return f"scale: {bad[0]:g}"
    tiny = values[values < _smallest_normal(scale.dtype)]
    return f"scale subnormal in {scale.dtype}: {tiny[0]:.3g}" if tiny.size else None


def _smallest_normal(dtype: Any) -> float:
    try:
        return float(ml_dtypes.finfo(dtype).smallest_normal)  # type: ignore[no-untyped-call]
    except (ValueError, TypeError, AttributeError):
        return 0.0


def axes(view: QuantizedView) -> Iterator[Diagnostic]:
    """C005: several scales only on weights, along the output channels (developer guide; the importer counts them)."""
    for node, params, item in _nodes(view):
        if not params.per_channel or params.scale is None:
            continue
        shape = view.shape(node.input(0))
        axis = 1 if params.axis is None else params.axis
        size = shape[axis] if shape is not None and -len(shape) <= axis < len(shape) else None
        if not _constant(item):
            yield _error(
                "C005", node, f"{params.scale.size} scales on an activation", "use one scale for the whole tensor"
            )
        elif params.axis is None:
            yield _error(
                "C005",
                node,
                "several scales without `axis`, which the importer reads as axis 0 and ONNX as axis 1",
                "write the attribute `axis`",
            )
        elif shape is not None and size != params.scale.size:
            yield _error(
                "C005",
                node,
                f"{params.scale.size} scales for axis {axis} of size {size}",
                "give one scale for each output channel",
            )
    for op in view.weighted:
        if (feed := _weight_feed(view, op)) is not None and feed.dq.params.per_channel:
            yield from _wrong_axis(view, op, feed)


def _weight_feed(view: QuantizedView, op: Weighted) -> QuantizedInput | None:
    return None if op.weight is None else view.feed(op.node.input(op.weight))


def _wrong_axis(view: QuantizedView, op: Weighted, feed: QuantizedInput) -> Iterator[Diagnostic]:
    rank = len(view.shape(feed.dq.node.output) or ())
    axis = axis_behind(feed, 1 if feed.dq.params.axis is None else feed.dq.params.axis, rank) if rank else None
    if axis is not None and op.channel is not None and axis != op.channel and feed.dq.source is Origin.WEIGHT:
        hint = f"quantize the weight along axis {op.channel}, its output channels"
        yield _error("C005", op.node, f"weight quantized along axis {axis} of {op.node.op}", hint)


def integer_operators(view: QuantizedView) -> Iterator[Diagnostic]:
    """C006: operators.md marks QLinear*, *Integer and DynamicQuantizeLinear as not supported."""
    for node in view.graph.nodes:
        if node.op.startswith(("QLinear", "QOrdered")) or node.op.endswith("Integer") or node.op in _INTEGER_OPS:
            yield _error(
                "C006",
                node,
                f"operator: {node.op}",
                "export as float operators between QuantizeLinear and DequantizeLinear",
            )


def opsets(view: QuantizedView) -> Iterator[Diagnostic]:
    """C007: the first opset that has the format (ONNX operator changelog); one finding for each format."""
    opset = view.root.graph.opset
    needs: dict[tuple[int, str], list[Node]] = {}
    for node, params, _ in _nodes(view):
        if not node.domain and not node.op.startswith("TRT_"):
            for need in _needs(params):
                needs.setdefault(need, []).append(node)
    for (first, what), nodes in sorted(needs.items(), key=lambda item: item[0]):
        if opset < first:
            yield _error(
                "C007",
                nodes[0],
                f"{what} needs opset {first}, the model has {opset} ({len(nodes)} nodes)",
                f"raise the opset to {first}",
            )


def _needs(params: Params) -> Iterator[tuple[int, str]]:
    dtype = params.dtype or ""
    if params.per_channel:
        yield 13, "per-channel quantization"
    if dtype.startswith("float8"):
        yield 19, "FP8"
    if params.scale is not None and str(params.scale.dtype) in ("float16", "bfloat16"):
        yield 19, f"a {params.scale.dtype} scale"
    if dtype in ("int4", "uint4") or params.blocked:
        yield 21, "INT4 or blocks"
    if dtype.startswith("float4"):
        yield 23, "FP4"


def blocks(view: QuantizedView) -> Iterator[Diagnostic]:
    """C008: block formats and their sizes (developer guide, quantization schemes); INT4 is weight-only and packs two to a byte."""
    for node, params, item in _nodes(view):
        shape = view.shape(node.input(0)) or view.shape(node.output)
        weight_only = (
            params.dtype == "int4"
            and not _constant(item)
            and not (isinstance(item, Dequantize) and item.source is Origin.INTEGER)
        )
        if weight_only:
            yield _error(
                "C008", node, "INT4 on an activation", "quantize activations to int8 or FP8; INT4 is for weights only"
            )
        elif params.dtype == "int4" and shape and (shape[-1] or 0) % 2:
            yield _error(
                "C008", node, f"INT4 with an odd last dimension: {shape[-1]}", "keep this weight in int8, or pad it"
            )
        if params.blocked and (why := _bad_block(params, shape)):
            yield _error(
                "C008",
                node,
                why,
                "use blocks of 64 or 128 for INT4, 16 for FP4, 32 for MXFP8, along the axis that is summed over",
            )
    for op in view.weighted:
        if (feed := _weight_feed(view, op)) is not None and feed.dq.params.blocked:
            yield from _wrong_block_axis(view, op, feed)


def _bad_block(params: Params, shape: tuple[int | None, ...] | None) -> str | None:
    sizes = _BLOCKS.get(params.dtype or "")
    if sizes is None:
        return f"blocks with type {params.dtype}"
    if params.scale is None or shape is None or None in shape:
        return f"block size: {params.block_size}" if params.block_size and params.block_size not in sizes else None
    if params.scale.ndim != len(shape):
        return f"scales of rank {params.scale.ndim} for blocks of a tensor of rank {len(shape)}"
    ratios = [(d or 0, s) for d, s in zip(shape, params.scale.shape, strict=True) if d != s]
    if len(ratios) > 1 or any(s == 0 or d % s for d, s in ratios):
        return f"scales of shape {list(params.scale.shape)} for a tensor of shape {list(shape)}"
    size = ratios[0][0] // ratios[0][1] if ratios else params.block_size
    return f"block size: {size}" if size not in sizes or (params.block_size and params.block_size != size) else None


def _wrong_block_axis(view: QuantizedView, op: Weighted, feed: QuantizedInput) -> Iterator[Diagnostic]:
    rank = len(view.shape(feed.dq.node.output) or ())
    axis = (
        axis_behind(feed, 1 if feed.dq.params.axis is None else feed.dq.params.axis, rank)
        if rank and feed.dq.params.block_size
        else None
    )
    if op.node.op.startswith("Conv"):
        yield _error(
            "C008",
            op.node,
            f"blocks on the weight of {op.node.op}",
            "quantize this weight per channel; blocks are for MatMul and Gemm",
        )
    elif axis is not None and op.depth is not None and axis != op.depth:
        yield _error(
            "C008",
            op.node,
            f"blocks along axis {axis}",
            f"put the blocks along axis {op.depth}, the one that is summed over",
        )


def not_constant(view: QuantizedView) -> Iterator[Diagnostic]:
    """C009: weights and scales are build-time constants, or "could not fuse 2nd input (kernel weights)" (developer guide)."""
    for node, params, _ in _own(view):
        if node.input(1) and node.input(1) not in view.constants and not _dynamic(view, node, params):
            yield _error(
                "C009", node, f"scale computed at run time: {node.input(1)}", "give the scale as an initializer"
            )
    for op in view.weighted:
        feed = _weight_feed(view, op)
        if op.node.op.startswith("Conv") and feed is not None and feed.dq.source is not Origin.WEIGHT:
            yield _error(
                "C009",
                op.node,
                f"quantized weight computed at run time: {op.node.input(1)}",
                "give the weight as an initializer, or leave this operator float",
            )


def _dynamic(view: QuantizedView, node: Node, params: Params) -> bool:
    """Whether the scale is meant to be computed: that of FP4 and MXFP8 activations is (dynamic quantization, TensorRT 10.8)."""
    scale = view.dq(node.input(1))
    maker = view.producer(scale.node.input(0) if scale else node.input(1))
    return (params.dtype or "").startswith("float4") or (maker is not None and "DynamicQuantize" in maker.op)
