"""The float graph under way: every tensor of codes gets a float tensor that stands for its real values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import Diagnostic
from ..graph import Array, Edit, Graph, Node, TensorType, Weight, weight
from .constants import dequantized, rounded
from .model import Params, Span, WeightNote, params_of
from .signs import is_nonnegative

_SIX = 6.0  # upper end of the one clamp, besides Relu, that quantizers make vanish into a range


class UnliftableError(Exception):
    """Why a node has no float form."""


@dataclass(frozen=True, eq=False)
class Real:
    """What stands for a tensor of codes.

    Attributes:
        name: of the float tensor.
        params: None where they are measured at run time.
    """

    name: str
    params: Params | None


class Walk:
    """What a walk along a quantized graph has made so far.

    Attributes:
        graph: the quantized graph.
        nodes: of the float graph, by first output, in order.
        codes: tensor of codes to what stands for it.
        names: float tensor of the file to the one that stands for it.
        spans, notes: see `Lifted`.
        faults: what could not be lifted.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.nodes: dict[str, Node] = {}
        self.weights: dict[str, Weight] = dict(graph.weights)
        self.types = dict(graph.types)
        self.codes: dict[str, Real] = {}
        self.names: dict[str, str] = {}
        self.spans: dict[str, Span] = {}
        self.notes: dict[str, WeightNote] = {}
        self.faults: list[Diagnostic] = []
        self._edit = Edit(graph)  # for fresh names
        self._cuts: dict[tuple[str, float], str] = {}

    def value(self, name: str) -> str:
        """The float tensor that stands for one of the file.

        Raises:
            UnliftableError: it is a tensor of codes.
        """
        if name in self.codes:
            raise UnliftableError(f"it computes with the codes of `{name}`")
        return self.names.get(name, name)

    def put(self, node: Node) -> None:
        """Add a node to the float graph."""
        captured = {name for body in node.bodies for name in body.captures}
        if captured & (self.codes.keys() | self.names.keys()):
            raise UnliftableError("its body reads quantized tensors")
        self.nodes[node.output] = node

    def fresh(self, hint: str) -> str:
        """An unused tensor name."""
        return self._edit.fresh(hint)

    def fresh_node(self, hint: str) -> str:
        """An unused node name."""
        return self._edit.fresh_node(hint)

    def set_float(self, name: str, like: str) -> None:
        """Record that a tensor is float32, with the shape of another."""
        self.types[name] = TensorType("float32", self.graph.type_of(like).shape)

    # --- constants -------------------------------------------------------------------------------------------------------

    def array(self, name: str) -> Array:
        """The content of a constant.

        Raises:
            UnliftableError: it is computed at run time.
        """
        found = self.graph.constant(name)
        if found is None:
            raise UnliftableError(f"`{name}` is computed at run time")
        return found

    def constant(self, hint: str, value: Array | float) -> str:
        """A new float32 constant."""
        name = self.fresh(hint)
        self.weights[name] = weight(np.asarray(value, np.float32))
        return name

    def dequantized(self, codes: str, params: Params, name: str = "") -> str:
        """A constant of codes as real numbers, under a fresh name unless one is given."""
        result = name or self.fresh(f"{codes}/real")
        self.weights[result] = dequantized(self.graph.weights[codes], params)
        self.notes[result] = WeightNote(params.dtype, int(params.scale.size), params.axis)
        return result

    def rounded(self, name: str, params: Params) -> str:
        """A float constant after a round trip through codes."""
        result = self.fresh(f"{name}/real")
        self.weights[result] = rounded(self.graph.weights[name], params)
        self.notes[result] = WeightNote(params.dtype, int(params.scale.size), params.axis)
        return result

    def params(self, dtype: str, scale: str, zero: str, axis: int | None, block: int = 0) -> Params:
        """Parameters from the names of scale and zero point.

        Raises:
            UnliftableError: they are computed at run time or not float32.
        """
        found = self.array(scale)
        if found.dtype != np.float32:
            raise UnliftableError(f"its real values are {found.dtype}, not float32")
        return params_of(dtype, found, self.array(zero) if zero else None, axis, block)

    # --- intervals -------------------------------------------------------------------------------------------------------

    def record(self, name: str, params: Params) -> None:
        """Note the interval that a tensor's codes stand for."""
        span = params.span()
        self.spans[name] = span if name not in self.spans else self.spans[name].joined(span)

    def saturated(self, name: str, params: Params) -> str:
        """The tensor behind what its codes cut off for good.

        Codes that begin at zero make a Relu (or Relu6) in front of them vanish, so it has to come back; the other ends are where
        calibration put them, and stay with the interval.
        """
        span = params.span()
        if span.low == 0 and name not in self.graph.inputs and not is_nonnegative(name, self.nodes, self.weights):
            six = abs(span.high - _SIX) <= 0.51 * float(params.scale.max())
            key = (name, _SIX if six else 0.0)
            if key not in self._cuts:
                self._cuts[key] = self._clamped(name, six)
            name = self._cuts[key]
        self.record(name, params)
        return name

    def _clamped(self, name: str, six: bool) -> str:
        op, result = ("Clip", self.fresh(f"{name}/clip")) if six else ("Relu", self.fresh(f"{name}/relu"))
        bounds = [self.constant(f"{result}/{end:g}", end) for end in (0.0, _SIX)] if six else []
        self.set_float(result, name)
        self.put(Node(op, (name, *bounds), (result,), name=self.fresh_node(result)))
        return result


def same_scale(real: Real, params: Params, name: str) -> None:
    """Refuse codes that are written in one scale and read in another.

    Raises:
        UnliftableError: they are.
    """
    if real.params is not None and not real.params.same(params):
        raise UnliftableError(f"`{name}` is written in one scale and read in another")
