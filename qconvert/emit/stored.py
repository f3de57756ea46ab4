"""Stored forms of weights of float layers: how codes are written, and what rebuilds the real values from them.

Everything that keeps a weight in few bits beside float arithmetic goes through here. A store writes one input of a node: it
gives the nodes that stand for it, either with a rebuilt weight as input or as an operator that reads codes itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import TypeAlias

import numpy as np

from ..calibrate import QuantParams
from ..calibrate.levels import global_scale
from ..graph import Array, Dim, Edit, Graph, Node, TensorType, numpy_dtype
from .constants import MICROSOFT, Constants, Key, value_of
from .weights import CODES_A_GROUP, packed

_FP4_NUMBERS, _E8M0_BIAS = 16, 127
TRT, MXFP8 = "trt", "TRT_MXFP8DequantizeLinear"
FLOAT = 1  # ONNX TensorProto.FLOAT
PACKED_BLOCKS = (16, 32, 64, 128, 256)  # that MatMulNBits and GatherBlockQuantized both know


@dataclass(frozen=True, eq=False)
class Shelf:
    """Where stored weights go: the edit under way, its constants, the weights rebuilt so far, and tables stored as packed rows."""

    edit: Edit
    graph: Graph
    constants: Constants
    rebuilt: dict[tuple[str, str, int | None, Key], str]
    tables: frozenset[str] = frozenset()

    def once(self, key: str, name: str, params: QuantParams, make: Callable[[], str]) -> str:
        """The rebuilt form of a weight, made once for equal parameters, so that layers that share a weight still do."""
        found = (key, name, params.axis, value_of(params))
        if found not in self.rebuilt:
            self.rebuilt[found] = make()
        return self.rebuilt[found]

    def chain(self, name: str, steps: Sequence[OpCall], start: str) -> str:
        """Nodes one behind the other, each reading the result before it and some constants."""
        value = start
        for op, others, attributes in steps:
            result = self.edit.fresh(f"{name}/{op.lower()}")
            self.edit.add(Node(op, (value, *others), (result,), attributes, self.edit.fresh_node(f"{name}/{op}")))
            value = result
        return value


Store = Callable[[Shelf, Node, int, QuantParams], list[Node]]
OpCall: TypeAlias = tuple[str, tuple[str, ...], dict[str, object]]  # operator, its inputs after the first, attributes


def dequantized(shelf: Shelf, node: Node, index: int, params: QuantParams) -> list[Node]:
    """Codes behind DequantizeLinear, per channel or per block (opset 21).

    Each reader gets a DequantizeLinear of its own, and a transposed Gemm weight is turned round, as onnxruntime fuses only an
    unshared weight [inputs, outputs] to its kernel for few bits.
    """
    name = node.inputs[index]
    turned = node.op == "Gemm" and bool(node.attr("transB", 0))
    axis = _channel_axis(params, turned)
    blocks: dict[str, object] = {"axis": 1 - axis, "block_size": params.block}

    step: OpCall = ("DequantizeLinear", _scales(shelf, name, params, axis), blocks if params.block else {"axis": axis})
    inputs = [*node.inputs]
    inputs[index] = shelf.chain(name, [step], shelf.constants.codes(name, params, "turned" if turned else "own"))
    plain = {key: value for key, value in node.attributes.items() if not (turned and key == "transB")}
    return [node.with_(inputs=tuple(inputs), attributes=plain)]


def _channel_axis(params: QuantParams, turned: bool) -> int:
    axis = params.axis or 0
    return 1 - axis if turned else axis


def _scales(shelf: Shelf, name: str, params: QuantParams, axis: int) -> tuple[str, str]:
    """Scale and zero point with the blocks along the inputs, wherever these are."""
    scale, zero = params.scale, params.zero_point
    if params.block and axis == 1:
        scale, zero = scale.T, zero.T
    return shelf.constants.shared(scale, f"{name}/scale"), shelf.constants.shared(zero, f"{name}/zero_point")


def folded(shelf: Shelf, node: Node, index: int, params: QuantParams) -> list[Node]:
    """Codes behind Cast, Sub and Mul, which onnxruntime computes when it loads the file: float speed, small file."""
    inputs = [*node.inputs]
    inputs[index] = shelf.once("folded", inputs[index], params, lambda: _folded(shelf, inputs[index], params))
    return [node.with_(inputs=tuple(inputs))]


def _folded(shelf: Shelf, name: str, params: QuantParams) -> str:
    shape = shelf.graph.weight_shape(name)
    start = shelf.constants.codes(name, params, "blocks" if params.block else "own")
    steps = [
        *_scaled(shelf, name, params, len(shape)),
        *(_unblocked(shelf, name, params, shape) if params.block else ()),
    ]
    return shelf.chain(name, steps, start)


def _scaled(shelf: Shelf, name: str, params: QuantParams, rank: int) -> list[OpCall]:
    """From codes to real values; with blocks, the codes are [C, blocks, block]."""
    scale, zero = (_broadcast(a, params, rank) for a in (params.scale, params.zero_point.astype(np.float32)))
    minus: list[OpCall] = [("Sub", (shelf.constants.shared(zero, f"{name}/zero_point"),), {})] if zero.any() else []
    return [("Cast", (), {"to": FLOAT}), *minus, ("Mul", (shelf.constants.shared(scale, f"{name}/scale"),), {})]


def _unblocked(shelf: Shelf, name: str, params: QuantParams, shape: tuple[int, ...]) -> list[OpCall]:
    """From [C, blocks, block] back to the weight's own shape."""
    axis = params.axis or 0
    front = [axis, *(i for i in range(len(shape)) if i != axis)]
    rest, filled = prod(shape) // shape[axis], params.scale.shape[1] * params.block
    steps: list[OpCall] = []
    if filled != rest:
        bounds = tuple(shelf.constants.numbers((value,)) for value in (0, rest, 1))
        steps += [("Reshape", (shelf.constants.numbers((shape[axis], filled)),), {}), ("Slice", bounds, {})]
    steps += [("Reshape", (shelf.constants.numbers(tuple(shape[i] for i in front)),), {})]
    return steps + ([("Transpose", (), {"perm": tuple(int(i) for i in np.argsort(front))})] if axis else [])


