"""Small questions that several rules ask about a graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ..graph import Array, Dim, Edit, Graph, Node, numpy_dtype, weight

CHANNEL_AXIS = 1
FLOATS = ("float16", "bfloat16", "float32", "float64")


def is_op(node: Node | None, *ops: str) -> bool:
    """Whether the node is one of these standard operators."""
    return node is not None and node.domain in ("", "ai.onnx") and node.op in ops


def produced_by(graph: Graph, name: str, *ops: str) -> Node | None:
    """The node that computes the value, if it is one of these operators and the value its first output."""
    node = graph.producer.get(name)
    return node if node is not None and is_op(node, *ops) and node.output == name else None


def scalar(graph: Graph, name: str) -> float | None:
    """The number in a constant of one element, None for anything else."""
    if name not in graph.weights or graph.weights[name].size != 1:
        return None
    value = graph.constant(name)
    return None if value is None or not is_number(value) else float(value.reshape(()))


def is_number(value: Array) -> bool:
    """Whether the elements are numbers: not text, not truth values."""
    return value.dtype.kind in "fiu" or str(value.dtype) == "bfloat16"


def integers(graph: Graph, node: Node, attribute: str, index: int) -> tuple[int, ...] | None:
    """Integers that are an attribute in old opsets and a constant input in newer ones; None if absent or computed."""
    given = node.attr(attribute)
    if given is not None:
        return tuple(int(v) for v in given)
    value = graph.constant(node.input(index)) if node.input(index) else None
    return None if value is None else tuple(int(v) for v in value.reshape(-1))


def one_of_two(node: Node, is_wanted: Callable[[str], bool]) -> tuple[str, str] | None:
    """The (wanted, other) inputs of a commutative operator of two inputs, None if not exactly one is wanted."""
    if len(node.inputs) != 2 or is_wanted(node.inputs[0]) == is_wanted(node.inputs[1]):
        return None
    first, second = node.inputs
    return (first, second) if is_wanted(first) else (second, first)


def times_scalar(graph: Graph, node: Node, op: str = "Mul") -> tuple[str, float] | None:
    """For `value * constant` (or +) with a constant of one element: the value and the number."""
    if not is_op(node, op):
        return None
    found = one_of_two(node, lambda name: scalar(graph, name) is not None)
    if found is None:
        return None
    return found[1], float(scalar(graph, found[0]) or 0.0)


def close(value: float | None, wanted: float, dtype: str | None) -> bool:
    """Whether a constant of the model is the wanted number, as well as its type can hold it."""
    tolerance = {"float16": 1e-3, "bfloat16": 1e-2}.get(dtype or "", 1e-6)
    return value is not None and abs(value - wanted) <= tolerance * max(1.0, abs(wanted))


def why_shared(graph: Graph, name: str) -> str | None:
    """Why a value cannot vanish in a fold, None if it can: it has exactly one reader and is no graph output."""
    if name in graph.outputs:
        return f"`{name}` is a graph output"
    users = graph.consumers_of(name)
    if len(users) != 1:
        return f"`{name}` has {len(users)} consumers"
    return None if users[0].inputs.count(name) == 1 else f"`{name}` is read twice or inside a body"


def captured(graph: Graph, name: str) -> bool:
    """Whether the body of an If, Loop or Scan reads the value; bodies stay as they are, so its name has to stay."""
    return any(name in body.captures for node in graph.consumers_of(name) for body in node.bodies)


def put_weight(edit: Edit, graph: Graph, name: str, user: Node, value: Array) -> str:
    """Store a new content for a weight that `user` reads and give its name.

    A weight that somebody else reads too stays for them, and the new content goes to a copy under a fresh name.
    """
    if graph.consumers_of(name) != (user,) or user.inputs.count(name) != 1 or name in graph.outputs:
        return edit.add_weight(name, value)
    edit.set_weight(name, value)
    return name


def static_dims(dims: tuple[Dim, ...] | None) -> tuple[int, ...] | None:
    """The dimensions as numbers, None if one of them is not known."""
    if dims is None or not all(isinstance(d, int) for d in dims):
        return None
    return tuple(int(d) for d in dims if isinstance(d, int))


def like(graph: Graph, name: str, value: Any) -> Array | None:
    """Numbers in the element type of a value, None if that is not a known float type."""
    dtype = graph.type_of(name).dtype
    return np.asarray(value).astype(numpy_dtype(dtype)) if dtype in FLOATS else None


def without(node: Node, *names: str) -> dict[str, Any]:
    """The attributes of a node without some of them."""
    return {key: value for key, value in node.attributes.items() if key not in names}


def axis_before(graph: Graph, node: Node, axis: int) -> int | None:
    """Where an axis of a node's output lies in its first input, None if it is not simply carried over.

    Answers for operators that move or average whole slices along the axis, so that a factor and an offset a slice may be applied
    before or after them: Squeeze, Unsqueeze, Transpose, Reshape, Flatten, GlobalAveragePool.
    """
    match node.op if not node.domain else "":
        case "GlobalAveragePool":
            return axis if axis <= CHANNEL_AXIS else None
        case "Transpose":
            perm = node.attr("perm")
            return int(perm[axis]) if perm is not None else None
        case "Squeeze" | "Unsqueeze":
            return _axis_before_squeeze(graph, node, axis)
        case "Reshape" | "Flatten":
            return _axis_before_reshape(graph.type_of(node.input(0)).shape, graph.type_of(node.output).shape, axis)
        case _:
            return None


def _axis_before_squeeze(graph: Graph, node: Node, axis: int) -> int | None:
    rank, axes = graph.type_of(node.input(0)).rank, integers(graph, node, "axes", 1)
    if rank is None or axes is None:
        return None
    if node.op == "Squeeze":
        kept = [i for i in range(rank) if i not in {a % rank for a in axes}]
        return kept[axis] if axis < len(kept) else None
    added = {a % (rank + len(axes)) for a in axes}
    return None if axis in added else axis - sum(a < axis for a in added)


def _axis_before_reshape(before: tuple[Dim, ...] | None, after: tuple[Dim, ...] | None, axis: int) -> int | None:
    """The axis of `before` with the same length and as many elements in front; a length of 1 would be ambiguous."""
    if before is None or after is None or axis >= len(after) or after[axis] in (1, None):
        return None
    wanted = _volume(after[:axis])
    found = [
        i for i, dim in enumerate(before) if dim == after[axis] and wanted is not None and _volume(before[:i]) == wanted
    ]
    return found[0] if found else None


def _volume(dims: tuple[Dim, ...]) -> tuple[int, tuple[str, ...]] | None:
    if any(d is None for d in dims):
        return None
    numbers = [d for d in dims if isinstance(d, int)]
    return int(np.prod(numbers, dtype=np.int64)), tuple(sorted(d for d in dims if isinstance(d, str)))


def nodes_to_weights(graph: Graph, values: dict[str, Array]) -> Graph:
    """The graph with the nodes that compute these values replaced by weights of the same names."""
    if not values:
        return graph
    nodes = tuple(node for node in graph.nodes if node.outputs[0] not in values)
    weights = {**graph.weights, **{name: weight(value) for name, value in values.items()}}
    return Edit(graph.with_(nodes=nodes, weights=weights)).graph()


def leak_of(graph: Graph, nodes: tuple[Node, ...]) -> str | None:
    """A value inside a chain, its last node excepted, that somebody outside of the chain reads."""
    inside = {id(n) for n in nodes}
    for node in nodes[:-1]:
        if node.output in graph.outputs or any(id(user) not in inside for user in graph.consumers_of(node.output)):
            return node.output
    return None


def replace_chain(edit: Edit, nodes: tuple[Node, ...], new: Node) -> None:
    """Put one node in the place of a chain; it gets the name and the output of the last one."""
    for node in nodes[:-1]:
        edit.replace(node)
    edit.replace(nodes[-1], new.with_(name=nodes[-1].name, outputs=(nodes[-1].output,)))
