"""Drafts by content: a hash of what algorithms can see of one, and as bytes what an algorithm has changed about it.

Predicted times, reasons and the name of the target are no part of either, so that targets whose numbers are the same can share
what was computed; a draft is read back on top of the one that it was made from, and keeps that one's plan.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import astuple, fields, replace
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from ..calibrate import QuantParams, Sketch
from ..calibrate.sketch import BUCKETS
from ..graph import Array, Graph, Node, TensorType, Weight, numpy_dtype, serialize, weight
from ..plan import Kind, NodePlan, Plan, Reason
from ..targets.formats import Format
from .draft import Draft

# --- hash --------------------------------------------------------------------------------------------------------------


def digest(draft: Draft) -> str:
    """SHA-256 of everything about a draft that results can depend on, costs and reasons aside."""
    parts = [
        _of_graph(draft.graph),
        _of_graph(draft.reference) if draft.reference is not draft.graph else "",
        *(repr(row) for row in _numbers(draft.plan)),
        *(f"{name} {_of_sketch(sketch)}" for name, sketch in draft.sketches.items()),
        *(f"{name} {_of_params(params)}" for name, params in draft.activations.items()),
        *(f"{key} {_of_params(params)}" for key, params in draft.weights.items()),
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _numbers(plan: Plan) -> list[object]:
    """The plan without what another cost model or another name would make of it."""
    same = replace(
        plan,
        target="",
        nodes={n: replace(p, reason=None, float_ns=0.0, integer_ns=0.0) for n, p in plan.nodes.items()},
        prediction=replace(plan.prediction, float_ns=None, ns=None),
    )
    found = (getattr(same, field.name) for field in fields(same))
    return [sorted(value) if isinstance(value, frozenset) else value for value in found]


_WEIGHTS: WeakKeyDictionary[Weight, str] = WeakKeyDictionary()
_SKETCHES: WeakKeyDictionary[Sketch, str] = WeakKeyDictionary()


def _of_graph(graph: Graph) -> str:
    total = hashlib.sha256(serialize(graph.with_(weights={}, metadata={})))
    for name, value in graph.weights.items():
        total.update(f"\n{name} {_of_weight(value)}".encode())
    return total.hexdigest()


def _of_weight(value: Weight) -> str:
    if value not in _WEIGHTS:
        _WEIGHTS[value] = _of_array(value.numpy())
    return _WEIGHTS[value]


def _of_sketch(sketch: Sketch) -> str:
    if sketch not in _SKETCHES:
        levels = "" if sketch.levels is None else _of_array(sketch.levels)
        _SKETCHES[sketch] = f"{sketch.low!r} {sketch.high!r} {sketch.size} {_of_array(sketch.counts)} {levels}"
    return _SKETCHES[sketch]


def _of_params(params: QuantParams) -> str:
    table = "" if params.table is None else _of_array(params.table)
    return f"{params.format!r} {params.axis} {params.block} {_of_array(params.scale)} {_of_array(params.zero_point)} {table}"


def _of_array(array: Array) -> str:
    plain = np.ascontiguousarray(array).reshape(-1)
    raw = repr(array.tolist()).encode() if array.dtype.kind == "O" else plain.view(np.uint8).data
    return f"{array.dtype} {array.shape} {hashlib.sha256(raw).hexdigest()}"


# --- as bytes ----------------------------------------------------------------------------------------------------------


MOST_BYTES = 512_000_000  # of what has changed; more is computed each time


class UnfitError(Exception):
    """More has changed about a draft than is written."""


class _Arrays:
    """Arrays behind the text that refers to them by number."""

    def __init__(self) -> None:
        self.rows: list[tuple[str, tuple[int, ...]]] = []
        self.raw: list[bytes] = []
        self.size = 0

    def add(self, array: Array) -> int:
        self.size += array.nbytes
        if array.dtype.kind == "O" or self.size > MOST_BYTES:
            raise UnfitError
        self.rows.append((str(array.dtype), array.shape))
        self.raw.append(np.ascontiguousarray(array).tobytes())
        return len(self.rows) - 1


def written(draft: Draft, start: Draft) -> bytes:
    """What has become of a draft: weights, nodes that are new or read something else, ranges and parameters.

    Raises:
        UnfitError: where more than that has changed.
    """
    arrays = _Arrays()
    head: dict[str, Any] = {
        "graph": _graph_rows(draft.graph, start, arrays),
        "reference": "new" if draft.reference is draft.graph else _graph_rows(draft.reference, start, arrays),
        "plan": _added(draft.plan, start.plan),
        "sketches": _changes(draft.sketches, start.sketches, lambda sketch: _sketch_row(sketch, arrays)),
        "activations": _changes(draft.activations, start.activations, lambda params: _params_row(params, arrays)),
        "weights": _changes(draft.weights, start.weights, lambda params: _params_row(params, arrays)),
    }
    text = json.dumps({**head, "arrays": arrays.rows}).encode()
    return b"".join([len(text).to_bytes(8, "little"), text, *arrays.raw])


def read(content: bytes, start: Draft) -> Draft:
    """The draft that was written, on top of the same start."""
    size = 8 + int.from_bytes(content[:8], "little")
    head = json.loads(content[8:size])
    arrays: list[Array] = []
    for name, shape in head["arrays"]:
        dtype, count = numpy_dtype(name), int(np.prod(shape))
        arrays.append(np.frombuffer(content, dtype, count, size).reshape(shape).copy())
        size += count * dtype.itemsize
    graph = _graph(head["graph"], start, arrays)
    return Draft(
        graph,
        graph if head["reference"] == "new" else _graph(head["reference"], start, arrays),
        _plan(head["plan"], start.plan),
        _restored(head["sketches"], start.sketches, lambda row: _sketch(row, arrays)),
        _restored(head["activations"], start.activations, lambda row: _params(row, arrays)),
        _restored(head["weights"], start.weights, lambda row: _params(row, arrays)),
    )


def _changes(new: Mapping[Any, Any], old: Mapping[Any, Any], row: Callable[[Any], object]) -> list[object]:
    """A mapping in its order: the key alone where the value is the same object as before."""
    return [[key] if old.get(key) is value else [key, row(value)] for key, value in new.items()]


def _restored(rows: list[Any], old: Mapping[Any, Any], value: Callable[[Any], Any]) -> dict[Any, Any]:
    keys = [tuple(row[0]) if isinstance(row[0], list) else row[0] for row in rows]
    return {key: value(row[1]) if len(row) > 1 else old[key] for key, row in zip(keys, rows, strict=True)}


# graphs


def _graph_rows(graph: Graph, start: Draft, arrays: _Arrays) -> str | dict[str, object]:
    if graph is start.graph:
        return "graph"
    if graph is start.reference:
        return "reference"
    base = start.graph
    known = {id(w): (part, n) for part in ("reference", "graph") for n, w in getattr(start, part).weights.items()}
    if any(getattr(graph, name) != getattr(base, name) for name in _FIXED):
        raise UnfitError
    return {
        "nodes": [_node_row(node, base) for node in graph.nodes],
        "weights": [(n, known[id(w)] if id(w) in known else arrays.add(w.numpy())) for n, w in graph.weights.items()],
        "types": [(name, kind.dtype, kind.shape) for name, kind in graph.types.items()],
    }


_FIXED = ("inputs", "outputs", "opsets", "name", "ir_version", "metadata")


def _node_row(node: Node, base: Graph) -> object:
    before = base.by_name.get(node.name)
    if node is before:
        return node.name
    if node.attributes and (before is None or before.attributes is not node.attributes):
        raise UnfitError
    return (node.op, node.inputs, node.outputs, bool(node.attributes), node.name, node.domain)


def _graph(rows: Any, start: Draft, arrays: list[Array]) -> Graph:
    if isinstance(rows, str):
        found: Graph = getattr(start, rows)
        return found
    base = start.graph
    return base.with_(
        nodes=tuple(_node(row, base) for row in rows["nodes"]),
        weights={
            name: weight(arrays[at]) if isinstance(at, int) else getattr(start, at[0]).weights[at[1]]
            for name, at in rows["weights"]
        },
        types={
            name: TensorType(dtype, None if shape is None else tuple(shape)) for name, dtype, shape in rows["types"]
        },
    )


def _node(row: Any, base: Graph) -> Node:
    if isinstance(row, str):
        return base.by_name[row]
    op, inputs, outputs, same, name, domain = row
    return Node(op, tuple(inputs), tuple(outputs), base.by_name[name].attributes if same else {}, name, domain)


# the rest


def _added(plan: Plan, start: Plan) -> list[object]:
    """Float nodes that are new in a plan; nothing else of it may have changed."""
    rest = (field.name for field in fields(plan) if field.name != "nodes")
    if any(getattr(plan, name) is not getattr(start, name) for name in rest):
        raise UnfitError
    added = {name: node for name, node in plan.nodes.items() if start.nodes.get(name) is not node}
    plain = all(node == NodePlan(Kind.FLOAT, node.reason) for node in added.values())
    if list(plan.nodes) != [*start.nodes, *added] or not plain:
        raise UnfitError
    return [(name, node.reason and (node.reason.code, node.reason.text)) for name, node in added.items()]


def _plan(rows: list[Any], start: Plan) -> Plan:
    added = {name: NodePlan(Kind.FLOAT, Reason(*reason) if reason else None) for name, reason in rows}
    return replace(start, nodes={**start.nodes, **added}) if added else start


def _sketch_row(sketch: Sketch, arrays: _Arrays) -> object:
    filled = np.flatnonzero(sketch.counts)
    levels = None if sketch.levels is None else arrays.add(sketch.levels)
    return (sketch.low, sketch.high, sketch.size, arrays.add(filled), arrays.add(sketch.counts[filled]), levels)


def _sketch(row: Any, arrays: list[Array]) -> Sketch:
    low, high, size, filled, counts, levels = row
    dense = np.zeros(BUCKETS, arrays[counts].dtype)
    dense[arrays[filled]] = arrays[counts]
    return Sketch(low, high, size, dense, None if levels is None else arrays[levels])


def _params_row(params: QuantParams, arrays: _Arrays) -> object:
    table = None if params.table is None else arrays.add(params.table)
    places = (arrays.add(params.scale), arrays.add(params.zero_point), table)
    return (astuple(params.format), *places, params.axis, params.block)


def _params(row: Any, arrays: list[Array]) -> QuantParams:
    (dtype, symmetric, narrow, bits, exponents, least), scale, zero, table, axis, block = row
    format_ = Format(dtype, symmetric, narrow, bits, tuple(exponents) if exponents else None, least)
    levels = None if table is None else arrays[table]
    return QuantParams(format_, arrays[scale], arrays[zero], axis, block, levels)