def _broadcast(values: Array, params: QuantParams, rank: int) -> Array:
    if params.block:
        return values[:, :, None]
    return values.reshape([-1 if i == params.axis else 1 for i in range(rank)])


def picked(shelf: Shelf, node: Node, index: int, params: QuantParams) -> list[Node]:
    """A Gather from a float table [V, D] as: pick the codes and the scales of the rows, then multiply.

    Rebuilding only the picked rows keeps the table in few bits in memory as well.
    """
    table, rows = node.inputs[0], node.inputs[1]
    parts = {"codes": shelf.constants.codes(table, params, "blocks" if params.block else "own")}
    zero = _broadcast(params.zero_point.astype(np.float32), params, 2)
    if zero.any():
        parts["zero_point"] = shelf.constants.shared(zero, f"{table}/zero_point")
    parts["scale"] = shelf.constants.shared(_broadcast(params.scale, params, 2), f"{table}/scale")
    found = {part: shelf.edit.fresh(f"{node.output}/{part}") for part in parts}
    for part, source in parts.items():
        name = shelf.edit.fresh_node(f"{node.name}/{part}")
        shelf.edit.add(Node("Gather", (source, rows), (found[part],), {"axis": 0}, name))
    steps: list[OpCall] = [("Cast", (), {"to": FLOAT})]
    steps += [("Sub", (found["zero_point"],), {})] if "zero_point" in found else []
    steps += [("Mul", (found["scale"],), {}), *(_unblocked_rows(shelf, node, params) if params.block else ())]
    last, others, attributes = steps.pop()
    value = shelf.chain(node.output, steps, found["codes"])
    return [Node(last, (value, *others), node.outputs, attributes, shelf.edit.fresh_node(f"{node.name}/rebuilt"))]


