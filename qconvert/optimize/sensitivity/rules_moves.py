"""Gradients through operators that move, repeat, select or average values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

import numpy as np

from ...graph import Array, Graph, Node, TensorType, weight
from ...runtime import Options, opened
from .tape import Tape

Gradients = Sequence[str | None]
Found = Mapping[int, str] | None
_EXACT = 1 << 24  # float32 counts exactly up to here


def reshaped(tape: Tape, node: Node, gradients: Gradients, needed: set[int]) -> Found:
    """Reshape and its relatives: back to the input's shape."""
    return {0: tape.shaped(str(gradients[0]), tape.shapes[node.input(0)])}


def transposed(tape: Tape, node: Node, gradients: Gradients, needed: set[int]) -> Found:
    """The inverse permutation."""
    rank = len(tape.shapes[node.input(0)])
    order = node.attr("perm", tuple(range(rank))[::-1])
    return {0: tape.op("Transpose", str(gradients[0]), perm=tuple(int(i) for i in np.argsort(order)))}


def concat(tape: Tape, node: Node, gradients: Gradients, needed: set[int]) -> Found:
    """Each input gets its part."""
    axis = int(node.attr("axis", 0)) % len(tape.shapes[node.output])
    ends = np.cumsum([tape.shapes[name][axis] for name in node.inputs]).tolist()
    starts = [0, *ends[:-1]]
    return {
        i: tape.op("Slice", str(gradients[0]), tape.ints(starts[i]), tape.ints(ends[i]), tape.ints(axis))
        for i in sorted(needed)
    }


def split(tape: Tape, node: Node, gradients: Gradients, needed: set[int]) -> Found:
    """The parts side by side again; those that matter to nobody are zero."""
    parts = [
        g if g is not None else tape.const(np.zeros(tape.shapes[out], dtype=np.float32))
        for g, out in zip(gradients, node.outputs, strict=True)
    ]
    return {0: tape.op("Concat", *parts, axis=int(node.attr("axis", 0)))}


def moved(tape: Tape, node: Node, gradients: Gradients, needed: set[int]) -> Found:
    """Any operator that only moves values: it is run on the numbers of the positions, and the gradient goes back along them."""
    positions = _positions(tape, node)
    if positions is None or needed != {0}:
        return None
    return {0: _scattered(tape, str(gradients[0]), positions, tape.shapes[node.input(0)])}


def resized(tape: Tape, node: Node, gradients: Gradients, needed: set[int]) -> Found:
    """Resize: nearest moves values; other modes are a matrix along each axis, whose transpose brings the gradient back."""
    if node.attr("mode", "nearest") == "nearest":
        return moved(tape, node, gradients, needed)
    before, after = tape.shapes[node.input(0)], tape.shapes[node.output]
    cropped = node.attr("coordinate_transformation_mode") == "tf_crop_and_resize"
    if needed != {0} or cropped or node.attr("antialias", 0) or node.attr("axes") is not None:
        return None
    g = str(gradients[0])
    for axis in (i for i, (n, m) in enumerate(zip(before, after, strict=True)) if n != m):
        matrix = tape.const(_interpolation(tape, node, axis))
        order = [*(i for i in range(len(before)) if i != axis), axis]
        turned = tape.op("MatMul", tape.op("Transpose", g, perm=tuple(order)), matrix)
        g = tape.op("Transpose", turned, perm=tuple(int(i) for i in np.argsort(order)))
    return {0: g}


def _interpolation(tape: Tape, node: Node, axis: int) -> Array:
    """[m, n]: weight of each input position in each output position along one axis, as the runtime has it."""
    n, m = tape.shapes[node.input(0)][axis], tape.shapes[node.output][axis]
    given = tape.constant(node.input(2)) if node.input(2) else None
    scales = None if given is None or not given.size else np.array([1, 1, 1, given[axis]], dtype=np.float32)
    sizes = np.array([n, 1, 1, m], dtype=np.int64)
    constants = {"k": weight(scales)} if scales is not None else {"k": weight(sizes)}
    inputs = ("x", "", "k") if scales is not None else ("x", "", "", "k")
    attributes = {k: v for k, v in node.attributes.items() if k != "keep_aspect_ratio_policy"}
    lone = Node("Resize", inputs, ("y",), attributes, "resize")
    types = {"x": TensorType("float32", (n, 1, 1, n)), "y": TensorType("float32")}
    graph = Graph((lone,), ("x",), ("y",), constants, types, tape.graph.opsets, ir_version=10)
    with opened(graph, Options(optimize=False)) as session:
        rows = session.run({"x": np.eye(n, dtype=np.float32).reshape(n, 1, 1, n)})["y"]
    return np.ascontiguousarray(rows.reshape(n, -1).T)


