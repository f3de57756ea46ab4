"""A typed view of the QuantizeLinear and DequantizeLinear nodes of any graph, the common ground of all static checks.

It answers what a pair says (scale, zero point, axis, block, type), what stands behind it (a weight, a computed tensor, an
integer computed elsewhere) and which pair feeds an operator's input. It never raises on a strange graph: what cannot be known
(a scale computed at run time, a shape that nobody recorded) is None.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

import numpy as np
import onnx

from ..graph import Array, Graph, Node
from ..ops import COPIES, NO_OPS, WEIGHTED

# Besides the standard pair (also in com.microsoft), the operators that ModelOpt writes for opsets without FP8 and INT4.
QUANTIZE = frozenset({"QuantizeLinear", "TRT_FP8QuantizeLinear", "TRT_INT4QuantizeLinear"})
DEQUANTIZE = frozenset({"DequantizeLinear", "TRT_FP8DequantizeLinear", "TRT_INT4DequantizeLinear"})
_FIXED = {"TRT_FP8": "float8_e4m3fn", "TRT_INT4": "int4"}

# Operators that move the values of their first input and never change them: a Q moves back and a DQ forward through them.
TRANSPARENT = COPIES | NO_OPS | {"GatherElements", "GatherND", "ReverseSequence"}
COMMUTING = TRANSPARENT | {"MaxPool"}
_RANDOM = frozenset({"RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial", "Bernoulli"})  # fmt: skip
_DEPTH = 200  # steps that a walk through copies takes at most


class Origin(StrEnum):
    """What a DequantizeLinear dequantizes."""

    WEIGHT = "weight"  # a constant: an integer initializer, or a float one behind a QuantizeLinear
    QUANTIZE = "quantize"  # a tensor that a QuantizeLinear quantizes at run time
    INTEGER = "integer"  # an integer tensor that is fed or computed


@dataclass(frozen=True, eq=False)
class Params:
    """What one Q or DQ node says.

    Attributes:
        scale: the scales, None if they are not constant.
        zero_point: the zero points, None if omitted or not constant.
        axis: the attribute as written, None if it is not set (ONNX then means 1).
        block_size: the attribute, 0 if it is not set.
        dtype: NumPy name of the quantized type ("int8", "uint8", "int4", "float8_e4m3fn"), None if unknown.
    """

    scale: Array | None
    zero_point: Array | None
    axis: int | None
    block_size: int
    dtype: str | None

    @property
    def per_channel(self) -> bool:
        """Whether there is more than one scale, in one dimension."""
        return self.scale is not None and self.scale.size > 1 and self.scale.ndim == 1 and not self.block_size

    @property
    def blocked(self) -> bool:
        """Whether the scales are those of blocks."""
        return self.block_size > 0 or (self.scale is not None and self.scale.size > 1 and self.scale.ndim > 1)

    def same_scale(self, other: Params) -> bool | None:
        """Whether both quantize alike; None if that cannot be known."""
        if self.scale is None or other.scale is None:
            return None
        return self.scale.size == other.scale.size and bool(
            np.array_equal(as_float(self.scale).ravel(), as_float(other.scale).ravel())
        )


@dataclass(frozen=True, eq=False)
class Quantize:
    """One QuantizeLinear: `data` is what it reads, `constant` whether that is known before run time."""

    node: Node
    params: Params
    data: str
    constant: bool


@dataclass(frozen=True, eq=False)
class Dequantize:
    """One DequantizeLinear.

    Attributes:
        source: what it dequantizes.
        quantize: the QuantizeLinear in front of it, if there is one.
        weight: name of the constant behind it (the float one if it is quantized in the graph), "" if there is none.
        consumers: nodes that read the result.
    """

    node: Node
    params: Params
    source: Origin
    quantize: Quantize | None
    weight: str
    consumers: tuple[Node, ...]


@dataclass(frozen=True, eq=False)
class QuantizedInput:
    """A DQ that feeds an operator's input, and the copying operators between the two, in the order of the data."""

    dq: Dequantize
    path: tuple[Node, ...] = ()


