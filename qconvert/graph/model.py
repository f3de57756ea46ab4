"""The graph as an immutable value: nodes and tensors that refer to each other by name, as in ONNX itself.

Everything before `emit` only reads such a value; a change goes through `Edit` and gives a new one. Weights may be mapped
files or computed on demand, so a Graph is small however large the model is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from typing import Any, TypeAlias

import numpy as np

from .weights import Array, Weight, weight

Dim: TypeAlias = int | str | None


@dataclass(frozen=True, slots=True)
class TensorType:
    """Element type and shape of a tensor.

    Attributes:
        dtype: NumPy name of the element type ("float32", "int4", "bfloat16", "string"); None if unknown.
        shape: one entry a dimension: a number, the name of a symbolic dimension, or None; None as a whole if the rank is unknown.
        other: serialized `onnx.TypeProto` of a value that is no tensor (a sequence, an optional, a map, a sparse tensor); both of
            the above are None then.
    """

    dtype: str | None = None
    shape: tuple[Dim, ...] | None = None
    other: bytes = b""

    @property
    def rank(self) -> int | None:
        """Number of dimensions, None if unknown."""
        return None if self.shape is None else len(self.shape)

    @property
    def size(self) -> int | None:
        """Number of elements, None if not every dimension is a number."""
        dims = [dim for dim in self.shape or () if isinstance(dim, int)]
        return prod(dims) if self.shape is not None and len(dims) == len(self.shape) else None

    def __str__(self) -> str:
        dims = "?" if self.shape is None else ",".join("?" if d is None else str(d) for d in self.shape)
        return f"{self.dtype or '?'}[{dims}]"


@dataclass(frozen=True, eq=False)
class Node:
    """One operator call.

    Attributes:
        op: operator name; domain: "" for the standard one.
        inputs: value names in the operator's order, "" for an omitted optional input.
        attributes: numbers, strings, tuples of them, arrays, or a Graph (the body of an If, Loop or Scan).
    """

    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""
    domain: str = ""

    @property
    def key(self) -> str:
        """The operator in tables of operators: its name, behind that of its domain where this is not the standard one."""
        return f"{self.domain}.{self.op}" if self.domain else self.op

    def input(self, index: int) -> str:
        """Name of input `index`, "" if it is omitted."""
        return self.inputs[index] if index < len(self.inputs) else ""

    @property
    def output(self) -> str:
        """Name of the first output."""
        return self.outputs[0]

    def attr(self, name: str, default: Any = None) -> Any:
        """Value of an attribute, or `default` where it is not set."""
        return self.attributes.get(name, default)

    def with_(self, **changes: Any) -> Node:
        """The same node with some fields replaced."""
        return replace(self, **changes)

    @cached_property
    def bodies(self) -> tuple[Graph, ...]:
        """Graphs among the attributes."""
        values = (v if isinstance(v, tuple) else (v,) for v in self.attributes.values())
        return tuple(g for group in values for g in group if isinstance(g, Graph))

    @cached_property
    def reads(self) -> tuple[str, ...]:
        """Every value the node needs: its inputs and what its bodies capture from outside."""
        captured = (name for body in self.bodies for name in body.captures)
        return tuple(dict.fromkeys([*(i for i in self.inputs if i), *captured]))

    def __str__(self) -> str:
        return f"{', '.join(self.outputs)} = {self.op}({', '.join(self.inputs)})"


@dataclass(frozen=True, eq=False)
class Graph:
    """A model: topologically sorted nodes, graph inputs and outputs, weights, and what is known of each value's type."""

    nodes: tuple[Node, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    weights: Mapping[str, Weight]
    types: Mapping[str, TensorType]
    opsets: Mapping[str, int] = field(default_factory=lambda: {"": 17})
    name: str = "graph"
    ir_version: int = 8
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def opset(self) -> int:
        """Version of the standard operator set."""
        return self.opsets.get("", 1)

    @cached_property
    def producer(self) -> Mapping[str, Node]:
        """Value name to the node that computes it; graph inputs and weights have none."""
        return {out: node for node in self.nodes for out in node.outputs if out}

    @cached_property
    def consumers(self) -> Mapping[str, tuple[Node, ...]]:
        """Value name to the nodes that read it, each once, in order."""
        found: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in node.reads:
                found.setdefault(name, []).append(node)
        return {name: tuple(nodes) for name, nodes in found.items()}

    @cached_property
    def by_name(self) -> Mapping[str, Node]:
        """Node name to node."""
        return {node.name: node for node in self.nodes}

    @cached_property
    def captures(self) -> tuple[str, ...]:
        """For a body: the values of the enclosing graph that it reads."""
        own = {*self.inputs, *self.weights, *(o for n in self.nodes for o in n.outputs)}
        wanted = (name for node in self.nodes for name in node.reads)
        return tuple(dict.fromkeys(name for name in (*wanted, *self.outputs) if name not in own))

    @cached_property
    def feeds(self) -> tuple[str, ...]:
        """Graph inputs that a caller must supply (those without a default weight)."""
        return tuple(name for name in self.inputs if name not in self.weights)

    def consumers_of(self, name: str) -> tuple[Node, ...]:
        """Nodes that read the value, none for an unused one."""
        return self.consumers.get(name, ())

    def type_of(self, name: str) -> TensorType:
        """What is known of a value's type; weights know theirs exactly."""
        weight = self.weights.get(name)
        if weight is not None:
            return TensorType(weight.dtype, weight.shape)
        return self.types.get(name, TensorType())

    @cached_property
    def constants(self) -> Mapping[str, TensorType]:
        """Every constant that the model stores: weights, values of Constant nodes, and those of bodies."""
        found = {name: self.type_of(name) for name in self.weights}
        for node in self.nodes:
            value = node.attr("value") if node.op == "Constant" else None
            if isinstance(value, np.ndarray):
                found[node.outputs[0]] = TensorType(str(value.dtype), value.shape)
            for body in node.bodies:
                found |= {f"{node.name}/{name}": kind for name, kind in body.constants.items()}
        return found

    def weight_shape(self, name: str) -> tuple[int, ...]:
        """Shape of a weight."""
        return self.weights[name].shape

    def constant(self, name: str) -> Array | None:
        """The array behind a weight, None if the value is computed or fed at run time."""
        weight = self.weights.get(name)
        return None if weight is None or name in self.inputs else weight.numpy()

    def sole_consumer(self, name: str) -> Node | None:
        """The only node that reads the value, None if several do or it is a graph output."""
        users = self.consumers_of(name)
        return users[0] if len(users) == 1 and name not in self.outputs else None

    def values(self) -> Iterator[str]:
        """Names of all values that are fed or computed, in order."""
        yield from self.feeds
        for node in self.nodes:
            yield from (out for out in node.outputs if out)

    def with_(self, **changes: Any) -> Graph:
        """The same graph with some fields replaced."""
        return replace(self, **changes)

    def __str__(self) -> str:
        head = f"{self.name}({', '.join(f'{i}: {self.type_of(i)}' for i in self.feeds)}) -> {', '.join(self.outputs)}"
        return "\n".join([head, *(f"  {node}" for node in self.nodes)])


class Edit:
    """Changes to a graph, collected and then applied at once by `graph()`; the original stays as it is."""

    def __init__(self, graph: Graph) -> None:
        self._base = graph
        self._nodes: dict[int, tuple[Node, ...]] = {}
        self._added: list[Node] = []
        self._weights = dict(graph.weights)
        self._types = dict(graph.types)
        self._rename: dict[str, str] = {}
        self._taken = {*graph.inputs, *graph.weights, *(o for n in graph.nodes for o in n.outputs)}
        self._node_names = {n.name for n in graph.nodes}

    def fresh(self, hint: str) -> str:
        """A value name that is not in use yet."""
        name = unused(hint, self._taken)
        self._taken.add(name)
        return name

    def fresh_node(self, hint: str) -> str:
        """A node name that is not in use yet."""
        name = unused(hint, self._node_names)
        self._node_names.add(name)
        return name

    def add_weight(self, hint: str, value: Array | Weight) -> str:
        """Add a weight under a fresh name and return the name."""
        name = self.fresh(hint)
        self._weights[name] = weight(np.asarray(value)) if isinstance(value, np.ndarray | np.generic) else value
        return name

    def set_weight(self, name: str, value: Array | Weight) -> None:
        """Replace the content of an existing weight."""
        self._weights[name] = weight(np.asarray(value)) if isinstance(value, np.ndarray | np.generic) else value

    def set_type(self, name: str, value: TensorType) -> None:
        """Record the type of a value."""
        self._types[name] = value

    def replace(self, old: Node, *new: Node) -> None:
        """Put `new` in the place of `old` (nothing: remove it)."""
        self._nodes[id(old)] = new

    def current(self, node: Node) -> Node | None:
        """What stands for `node` now: itself, the last of its replacements, or None if it was removed."""
        new = self._nodes.get(id(node), (node,))
        return new[-1] if new else None

    def add(self, *nodes: Node) -> None:
        """Add nodes; they are sorted into place."""
        self._added.extend(nodes)

    def redirect(self, old: str, new: str) -> None:
        """Let every reader of `old` read `new` instead (graph outputs keep their names)."""
        self._rename[old] = new

    @property
    def changed(self) -> bool:
        """Whether any node or weight was touched."""
        return bool(self._nodes or self._added or self._rename or self._weights.keys() - self._base.weights.keys())

    def graph(self, **changes: Any) -> Graph:
        """The edited graph: sorted, without nodes and weights that nothing reads any more."""
        kept = [new for node in self._base.nodes for new in self._nodes.get(id(node), (node,))]
        nodes = [self._renamed(node) for node in (*kept, *self._added)]
        base = self._base.with_(**changes)
        nodes = _live(sort(nodes, {*base.inputs, *self._weights}), base.outputs)
        read = {name for node in nodes for name in node.reads} | {*base.outputs, *base.inputs}
        weights = {name: value for name, value in self._weights.items() if name in read}
        alive = read | {o for n in nodes for o in n.outputs}
        types = {name: value for name, value in self._types.items() if name in alive}
        return base.with_(nodes=tuple(nodes), weights=weights, types=types)

    def _renamed(self, node: Node) -> Node:
        inputs = tuple(self._final(name) for name in node.inputs)
        return node if inputs == node.inputs else node.with_(inputs=inputs)

    def _final(self, name: str) -> str:
        while name in self._rename:
            name = self._rename[name]
        return name


def sort(nodes: Iterable[Node], known: set[str]) -> list[Node]:
    """Stable topological order: each node as early as its place in the list and its inputs allow.

    Raises:
        ValueError: the nodes form a cycle.
    """
    nodes = list(nodes)
    producer = {out: i for i, node in enumerate(nodes) for out in node.outputs if out}
    order: list[Node] = []
    state = [0] * len(nodes)  # 0 new, 1 waiting for its inputs, 2 placed
    for start in range(len(nodes)):
        stack = [start]
        while stack:
            i = stack[-1]
            if state[i] == 2:
                stack.pop()
                continue
            waiting = [
                producer[r] for r in nodes[i].reads if r in producer and r not in known and state[producer[r]] != 2
            ]
            if not waiting:
                state[i] = 2
                order.append(nodes[i])
                stack.pop()
            elif state[i] == 1:
                raise ValueError(f"cycle through node {nodes[i].name or nodes[i].op}")
            else:
                state[i] = 1
                stack.extend(reversed(waiting))
    return order


def _live(nodes: list[Node], outputs: tuple[str, ...]) -> list[Node]:
    wanted = set(outputs)
    alive: list[Node] = []
    for node in reversed(nodes):
        if any(out in wanted for out in node.outputs):
            alive.append(node)
            wanted.update(node.reads)
    return alive[::-1]


def unused(hint: str, taken: set[str]) -> str:
    """A name like `hint` that is not taken."""
    name, n = hint, 0
    while name in taken or not name:
        n += 1
        name = f"{hint}_{n}"
    return name