def _unblocked_rows(shelf: Shelf, node: Node, params: QuantParams) -> list[OpCall]:
    """From rows [..., blocks, block] to rows [..., D]."""
    rank, width = shelf.graph.type_of(node.inputs[1]).rank, shelf.graph.weight_shape(node.inputs[0])[1]
    steps: list[OpCall] = [("Reshape", (shelf.constants.numbers((*([0] * (rank or 0)), -1)),), {})]
    if params.scale.shape[1] * params.block != width:
        steps += [("Slice", tuple(shelf.constants.numbers((value,)) for value in (0, width, -1)), {})]
    return steps


def product(shelf: Shelf, node: Node, index: int, params: QuantParams) -> list[Node]:
    """A MatMul or Gemm as MatMulNBits (com.microsoft), which multiplies codes; activations are rounded to 8 bits by block."""
    name = node.inputs[index]
    outputs, inputs = stored_matrix(shelf.graph.weight_shape(name), params)
    params = in_blocks(params, inputs)
    attributes = {
        "K": inputs,
        "N": outputs,
        "bits": params.format.width,
        "block_size": params.block,
        "accuracy_level": 4,
    }
    operands = (node.inputs[0], _packed(shelf, name, params), *_packed_scales(shelf, name, params))
    bias = node.input(2) if node.op == "Gemm" else ""
    if not bias:
        return [Node("MatMulNBits", operands, node.outputs, attributes, node.name, MICROSOFT)]
    if _shape_of(shelf.graph, bias) == (outputs,):
        operands = (*operands, *[""] * (5 - len(operands)), bias)
        return [Node("MatMulNBits", operands, node.outputs, attributes, node.name, MICROSOFT)]
    result = shelf.edit.fresh(f"{node.output}/product")
    return [
        Node("MatMulNBits", operands, (result,), attributes, node.name, MICROSOFT),
        Node("Add", (result, bias), node.outputs, name=shelf.edit.fresh_node(f"{node.name}/bias")),
    ]


def _shape_of(graph: Graph, name: str) -> tuple[Dim, ...] | None:
    return graph.type_of(name).shape


def stored_matrix(shape: tuple[int, ...], params: QuantParams) -> tuple[int, int]:
    """Channels, and weights of a channel."""
    channels = shape[params.axis or 0]
    return channels, prod(shape) // channels