@dataclass(frozen=True, eq=False)
class Weighted:
    """A weighted operator.

    Attributes:
        data: index of the activation; weight: index of the constant operand, None if both are computed.
        channel: the weight's axis of output channels, the only one that may have several scales; None if unknown.
        depth: the weight's axis that is summed over; None if unknown.
    """

    node: Node
    data: int
    weight: int | None
    channel: int | None
    depth: int | None


class QuantizedView:
    """A graph with its quantization made readable; for a body, `outer` is the view of the graph around it."""

    def __init__(self, graph: Graph, outer: QuantizedView | None = None, precision: str = "float32") -> None:
        self.graph = graph
        self.outer = outer
        self.precision = precision
        self._feeds: dict[tuple[str, frozenset[str]], QuantizedInput | None] = {}

    @property
    def root(self) -> QuantizedView:
        """The view of the outermost graph."""
        return self.outer.root if self.outer else self

    @cached_property
    def constants(self) -> frozenset[str]:
        """Values that are known before run time: weights and whatever is computed from them alone."""
        known = {*self.graph.weights, *(self.outer.constants if self.outer else ())}
        for node in self.graph.nodes:
            if node.op == "Constant" or (_foldable(node) and all(name in known for name in node.inputs if name)):
                known.update(out for out in node.outputs if out)
        return frozenset(known)

    @cached_property
    def quantizes(self) -> Mapping[str, Quantize]:
        """Every Q by the name of its output."""
        nodes = (n for n in self.graph.nodes if n.op in QUANTIZE and n.outputs)
        return {
            n.output: Quantize(n, self._params(n, _type_of_q), n.input(0), n.input(0) in self.constants) for n in nodes
        }

    @cached_property
    def dequantizes(self) -> Mapping[str, Dequantize]:
        """Every DQ by the name of its output, in the order of the graph."""
        return {n.output: self._dequantize(n) for n in self.graph.nodes if n.op in DEQUANTIZE and n.outputs}

    @cached_property
    def weighted(self) -> tuple[Weighted, ...]:
        """Every Conv, ConvTranspose, Gemm and MatMul, in the order of the graph."""
        return tuple(w for w in map(self.weighted_of, self.graph.nodes) if w is not None)

    def producer(self, name: str) -> Node | None:
        """The node that computes a value, also in the graph around a body."""
        return self.graph.producer.get(name) or (self.outer.producer(name) if self.outer else None)

    def consumers(self, name: str) -> tuple[Node, ...]:
        """Nodes of this graph that read the value."""
        return self.graph.consumers_of(name)

    def dq(self, name: str) -> Dequantize | None:
        """The DQ that computes a value."""
        return self.dequantizes.get(name) or (self.outer.dq(name) if self.outer else None)

    def q(self, name: str) -> Quantize | None:
        """The Q that computes a value."""
        return self.quantizes.get(name) or (self.outer.q(name) if self.outer else None)

    def sole_consumer(self, name: str) -> Node | None:
        """The only reader of a value that is not a graph output."""
        return self.graph.sole_consumer(name)

    def array(self, name: str, depth: int = 8) -> Array | None:
        """The content of a constant: a weight, a Constant node, or one of them behind Identity or Cast."""
        if (found := self.graph.weights.get(name)) is not None:
            return found.numpy()
        node = self.producer(name)
        if node is None:
            return self.outer.array(name, depth) if self.outer else None
        if node.op == "Constant":
            return _constant_value(node)
        inner = self.array(node.input(0), depth - 1) if node.op in ("Identity", "Cast") and depth else None
        return inner if inner is None or node.op == "Identity" else _cast(inner, node.attr("to"))

    def dtype(self, name: str) -> str | None:
        """Element type of a value, as far as it is recorded."""
        if (known := self.graph.type_of(name).dtype) is not None:
            return known
        array = self.array(name) if name in self.constants else None
        return str(array.dtype) if array is not None else self.outer.dtype(name) if self.outer else None

    def shape(self, name: str) -> tuple[int | None, ...] | None:
        """Shape of a value with None for dimensions without a number; None if the rank is unknown."""
        dims = self.graph.type_of(name).shape
        if dims is None and (dq := self.dq(name)) is not None:
            return self.shape(dq.node.input(0))
        if dims is None and (q := self.q(name)) is not None:
            return self.shape(q.data)
        if dims is None and (name in self.constants) and (array := self.array(name)) is not None:
            dims = array.shape
        return None if dims is None else tuple(d if isinstance(d, int) else None for d in dims)

    def feed(self, name: str, through: frozenset[str] = COMMUTING) -> QuantizedInput | None:
        """The DQ that a value comes from, seen through copying operators and a Concat of dequantized tensors."""
        key = (name, through)
        if key not in self._feeds:
            self._feeds[key] = self._find_feed(name, through)
        return self._feeds[key]

    def _find_feed(self, name: str, through: frozenset[str]) -> QuantizedInput | None:
        path: list[Node] = []
        for _ in range(_DEPTH):
            if (dq := self.dq(name)) is not None:
                return QuantizedInput(dq, tuple(reversed(path)))
            node = self.producer(name)
            if node is None or node.domain or node.op not in {*through, "Concat"}:
                return None
            if node.op == "Concat" and not all(
                self.feed(i, through) for i in node.inputs[1:] if i not in self.constants
            ):
                return None
            path.append(node)
            name = node.input(0)
        return None

    def is_quantized(self, name: str) -> bool:
        """Whether the value is the result of a DQ, perhaps moved about afterwards."""
        return self.feed(name) is not None

    def weighted_of(self, node: Node) -> Weighted | None:
        """What is known of a weighted operator, None for any other."""
        if node.op not in WEIGHTED or node.domain or len(node.inputs) < 2:
            return None
        if node.op.startswith("Conv"):
            channel = 0 if node.op == "Conv" else 1
            return Weighted(node, 0, 1, channel, 1 - channel)
        index = next((i for i in (1, 0) if node.input(i) in self.constants), None)
        if index is None:
            return Weighted(node, 0, None, None, None)
        return Weighted(node, 1 - index, index, *self._matrix_axes(node, index))

    def int8(self, node: Node) -> bool:
        """Whether a weighted operator has both operands from DQ nodes, so that it runs in integers (or FP8, FP4)."""
        return node.op in WEIGHTED and all(self.is_quantized(node.input(i)) for i in (0, 1))

    def pairs_of(self, q: Quantize) -> tuple[Dequantize, ...]:
        """The DQ nodes that read a Q."""
        return tuple(
            self.dequantizes[n.output] for n in self.consumers(q.node.output) if n.op in DEQUANTIZE and n.outputs
        )

    def users(self, q: Quantize, through: frozenset[str] = COMMUTING) -> tuple[Node, ...]:
        """The operators that work on a quantized tensor, behind its DQ nodes and copying operators."""
        found: dict[int, Node] = {}
        for dq in self.pairs_of(q):
            found.update((id(n), n) for n in self.sinks(dq.node.output, lambda n: n.op in through or n.op == "Concat"))
        return tuple(found.values())

    def sinks(self, name: str, through: Callable[[Node], bool]) -> Iterator[Node]:
        """Readers of a value, where those that `through` accepts stand for the readers of their results."""
        seen, waiting = {name}, [name]
        while waiting:
            for node in self.consumers(waiting.pop(0)):
                if not through(node):
                    yield node
                    continue
                waiting += (new := [out for out in node.outputs if out and out not in seen])
                seen.update(new)

    def reaches_quantize(self, name: str, through: Callable[[Node], bool]) -> bool:
        """Whether some reader of the value, behind those that `through` accepts, quantizes it."""
        return any(node.op in QUANTIZE for node in self.sinks(name, through))

    def _matrix_axes(self, node: Node, index: int) -> tuple[int | None, int | None]:
        if node.op == "Gemm":
            transposed = bool(node.attr("transB" if index else "transA", 0))
            return (1, 0) if transposed == (index == 0) else (0, 1)
        shape = self.shape(node.input(index)) or self._moved_shape(node.input(index))
        rank = len(shape) if shape is not None else 0
        if rank < 2:
            return None, None
        return (rank - 1, rank - 2) if index == 1 else (rank - 2, rank - 1)

    def _moved_shape(self, name: str) -> tuple[int | None, ...] | None:
        feed = self.feed(name)
        if feed is None or any(node.op != "Transpose" for node in feed.path):
            return None
        return self.shape(feed.dq.node.output)

    def _dequantize(self, node: Node) -> Dequantize:
        data = node.input(0)
        q = self.q(data)
        constant = data in self.constants
        source = Origin.WEIGHT if constant else Origin.QUANTIZE if q else Origin.INTEGER
        weight = (q.data if q else data) if constant else ""
        params = self._params(node, _type_of_dq)
        return Dequantize(node, params, source, q, weight, self.consumers(node.output))

    def _params(self, node: Node, type_of: Callable[[QuantizedView, Node], str | None]) -> Params:
        axis, block = node.attr("axis"), node.attr("block_size", 0)
        fixed = next((name for prefix, name in _FIXED.items() if node.op.startswith(prefix)), None)
        return Params(
            scale=self.array(node.input(1)) if node.input(1) else None,
            zero_point=self.array(node.input(2)) if node.input(2) else None,
            axis=axis if isinstance(axis, int) else None,
            block_size=block if isinstance(block, int) else 0,
            dtype=fixed or type_of(self, node),
        )


