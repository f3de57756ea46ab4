"""A node that is to become operators of the file, with what its lowering may ask and how it hands over the result."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ...calibrate import QuantParams, params_for_range
from ...graph import Array, Graph, Node
from ...ops import clamp_bounds
from ...plan import Kind, Plan
from .build import Builder
from .layout import Order, Shape, View, identity, squeezed
from .schema import ACTIVATIONS

_FUSED = {(0.0, float("inf")): "relu", (0.0, 6.0): "relu6", (-1.0, 1.0): "relu1"}


@dataclass(eq=False)
class Scene:
    """What all lowerings of one file share.

    Attributes:
        views: ONNX value to where it lies, filled node by node.
        widened: convolutions whose kernels get rows of zeros instead of a PAD in front.
        choices: what lowerings chose, for people.
    """

    graph: Graph
    plan: Plan
    activations: Mapping[str, QuantParams]
    weights: Mapping[tuple[str, int], QuantParams]
    builder: Builder = field(default_factory=Builder)
    views: dict[str, View] = field(default_factory=dict)
    widened: frozenset[str] = frozenset()
    choices: list[str] = field(default_factory=list)


class Site:
    """One node under lowering."""

    def __init__(self, scene: Scene, node: Node) -> None:
        self.scene, self.node, self.build = scene, node, scene.builder
        readers = scene.graph.consumers_of(node.output)
        plans = scene.plan.nodes
        self.clamp = next(
            (n for n in readers if plans[n.name].kind is Kind.ABSORBED and plans[n.name].host == node.name), None
        )
        self.fused = False

    # --- inputs --------------------------------------------------------------------------------------------------------

    def shape(self, index: int) -> Shape:
        """Logical shape of an input."""
        name = self.node.input(index)
        if name in self.scene.graph.weights:
            return self.scene.graph.weight_shape(name)
        return self.scene.plan.shapes[name]

    def is_constant(self, index: int) -> bool:
        """Whether an input is given in the model."""
        return self.node.input(index) in self.scene.graph.weights

    def array(self, index: int) -> Array | None:
        """A constant input, None if it is omitted or computed."""
        return self.scene.graph.constant(self.node.input(index)) if self.node.input(index) else None

    def view(self, index: int = 0) -> View:
        """A computed input, in the width of the result: kernels do not mix 8 and 16 bits."""
        view = self.scene.views[self.node.input(index)]
        wanted = self.scene.activations.get(self.result)
        if view.params is None or wanted is None or view.params.format.bits == wanted.format.bits:
            return view
        return self.build.rescaled(
            view, params_for_range(wanted.format, float(view.params.low), float(view.params.high))
        )

    def weight(self, index: int) -> QuantParams:
        """Parameters of a constant input."""
        return self.scene.weights[self.node.name, index]

    def ints(self, index: int, attribute: str = "") -> tuple[int, ...] | None:
        """A list of integers given as an input or, in older opsets, as an attribute."""
        array = self.array(index)
        if array is not None:
            return tuple(int(v) for v in array.reshape(-1))
        given = self.node.attr(attribute) if attribute else None
        return None if given is None else tuple(int(v) for v in np.atleast_1d(given))

    def operand(self, index: int, rank: int, order: Order) -> int:
        """An input in the given order, aligned to a rank as broadcasting wants; a constant is moved here."""
        if not self.is_constant(index):
            return self.build.at(squeezed(self.view(index), rank), order)
        array = self.array(index)
        assert array is not None
        aligned = array.reshape((1,) * (rank - array.ndim) + array.shape).transpose(order)
        return self.build.quantized(np.ascontiguousarray(aligned), self.weight(index))

    # --- result --------------------------------------------------------------------------------------------------------

    @property
    def result(self) -> str:
        """Name of what is written: the node's output, or that of the clamp it takes in."""
        return self.node.output if self.clamp is None else self.clamp.output

    @property
    def out_shape(self) -> Shape:
        """Logical shape of the first output."""
        return self.scene.plan.shapes[self.node.output]

    @property
    def params(self) -> QuantParams:
        """Parameters of the result."""
        return self.scene.activations[self.result]

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Interval to which the clamp that is taken in cuts."""
        return None if self.clamp is None else clamp_bounds(self.clamp, self.scene.graph)

    def activation(self) -> int:
        """Code of the fused activation; asking for it says that the operator applies it."""
        code = ACTIVATIONS[_FUSED.get(self.bounds or (1.0, 0.0), "")]
        self.fused = code != 0
        return code

    def done(self, tensor: int, order: Order | None = None, shape: Shape | None = None) -> None:
        """Hand over the tensor that holds the first output."""
        shape = self.out_shape if shape is None else shape
        self.put(View(tensor, shape, identity(len(shape)) if order is None else order, self.params))

    def put(self, view: View, name: str = "") -> None:
        """Hand over an output as a view."""
        self.scene.views[name or self.result] = view
