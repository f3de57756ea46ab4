"""Float16 or bfloat16 for everything that is neither integer nor kept in float32, with Casts where the two meet.

A value lives in the type in which it is computed; whoever wants the other one reads it behind one shared Cast. Graph inputs and
outputs keep float32 unless told otherwise, and so does what the body of an If, Loop or Scan reads by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

import numpy as np

from ..calibrate import QuantParams
from ..calibrate.half import LARGEST, SMALLEST
from ..graph import Array, Edit, Graph, Lazy, Node, TensorType, gives, infer_types, numpy_dtype, only_tensors, takes

Key = TypeVar("Key")
CODES = {"float32": 1, "float16": 10, "bfloat16": 16}  # ONNX TensorProto.DataType
_TYPED = ("to", "dtype", "output_dtype")  # attributes that name an element type


def half_scales(params: Mapping[Key, QuantParams], dtype: str = "float16") -> dict[Key, QuantParams]:
    """Parameters whose scales are numbers of the type, so that codes and real values fit together exactly.

    A scale below the smallest normal number, which would lose its precision, becomes that number.
    """
    return {
        key: replace(p, scale=in_half(np.maximum(p.scale, SMALLEST[dtype]), dtype).astype(np.float32))
        for key, p in params.items()
    }


def in_half(array: Array, dtype: str) -> Array:
    """Values in the type; what is out of range, such as masks, becomes the largest number instead of infinity."""
    return np.asarray(np.clip(array, -LARGEST[dtype], LARGEST[dtype]).astype(numpy_dtype(dtype)))


def to_half(graph: Graph, dtype: str = "float16", kept: frozenset[str] = frozenset(), edges: bool = False) -> Graph:
    """The graph with its float32 arithmetic in a 16-bit type.

    Args:
        dtype: "float16" or "bfloat16".
        kept: names of nodes that stay in float32, besides those for which ONNX has no such type.
        edges: graph inputs and outputs change their type too.
    """
    return _Halving(infer_types(graph), dtype, kept, edges).result()


def _chosen(node: Node) -> bool:
    """Whether an operator of a runtime's own writes the type that an attribute names."""
    return node.domain != "" and node.attr("output_dtype") == CODES["float32"]


class _Halving:
    """One conversion: the type in which each value is computed, and the Casts made so far."""

    def __init__(self, graph: Graph, dtype: str, kept: frozenset[str], edges: bool) -> None:
        self.graph, self.dtype = graph, dtype
        self.edit = Edit(graph)
        self.nodes = {
            n.name for n in graph.nodes if n.name not in kept and (only_tensors(n, graph.opset) or _chosen(n))
        }
        self.outside = {*graph.inputs, *graph.outputs}
        self.captured = {name for node in graph.nodes for body in node.bodies for name in body.captures}
        self.edge = dtype if edges else "float32"
        self.floats = {
            n for n in (*graph.inputs, *graph.values(), *graph.weights) if graph.type_of(n).dtype == "float32"
        }
        self._single = {n for node in graph.nodes for i, n in enumerate(node.inputs) if not self._wants_half(node, i)}
        self._names: dict[tuple[str, str], str] = {}
        self._cast: set[tuple[str, str]] = set()

    def result(self) -> Graph:
        """The converted graph."""
        graph = self.graph
        for node in graph.nodes:
            self.edit.replace(node, self._converted(node))
        for name in graph.outputs:
            self._read(name, self.edge)
        for name in self.captured:
            self._read(name, "float32")
        for name in self.floats:
            if name in self.outside:
                self.edit.set_type(name, TensorType(self.edge, graph.type_of(name).shape))
        return self.edit.graph()

    def _wants_half(self, node: Node, index: int) -> bool:
        return node.name in self.nodes and takes(node, self.graph.opset, index, self.dtype)

    def _computed(self, name: str) -> str:
        """The type in which a float value comes into being."""
        node = self.graph.producer.get(name)
        if node is None:
            return self.edge
        place = node.outputs.index(name)
        here = node.name in self.nodes and (_chosen(node) or gives(node, self.graph.opset, place, self.dtype))
        return self.dtype if here else "float32"

    def _owner(self, name: str) -> str:
        """The type of the value that keeps the name; the other one gets a new name."""
        if name in self.captured:
            return "float32"
        return self.edge if name in self.outside else self._computed(name)

    def _name(self, name: str, dtype: str) -> str:
        """The name of a value in a type."""
        if dtype == self._owner(name):
            return name
        if (name, dtype) not in self._names:
            fresh = self.edit.fresh(f"{name}/{'float' if dtype == 'float32' else 'half'}")
            self._names[name, dtype] = fresh
            self.edit.set_type(fresh, TensorType(dtype, self.graph.type_of(name).shape))
        return self._names[name, dtype]

    def _read(self, name: str, dtype: str) -> str:
        """The name under which a reader finds a value in the type that it wants."""
        if name not in self.floats:
            return name
        if name in self.graph.weights and name not in self.outside:
            return name if dtype == "float32" else self._weight(name)
        result, computed = self._name(name, dtype), self._computed(name)
        if dtype != computed and (name, dtype) not in self._cast:
            self._cast.add((name, dtype))
            made = self.edit.fresh_node(f"{result}/Cast")
            self.edit.add(Node("Cast", (self._name(name, computed),), (result,), {"to": CODES[dtype]}, made))
        return result

    def _converted(self, node: Node) -> Node:
        graph, half = self.graph, node.name in self.nodes
        wanted = [self.dtype if self._wants_half(node, i) else "float32" for i in range(len(node.inputs))]
        inputs = tuple(self._read(name, dtype) for name, dtype in zip(node.inputs, wanted, strict=True))
        outputs = tuple(self._name(o, self._computed(o)) if o in self.floats else o for o in node.outputs)
        for old, new in zip(node.outputs, outputs, strict=True):
            if old in self.floats:
                self.edit.set_type(new, TensorType(self._computed(old), graph.type_of(old).shape))
        return node.with_(
            inputs=inputs, outputs=outputs, attributes=self._attributes(node) if half else node.attributes
        )

    def _attributes(self, node: Node) -> dict[str, object]:
        """Attributes with element types and constants in 16 bits."""
        found = dict(node.attributes)
        for key, value in found.items():
            if key in _TYPED and value == CODES["float32"]:
                found[key] = CODES[self.dtype]
            elif isinstance(value, np.ndarray) and value.dtype == np.float32:
                found[key] = in_half(value, self.dtype)
        plain = found.pop("value_float", found.pop("value_floats", None)) if node.op == "Constant" else None
        return found if plain is None else {"value": in_half(np.asarray(plain, dtype=np.float32), self.dtype)}

    def _weight(self, name: str) -> str:
        """A constant in 16 bits; a reader in float32 keeps the original."""
        if (name, self.dtype) not in self._names:
            tensor, dtype = self.graph.weights[name], self.dtype
            lazy = Lazy(dtype, tensor.shape, lambda: in_half(tensor.numpy(), dtype))
            if name in self._single | self.captured:
                self._names[name, dtype] = self.edit.add_weight(f"{name}/half", lazy)
            else:
                self.edit.set_weight(name, lazy)
                self._names[name, dtype] = name
        return self._names[name, self.dtype]