def in_blocks(params: QuantParams, length: int) -> QuantParams:
    """The same parameters with a scale for every block of a size that the packed operators know.

    A single scale a channel is repeated for blocks of the size that stores least; one for more weights than there are is cut.
    """
    if params.block:
        return params
    block = min(PACKED_BLOCKS, key=lambda size: (_stored_bits(length, size, params.format.width), -size))
    count = -(-length // block)
    scale, zero = (np.repeat(a.reshape(-1, 1), count, axis=1) for a in (params.scale, params.zero_point))
    return replace(params, scale=scale, zero_point=zero, block=block)


def _stored_bits(length: int, block: int, width: int) -> int:
    return -(-length // block) * (block * width + 32)


def _packed(shelf: Shelf, name: str, params: QuantParams) -> str:
    """Codes [N, blocks, bytes]; those that a table has as rows too are stored once."""
    if shelf.constants.original(name) not in shelf.tables:
        return shelf.constants.codes(name, params, "packed")
    size = params.block * params.format.width // 8
    shape = shelf.constants.numbers((*params.scale.shape, size))
    return shelf.chain(name, [("Reshape", (shape,), {})], shelf.constants.codes(name, params, "packed-rows"))


def _packed_scales(shelf: Shelf, name: str, params: QuantParams) -> tuple[str, ...]:
    """Scales [C, blocks], and packed zero points where they are not the middle."""
    scale = shelf.constants.shared(params.scale, f"{name}/scale")
    signed = not params.format.dtype.startswith("u")
    middle = 0 if signed else 1 << (params.format.width - 1)
    if (params.zero_point == middle).all():
        return (scale,)
    zero = packed(params.zero_point.astype(np.uint8), params.format)
    return scale, shelf.constants.shared(zero, f"{name}/zero_point")


def table(shelf: Shelf, node: Node, index: int, params: QuantParams) -> list[Node]:
    """A Gather of rows as GatherBlockQuantized (com.microsoft), which rebuilds only the rows that it picks."""
    name, width = node.inputs[0], shelf.graph.weight_shape(node.inputs[0])[1]
    params = in_blocks(params, width)
    attributes = {"bits": params.format.width, "block_size": params.block, "gather_axis": 0, "quantize_axis": 1}
    codes = shelf.constants.codes(name, params, "packed-rows")
    operands = (codes, node.inputs[1], *_packed_scales(shelf, name, params))
    if params.scale.shape[1] * params.block == width:
        return [Node("GatherBlockQuantized", operands, node.outputs, attributes, node.name, MICROSOFT)]
    whole = shelf.edit.fresh(f"{node.output}/filled")
    bounds = tuple(shelf.constants.numbers((value,)) for value in (0, width, -1))
    return [
        Node("GatherBlockQuantized", operands, (whole,), attributes, node.name, MICROSOFT),
        Node("Slice", (whole, *bounds), node.outputs, name=shelf.edit.fresh_node(f"{node.name}/Slice")),
    ]


_PARTS = {
    1: (1,),
    2: (2,),
    3: (2, 1),
    4: (4,),
    5: (4, 1),
    6: (4, 2),
    7: (4, 2, 1),
    8: (8,),
}  # bits of a code, lowest first
UINT8, INT32, FLOAT16 = 2, 6, 10  # ONNX TensorProto


def codebook(shelf: Shelf, node: Node, index: int, params: QuantParams) -> list[Node]:
    """Bit-packed codes, unpacked by shifts and masks and looked up in their table, which onnxruntime computes at load."""
    inputs = [*node.inputs]
    inputs[index] = shelf.once("codebook", inputs[index], params, lambda: _looked_up(shelf, inputs[index], params))
    return [node.with_(inputs=tuple(inputs))]


def _looked_up(shelf: Shelf, name: str, params: QuantParams) -> str:
    shape = shelf.graph.weight_shape(name)
    rows, length = stored_matrix(shape, params)
    if not params.block:
        params = replace(
            params, block=length, scale=params.scale.reshape(-1, 1), zero_point=params.zero_point.reshape(-1, 1)
        )
    codes = _unpacked(shelf, name, params, rows * params.scale.shape[1] * params.block)
    levels = shelf.constants.shared(np.asarray(params.table, dtype=np.float32), f"{name}/levels")
    whole = shelf.chain(name, [("Cast", (), {"to": INT32})], codes)
    value = shelf.edit.fresh(f"{name}/gather")
    shelf.edit.add(Node("Gather", (levels, whole), (value,), {"axis": 0}, shelf.edit.fresh_node(f"{name}/Gather")))
    blocks = shelf.constants.numbers((rows, params.scale.shape[1], params.block))
    steps: list[OpCall] = [("Reshape", (blocks,), {}), ("Mul", (_small_scale(shelf, name, params),), {})]
    return shelf.chain(name, [*steps, *_unblocked(shelf, name, params, shape)], value)


def _small_scale(shelf: Shelf, name: str, params: QuantParams) -> str:
    """Scales [C, blocks, 1], in float16 where that holds them exactly."""
    scale = params.scale[:, :, None]
    with np.errstate(over="ignore"):
        half = scale.astype(np.float16)
    if not np.array_equal(half.astype(np.float32), scale):
        return shelf.constants.shared(scale, f"{name}/scale")
    return shelf.chain(name, [("Cast", (), {"to": FLOAT})], shelf.constants.shared(half, f"{name}/scale"))


def _unpacked(shelf: Shelf, name: str, params: QuantParams, count: int) -> str:
    """Codes [count] in bytes, from parts of 1, 2, 4 or 8 bits each in a packed constant of its own."""
    flat, whole, low = shelf.constants.numbers((-1,)), "", 0
    for bits in _PARTS[params.format.bits]:
        constant = shelf.constants.part(name, params, low, bits)
        part = (
            constant if bits == 8 else shelf.chain(name, [*_shifted(shelf, bits), ("Reshape", (flat,), {})], constant)
        )
        up = shelf.constants.shared(np.array(low, dtype=np.uint8), "shift")
        part = shelf.chain(name, [("BitShift", (up,), {"direction": "LEFT"})], part) if low else part
        whole = shelf.chain(name, [("BitwiseOr", (part,), {})], whole) if whole else part
        low += bits
    if count % CODES_A_GROUP == 0:
        return whole
    bounds = tuple(shelf.constants.numbers((value,)) for value in (0, count, 0))
    return shelf.chain(name, [("Slice", bounds, {})], whole)


def _shifted(shelf: Shelf, bits: int) -> list[OpCall]:
    shifts = np.arange(0, 8, bits, dtype=np.uint8)[None]
    mask = np.array(2**bits - 1, dtype=np.uint8)
    right: OpCall = ("BitShift", (shelf.constants.shared(shifts, "shifts"),), {"direction": "RIGHT"})
    return [right, ("BitwiseAnd", (shelf.constants.shared(mask, "mask"),), {})]


def small_floats(shelf: Shelf, node: Node, index: int, params: QuantParams) -> list[Node]:
    """NVFP4 behind two DequantizeLinear, one for the FP8 scales of the blocks; MXFP8 behind TensorRT's own operator.

    Source: onnx-tensorrt `onnxOpImporters.cpp` (TRT_MXFP8DequantizeLinear), TensorRT guide on NVFP4 and MXFP8.
    """
    inputs = [*node.inputs]
    turned = node.op == "Gemm" and bool(node.attr("transB", 0))
    key = f"floats{turned}"
    inputs[index] = shelf.once(key, inputs[index], params, lambda: _from_floats(shelf, inputs[index], params, turned))
    plain = {name: value for name, value in node.attributes.items() if not (turned and name == "transB")}
    return [node.with_(inputs=tuple(inputs), attributes=plain)]


def _from_floats(shelf: Shelf, name: str, params: QuantParams, turned: bool) -> str:
    axis = _channel_axis(params, turned)
    scale = params.scale.T if axis == 1 else params.scale
    blocks: dict[str, object] = {"axis": 1 - axis, "block_size": params.block}
    if np.asarray(params.table).size < _FP4_NUMBERS:
        whole = global_scale(params.scale)
        short = (scale / whole).astype(numpy_dtype("float8_e4m3fn"))
        codes = shelf.constants.floats(name, params, "float4_e2m1fn", turned)
        one: OpCall = ("DequantizeLinear", (shelf.constants.shared(whole, f"{name}/global"),), {})
        each = shelf.chain(f"{name}/scale", [one], shelf.constants.shared(short, f"{name}/scale"))
        return shelf.chain(name, [("DequantizeLinear", (each,), blocks)], codes)
    exponents = (np.rint(np.log2(scale)) + _E8M0_BIAS).astype(np.uint8)
    codes, result = (
        shelf.constants.floats(name, params, "float8_e4m3fn", turned),
        shelf.edit.fresh(f"{name}/dequantized"),
    )
    operands = (codes, shelf.constants.shared(exponents, f"{name}/exponents"))
    made = shelf.edit.fresh_node(f"{name}/{MXFP8}")
    shelf.edit.add(Node(MXFP8, operands, (result,), {**blocks, "output_dtype": FLOAT}, made, TRT))
    shelf.edit.set_type(
        result, shelf.graph.type_of(name) if not turned else TensorType("float32", shelf.graph.weight_shape(name)[::-1])
    )
    return result


STORES: dict[str, Store] = {
    "dequantize": dequantized,
    "fold": folded,
    "rows": picked,
    "nbits": product,
    "gather-blocks": table,
    "codebook": codebook,
    "floats": small_floats,
}