def axis_behind(feed: QuantizedInput, axis: int, rank: int) -> int | None:
    """Where an axis of the DQ's tensor lies after the copying operators, None if that cannot be told."""
    axis += rank if axis < 0 else 0
    for node in feed.path:
        if node.op == "Transpose":
            perm = node.attr("perm", tuple(reversed(range(rank))))
            axis = perm.index(axis) if axis in perm else -1
        elif node.op not in NO_OPS:
            return None
    return axis


def as_float(array: Array) -> Array:
    """The numbers of an array as float64, whatever their type (FP8 and BF16 included)."""
    return array.astype(np.float32).astype(np.float64) if array.dtype.kind == "V" else array.astype(np.float64)


def onnx_type(number: object) -> str | None:
    """NumPy name for an ONNX element type number, None for one that NumPy does not have."""
    try:
        return str(onnx.helper.tensor_dtype_to_np_dtype(int(str(number))))
    except (KeyError, ValueError, TypeError):
        return None


def _type_of_q(view: QuantizedView, node: Node) -> str | None:
    if node.input(2):
        return view.dtype(node.input(2))
    return (
        onnx_type(node.attr("output_dtype"))
        if node.attr("output_dtype")
        else view.graph.type_of(node.output).dtype or "uint8"
    )


def _type_of_dq(view: QuantizedView, node: Node) -> str | None:
    if (q := view.q(node.input(0))) is not None:
        return q.params.dtype
    return view.dtype(node.input(0)) or (view.dtype(node.input(2)) if node.input(2) else None)


def _foldable(node: Node) -> bool:
    return bool(any(node.inputs)) and not node.bodies and node.op not in _RANDOM


def _constant_value(node: Node) -> Array | None:
    value: Any = next(
        (
            node.attr(k)
            for k in ("value", "value_float", "value_int", "value_floats", "value_ints")
            if node.attr(k) is not None
        ),
        None,
    )
    if isinstance(value, float) or (isinstance(value, tuple) and value and isinstance(value[0], float)):
        return np.asarray(value, np.float32)
    return np.asarray(value) if isinstance(value, np.ndarray | int | tuple) else None


def _cast(array: Array, to: object) -> Array | None:
    name = onnx_type(to)
    try:
        return None if name is None else array.astype(onnx.helper.tensor_dtype_to_np_dtype(int(str(to))))
    except (TypeError, ValueError):
        return None
