"""Products of codes in int32 that are rescaled by hand: MatMulInteger and ConvInteger with the Cast and Mul behind them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..graph import Array, Node
from ..ops import ATTENTION, weight_axis
from .model import params_of
from .walk import Real, UnliftableError, Walk

_PRODUCTS = {"MatMulInteger": "MatMul", "ConvInteger": "Conv"}


@dataclass(frozen=True, eq=False)
class _Sum:
    """An int32 product that waits for its scales.

    Attributes:
        op: the float operator.
        left: float tensor of the activation.
        right: name of the constant codes, or of the float tensor of codes that are computed too.
        zero: zero point of constant codes, "" for none.
        open: tensors of codes measured at run time, whose scale has not been multiplied yet.
        divisor: scale of an activation with static codes.
    """

    node: Node
    op: str
    left: str
    right: str
    constant: bool
    zero: str
    open: frozenset[str]
    divisor: float


class Sums:
    """Follows int32 products through a walk until they are real numbers again."""

    def __init__(self, walk: Walk) -> None:
        self._walk = walk
        self._scales: dict[
            str, tuple[frozenset[str], Array | None]
        ] = {}  # scale -> codes that it belongs to, and a factor
        self._zeros: dict[str, str] = {}
        self._sums: dict[str, _Sum] = {}

    def take(self, node: Node) -> bool:
        """Handle a node if it belongs to such a product.

        Raises:
            UnliftableError: it does, but in a way that is not known.
        """
        if node.op == "DynamicQuantizeLinear":
            self._measured(node)
        elif node.op in _PRODUCTS:
            self._sums[node.output] = self._product(node)
        elif node.op == "DynamicQuantizeMatMul":
            self._matmul(node)
        elif node.op == "DynamicQuantizeLSTM":
            self._lstm(node)
        elif node.op == "QAttention" and node.input(3) in self._scales:
            self._attention(node)
        elif node.op == "MatMulIntegerToFloat" and node.input(2) in self._scales:
            self._to_float(node)
        elif any(name in self._sums or name in self._scales or name in self._zeros for name in node.reads):
            self._follow(node)
        else:
            return False
        return True

    def _measured(self, node: Node) -> None:
        codes, scale, zero = (*node.outputs, "", "")[:3]
        self._walk.codes[codes] = Real(self._walk.value(node.input(0)), None)
        self._scales[scale], self._zeros[zero] = (frozenset({codes}), None), codes

    def _product(self, node: Node) -> _Sum:
        walk, (left, right) = self._walk, node.inputs[:2]
        real = walk.codes.get(left)
        if real is None:
            raise UnliftableError(f"nothing is known of the codes in `{left}`")
        self._check_zero(left, real, node.input(2))
        constant = right in walk.graph.weights
        other = walk.codes.get(right)
        if not constant and (other is None or other.params is not None):
            raise UnliftableError(f"its factor `{right}` is neither a constant nor measured at run time")
        open_ = {left} if real.params is None else set()
        open_ |= {right} if not constant else set()
        divisor = 1.0 if real.params is None else float(real.params.scale)
        name = right if constant or other is None else other.name
        zero = node.input(3) if constant else ""
        return _Sum(node, _PRODUCTS[node.op], real.name, name, constant, zero, frozenset(open_), divisor)

    def _check_zero(self, codes: str, real: Real, zero: str) -> None:
        if real.params is None:
            fits = self._zeros.get(zero) == codes
        else:
            value = self._walk.array(zero) if zero else np.zeros(1)
            fits = real.params.scale.size == 1 and int(value.reshape(-1)[0]) == int(real.params.zero)
        if not fits:
            raise UnliftableError(f"it does not read `{codes}` with its own zero point")

    def _follow(self, node: Node) -> None:
        """Cast and Mul between a product and its real value."""
        waiting = [name for name in node.inputs if name in self._sums]
        if node.op == "Cast" and len(waiting) == 1:
            self._sums[node.output] = self._sums[waiting[0]]
        elif node.op == "Mul" and len(waiting) == 1:
            other = next(name for name in node.inputs if name not in self._sums)
            self._rescaled(node, self._sums[waiting[0]], *self._factor(other))
        elif node.op == "Mul" and not waiting:
            sources, factors = zip(*(self._factor(name) for name in node.inputs), strict=True)
            given = [f for f in factors if f is not None]
            self._scales[node.output] = (
                frozenset().union(*sources),
                np.prod(np.broadcast_arrays(*given), 0) if given else None,
            )
        elif node.op in ("Reshape", "Unsqueeze", "Squeeze") and node.inputs[0] in self._scales:
            self._scales[node.output] = self._scales[node.inputs[0]]
        else:
            raise UnliftableError("it uses a scale or an int32 product in a way that is not known")

    def _factor(self, name: str) -> tuple[frozenset[str], Array | None]:
        return self._scales[name] if name in self._scales else (frozenset(), self._walk.array(name))

    def _rescaled(self, node: Node, found: _Sum, sources: frozenset[str], factor: Array | None) -> None:
        rest = found.open - sources
        if sources - found.open:
            raise UnliftableError("a product is multiplied by a scale that is not its own")
        if rest:
            if factor is not None:
                raise UnliftableError("the scales of a product are multiplied one after the other")
            self._sums[node.output] = replace(found, open=rest)
            return
        right = found.right
        if found.constant:
            right = self._weight(found, np.asarray(1.0 if factor is None else factor, np.float32) / found.divisor)
        elif factor is not None:
            raise UnliftableError("a product of two activations has a constant factor")
        new = Node(found.op, (found.left, right), node.outputs, found.node.attributes, found.node.name)
        self._walk.put(new)

    def _weight(self, found: _Sum, scale: Array) -> str:
        walk = self._walk
        rank = len(walk.graph.weight_shape(found.right))
        axis = weight_axis(Node(found.op, (), (), found.node.attributes), rank)
        zero = walk.array(found.zero) if found.zero else None
        size = max(scale.size, 1 if zero is None else zero.size)
        scales = np.broadcast_to(scale.reshape(-1), (size,)).astype(np.float32)
        zeros = None if zero is None else np.broadcast_to(zero.reshape(-1), (size,))
        return self._dequantized(found.right, scales, zeros, axis)

    def _dequantized(self, name: str, scale: Array, zero: Array | None, axis: int | None) -> str:
        dtype = self._walk.graph.type_of(name).dtype or "int8"
        return self._walk.dequantized(name, params_of(dtype, scale, zero, axis))

    # --- operators of onnxruntime that hold the whole chain ------------------------------------------------------------------

    def _matmul(self, node: Node) -> None:
        zero = self._walk.array(node.input(3)) if node.input(3) else None
        weight = self._dequantized(node.input(1), self._walk.array(node.input(2)), zero, 1)
        self._with_bias(node, (self._walk.value(node.input(0)), weight), node.input(4))

    def _measured_operand(self, codes: str, scale: str) -> str:
        """The float tensor of codes that are read with their own scale."""
        left = self._walk.codes.get(codes)
        if left is None or self._scales[scale] != (frozenset({codes}), None):
            raise UnliftableError("it reads codes with a scale that is not theirs")
        return left.name

    def _attention(self, node: Node) -> None:
        walk, left = self._walk, self._measured_operand(node.input(0), node.input(3))
        zero = walk.array(node.input(7)) if node.input(7) else None
        weight = self._dequantized(node.input(1), walk.array(node.input(4)), zero, 1)
        rest = (walk.value(name) if name else "" for name in (node.input(2), node.input(5), node.input(8)))
        domain, _, op = ATTENTION.rpartition(".")
        walk.put(Node(op, (left, weight, *rest), node.outputs, node.attributes, node.name, domain))

    def _to_float(self, node: Node) -> None:
        left = self._measured_operand(node.input(0), node.input(2))
        zero = self._walk.array(node.input(5)) if node.input(5) else None
        axis = len(self._walk.graph.weight_shape(node.input(1))) - 1
        weight = self._dequantized(node.input(1), self._walk.array(node.input(3)), zero, axis)
        self._with_bias(node, (left, weight), node.input(6))

    def _with_bias(self, node: Node, operands: tuple[str, str], bias: str) -> None:
        walk = self._walk
        if not bias:
            walk.put(Node("MatMul", operands, node.outputs, name=node.name))
            return
        product = walk.fresh(f"{node.output}/product")
        walk.put(Node("MatMul", operands, (product,), name=node.name))
        walk.put(Node("Add", (product, walk.value(bias)), node.outputs, name=walk.fresh_node(f"{node.name}/bias")))

    def _lstm(self, node: Node) -> None:
        """DynamicQuantizeLSTM holds its weights transposed: [directions, inputs, 4 * hidden]."""
        walk = self._walk
        pairs = ((1, 8, 9), (2, 10, 11))
        found = [self._gates(*(walk.array(node.input(i)) for i in places)) for places in pairs]
        weights = [walk.constant(f"{node.input(i)}/real", array) for i, array in zip((1, 2), found, strict=True)]
        rest = tuple(walk.value(name) if name else "" for name in node.inputs[3:8])
        walk.put(Node("LSTM", (walk.value(node.input(0)), *weights, *rest), node.outputs, node.attributes, node.name))

    def _gates(self, codes: Array, scale: Array, zero: Array) -> Array:
        parts = (p.reshape(p.shape[0], 1, -1).astype(np.float32) for p in (scale, zero))
        factor, offset = parts
        return np.ascontiguousarray(((codes.astype(np.float32) - offset) * factor).transpose(0, 2, 1), np.float32)
