"""Grows a graph behind another one: operators are added to its values, constants come with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from ...canonicalize.auto_pad import explicit_pads
from ...graph import Array, Graph, Node, TensorType, Weight, weight
from ...runtime import Feed, observe

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(eq=False)
class Tape:
    """Nodes added to a graph.

    Attributes:
        graph: what they are added to.
        shapes: shape of every value of the graph for the inputs at hand.
        known: values that shapes, indices and bounds have for these inputs.
    """

    graph: Graph
    shapes: Shapes
    known: Mapping[str, Array] = field(default_factory=dict)
    nodes: list[Node] = field(default_factory=list)
    weights: dict[str, Weight] = field(default_factory=dict)

    def op(self, op: str, *inputs: str, **attributes: Any) -> str:
        """Add an operator with one output, and return the name of that."""
        return self.put(Node(op, inputs, ("",), attributes))

    def put(self, node: Node, outputs: int = 1) -> str:
        """Add a node under fresh names; returns its first output."""
        return self.put_all(node, outputs)[0]

    def put_all(self, node: Node, outputs: int) -> tuple[str, ...]:
        """Add a node under fresh names; returns its outputs."""
        number = len(self.nodes)
        names = tuple(f"tune/{number}/{i}" for i in range(outputs))
        self.nodes.append(node.with_(outputs=names, name=f"tune/{number}"))
        return names

    def const(self, array: Array) -> str:
        """Add a constant."""
        name = f"tune/c{len(self.weights)}"
        self.weights[name] = weight(array)
        return name

    def number(self, value: float) -> str:
        """Add a float32 scalar."""
        return self.const(np.array(value, dtype=np.float32))

    def ints(self, *values: int) -> str:
        """Add a list of int64."""
        return self.const(np.array(values, dtype=np.int64))

    def shaped(self, value: str, shape: Sequence[int]) -> str:
        """Reshape."""
        return self.op("Reshape", value, self.ints(*shape))

    def total(self, value: str, axes: Sequence[int] | None = None, keep: bool = False) -> str:
        """Sum over axes, over everything for None."""
        extra = () if axes is None else (self.ints(*axes),)
        return self.op("ReduceSum", value, *extra, keepdims=int(keep))

    def dot(self, a: str, b: str) -> str:
        """Sum of products as an array [1, 1]."""
        return self.op("MatMul", self.shaped(a, (1, -1)), self.shaped(b, (-1, 1)))

    def constant(self, name: str) -> Array | None:
        """Content of a weight or of a value that is known."""
        found = self.graph.constant(name)
        return self.known.get(name) if found is None else found

    def narrowed(self, gradient: str, shape: tuple[int, ...], name: str) -> str:
        """A gradient of shape `shape` summed down to that of the value that was broadcast to it."""
        own = self.shapes[name]
        if own == shape:
            return gradient
        lead = len(shape) - len(own)
        axes = [*range(lead), *(i + lead for i, d in enumerate(own) if d == 1 and shape[i + lead] != 1)]
        found = self.total(gradient, axes, True) if axes else gradient
        return self.shaped(found, own)

    def finished(self, inputs: Mapping[str, TensorType], outputs: Sequence[str]) -> Graph:
        """The graph with everything that was added, its inputs fixed to the shapes at hand."""
        graph = self.graph
        types = {name: TensorType(graph.type_of(name).dtype, self.shapes[name]) for name in graph.feeds}
        return graph.with_(
            nodes=(*graph.nodes, *self.nodes),
            inputs=(*graph.feeds, *inputs),
            outputs=tuple(outputs),
            weights={**graph.weights, **self.weights},
            types={**types, **inputs, **{name: TensorType("float32") for name in outputs}},
            ir_version=max(graph.ir_version, 10),
        )


def start(graph: Graph, feed: Feed) -> Tape:
    """A tape for inputs of the shapes of `feed`, every value of the graph looked at once."""
    names = [name for name in graph.values() if name not in graph.feeds]
    seen = {**feed, **observe(graph, names, feed)}
    shapes = {name: tuple(array.shape) for name, array in seen.items()}
    shapes |= {name: graph.weight_shape(name) for name in graph.weights}
    small = {name: array for name, array in seen.items() if array.dtype.kind in "iub" and prod(array.shape) <= 1 << 20}
    return Tape(_padded(graph, shapes), shapes, small)


def _padded(graph: Graph, shapes: Shapes) -> Graph:
    """The graph with pads in the place of `auto_pad`, which the sizes at hand decide."""
    if all(node.attr("auto_pad", "NOTSET") == "NOTSET" for node in graph.nodes):
        return graph
    types = {name: TensorType(graph.type_of(name).dtype, shape) for name, shape in shapes.items()}
    return explicit_pads(graph.with_(types={**graph.types, **types})).graph.with_(types=graph.types)
