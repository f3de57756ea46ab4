"""Weights of onnxruntime's own operators on packed codes: MatMulNBits and GatherBlockQuantized."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ..graph import Array, Lazy, Node, Weight, weight
from .model import WeightNote
from .walk import UnliftableError, Walk

_HELD = 16 << 20  # bytes of a float weight that is kept; larger ones are made when they are read


def lift_product(walk: Walk, node: Node) -> None:
    """MatMulNBits: codes [N, blocks, bytes] of a matrix [K, N], scales a block."""
    if node.input(4):
        raise UnliftableError("its rows are in another order")
    columns, rows, bits, block = (int(node.attr(key, 4)) for key in ("N", "K", "bits", "block_size"))
    packed = _constant(walk, node.input(1))
    scales = walk.array(node.input(2)).reshape(columns, -1)
    zero = _zeros(walk, node.input(3), scales.shape, bits)

    def real() -> Array:
        codes = unpacked(packed.numpy().reshape(columns, -1), bits).astype(np.float32)
        codes = codes.reshape(columns, scales.shape[1], block)
        values = (codes - zero[..., np.newaxis]) * scales[..., np.newaxis]
        return np.ascontiguousarray(values.reshape(columns, -1)[:, :rows].T, dtype=np.float32)

    name = _store(walk, node.input(1), (rows, columns), real, WeightNote(f"uint{bits}", scales.size, 1))
    inputs = (walk.value(node.input(0)), name)
    if not node.input(5):
        walk.put(Node("MatMul", inputs, node.outputs, name=node.name))
        return
    product = walk.fresh(f"{node.output}/product")
    walk.put(Node("MatMul", inputs, (product,), name=node.name))
    bias = walk.value(node.input(5))
    walk.put(Node("Add", (product, bias), node.outputs, name=walk.fresh_node(f"{node.name}/bias")))


def lift_table(walk: Walk, node: Node) -> None:
    """GatherBlockQuantized: a table of codes, quantized in blocks along its last axis."""
    codes, scales = _constant(walk, node.input(0)), walk.array(node.input(2))
    bits, block = int(node.attr("bits", 4)), int(node.attr("block_size", 128))
    packed = codes.dtype == "uint8" and bits < 8
    shape = (*codes.shape[:-1], codes.shape[-1] * (8 // bits)) if packed else codes.shape
    if node.attr("quantize_axis", 1) % len(shape) != len(shape) - 1:
        raise UnliftableError("its blocks do not lie along its last axis")
    signed = not codes.dtype.startswith("u")
    zero = np.zeros(scales.shape, np.float32) if signed else _zeros(walk, node.input(3), scales.shape, bits)

    def real() -> Array:
        found = unpacked(codes.numpy(), bits) if packed else codes.numpy()
        spread = (np.repeat(part, block, axis=-1)[..., : shape[-1]] for part in (zero, scales))
        offset, factor = spread
        return np.asarray((found.astype(np.float32) - offset) * factor, dtype=np.float32)

    name = _store(walk, node.input(0), shape, real, WeightNote(f"uint{bits}", scales.size, 0))
    attributes = {"axis": int(node.attr("gather_axis", 0))}
    walk.put(Node("Gather", (name, walk.value(node.input(1))), node.outputs, attributes, node.name))


def unpacked(values: Array, bits: int) -> Array:
    """Codes [..., n * 8 / bits] of bytes [..., n], the first in the lowest bits."""
    if bits == 8:
        return values
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    codes = (values[..., np.newaxis] >> shifts) & np.uint8((1 << bits) - 1)
    return codes.reshape(*values.shape[:-1], -1)


def _constant(walk: Walk, name: str) -> Weight:
    producer = walk.graph.producer.get(name)
    source = (
        producer.input(0) if producer is not None and producer.op == "Reshape" else name
    )  # rows that a table shares
    if source not in walk.graph.weights:
        raise UnliftableError(f"`{name}` is computed at run time")
    return walk.graph.weights[source]


def _zeros(walk: Walk, name: str, shape: tuple[int, ...], bits: int) -> Array:
    """Zero points in the shape of the scales; the middle code where there are none."""
    if not name:
        return np.full(shape, 1 << (bits - 1), np.float32)
    found = walk.array(name)
    if found.dtype != np.uint8:
        return found.reshape(shape).astype(np.float32)
    rows = unpacked(found.reshape(int(np.prod(shape[:-1])), -1), bits)
    return rows[:, : shape[-1]].reshape(shape).astype(np.float32)


def _store(walk: Walk, codes: str, shape: tuple[int, ...], real: Callable[[], Array], note: WeightNote) -> str:
    name = walk.fresh(f"{codes}/real")
    lazy = Lazy("float32", shape, real)
    walk.weights[name] = weight(lazy.numpy()) if lazy.nbytes <= _HELD else lazy
    walk.notes[name] = note
    return name