def _positions(tape: Tape, node: Node) -> Array | None:
    """For each value of the output the position of the input that it comes from, -1 for none."""
    shape = tape.shapes[node.input(0)]
    if prod(shape) >= _EXACT or (node.op == "Resize" and node.attr("mode", b"nearest") not in (b"nearest", "nearest")):
        return None
    rest = {name: tape.constant(name) for name in node.inputs[1:] if name}
    if any(array is None for array in rest.values()):
        return None
    constants = {name: weight(array) for name, array in rest.items() if array is not None}
    inputs = ["tune/x", *node.inputs[1:]]
    if node.op == "Pad":
        inputs = [*inputs[:2], "tune/fill", *inputs[3:]]
        constants = {**constants, "tune/fill": weight(np.array(-1, dtype=np.float32))}
    types = {"tune/x": TensorType("float32", shape), "tune/y": TensorType("float32")}
    lone = node.with_(inputs=tuple(inputs), outputs=("tune/y",))
    graph = Graph((lone,), ("tune/x",), ("tune/y",), constants, types, tape.graph.opsets, ir_version=10)
    numbers = np.arange(prod(shape), dtype=np.float32).reshape(shape)
    with opened(graph, Options(optimize=False)) as session:
        return np.asarray(session.run({"tune/x": numbers})["tune/y"].astype(np.int32))


def _scattered(tape: Tape, g: str, positions: Array, shape: tuple[int, ...]) -> str:
    """Gradients added up at their positions; one more place takes those that belong nowhere."""
    size = prod(shape)
    zeros = tape.const(np.zeros(size + 1, dtype=np.float32))
    index = tape.const(np.where(positions < 0, size, positions).astype(np.int32).reshape(-1))
    return _collected(tape, zeros, index, g, shape)


def _collected(tape: Tape, zeros: str, index: str, g: str, shape: tuple[int, ...]) -> str:
    flat = tape.op("ScatterElements", zeros, index, tape.shaped(g, (-1,)), axis=0, reduction="add")
    return tape.shaped(tape.op("Slice", flat, tape.ints(0), tape.ints(prod(shape)), tape.ints(0)), shape)


def pool_max(tape: Tape, node: Node, gradients: Gradients, needed: set[int]) -> Found:
    """Back to the positions of the maxima, which the operator tells in a second output."""
    attributes = {key: value for key, value in node.attributes.items() if key != "storage_order"}
    _, index = tape.put_all(Node("MaxPool", (node.input(0),), ("", ""), attributes), 2)
    shape = tape.shapes[node.input(0)]
    zeros = tape.const(np.zeros(prod(shape) + 1, dtype=np.float32))
    return {0: _collected(tape, zeros, tape.shaped(index, (-1,)), str(gradients[0]), shape)}


def pool_average(tape: Tape, node: Node, gradients: Gradients, needed: set[int]) -> Found:
    """The transposed convolution with equal weights; at padded edges as if the padding were counted."""
    x, y = tape.shapes[node.input(0)], tape.shapes[node.output]
    kernel = tuple(node.attr("kernel_shape"))
    spatial = len(kernel)
    strides, pads = node.attr("strides", (1,) * spatial), node.attr("pads", (0,) * (2 * spatial))
    extra = tuple(
        x[i + 2] - ((y[i + 2] - 1) * strides[i] + kernel[i] - pads[i] - pads[i + spatial]) for i in range(spatial)
    )
    if any(e < 0 or e >= s for e, s in zip(extra, strides, strict=True)) or node.attr("auto_pad", b"NOTSET") not in (
        b"NOTSET",
        "NOTSET",
    ):
        return None
    ones = tape.const(np.full((x[1], 1, *kernel), 1.0 / prod(kernel), dtype=np.float32))
    attributes = {"strides": strides, "pads": pads, "group": x[1], "output_padding": extra}
    return {0: tape.op("ConvTranspose", str(gradients[0]), ones, **attributes)}


def pool_global(tape: Tape, node: Node, gradients: Gradients, needed: set[int]) -> Found:
    """Over all of space."""
    shape = tape.shapes[node.input(0)]
    return {0: _widened(tape, node, str(gradients[0]), tuple(range(2, len(shape))))}


def reduced(tape: Tape, node: Node, gradients: Gradients, needed: set[int]) -> Found:
    """Sum, mean, norm and extremes over axes."""
    shape = tape.shapes[node.input(0)]
    given = tape.constant(node.input(1)) if node.input(1) else node.attr("axes")
    if given is None and node.input(1):
        return None
    axes = (
        tuple(range(len(shape))) if given is None else tuple(int(a) % len(shape) for a in np.asarray(given).reshape(-1))
    )
    return {0: _widened(tape, node, str(gradients[0]), axes)}


def _widened(tape: Tape, node: Node, g: str, axes: tuple[int, ...]) -> str:
    x, shape = node.input(0), tape.shapes[node.input(0)]
    kept = tuple(1 if i in axes else d for i, d in enumerate(shape))
    wide = tape.op("Expand", tape.shaped(g, kept), tape.ints(*shape))
    if node.op.endswith("Mean") or node.op == "GlobalAveragePool":
        return tape.op("Mul", wide, tape.number(prod(kept) / max(prod(shape), 1)))
    if node.op in ("ReduceSum", "ReduceSumSquare", "ReduceL1"):
        factor = {"ReduceSumSquare": ("Mul", x, tape.number(2.0)), "ReduceL1": ("Sign", x)}.get(node.op)
        return wide if factor is None else tape.op("Mul", wide, tape.op(*factor))
    out = tape.shaped(node.output, kept)
    if node.op == "ReduceLogSumExp":
        return tape.op("Mul", wide, tape.op("Exp", tape.op("Sub", x, out)))
    if node.op == "ReduceL2":
        return tape.op("Mul", wide, tape.op("Div", x, tape.op("Max", out, tape.number(1e-30))))
    return tape.op("Where", tape.op("Equal", x, out), wide, tape.number(0.0))
