"""Runs the FP32 graph and the quantized graph side by side, layer by layer, so that a layer sees what it will really get.

Each layer that multiplies weights is a station: there the algorithm receives the layer's FP32 output and the input
that the quantized part before it delivers, may change weights and bias, and the quantized run goes on with the new ones. What
lies between stations runs in the runtime as one piece. Every node thus runs once a sample, and only live values are kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..calibrate import fake_quantize, params_for_range
from ..graph import Array, Graph, Node, TensorType, weight
from ..ops import spec
from ..plan import Kind, Plan
from ..runtime import Feed, Options, opened
from ..targets.formats import Format

DYNAMIC = Format("uint8", symmetric=False)  # what DynamicQuantizeLinear does


_PRODUCTS = ("Gemm", "MatMul")


@dataclass(frozen=True, eq=False)
class Station:
    """A layer with its data: one array a sample, each with a batch axis.

    Attributes:
        wanted_out: FP32 output.
        got_in: input as the quantized graph delivers it.
        beside: what the output is added to lacks in the quantized graph, where that is known already: FP32 less delivered.
    """

    node: Node
    wanted_out: Sequence[Array]
    got_in: Sequence[Array]
    beside: Sequence[Array] | None = None

    @property
    def aim(self) -> Sequence[Array]:
        """The output with which the sum behind it would be that of FP32, one array a sample."""
        if self.beside is None:
            return self.wanted_out
        return [wanted + lack for wanted, lack in zip(self.wanted_out, self.beside, strict=True)]


Visit = Callable[[Station], tuple[Array, Array | None]]


def stations(graph: Graph, plan: Plan) -> tuple[Node, ...]:
    """Layers whose weights are rounded, in graph order: convolutions, and products with one matrix."""
    return tuple(
        node
        for node in graph.nodes
        if plan.nodes[node.name].kind in (Kind.INTEGER, Kind.DYNAMIC, Kind.WEIGHT_ONLY)
        and (row := spec(node)) is not None
        and row.weighted
        and node.input(1) in graph.weights
        and (node.op not in _PRODUCTS or len(graph.weight_shape(node.input(1))) == 2)
    )


def walk(reference: Graph, quantized: Graph, plan: Plan, feeds: Sequence[Feed], visit: Visit, threads: int = 1) -> None:
    """Visit every station in order.

    Args:
        reference: canonical FP32 graph.
        quantized: its Q/DQ form, in which dynamic layers are still float nodes (see `simulated`).
        visit: returns the weight and bias with which the quantized run goes on, as real values.
    """
    wanted, got = _Run(reference, feeds, threads), _Run(quantized, feeds, threads)
    waiting = {node.name for node in stations(reference, plan)}
    for node in stations(reference, plan):
        here = quantized.by_name[node.name]
        wanted_out = wanted.values(node.output)
        got_in = [array.astype(np.float32, copy=False) for array in got.values(here.input(0))]
        if plan.nodes[node.name].kind is Kind.DYNAMIC:
            got_in = [_dynamic(array) for array in got_in]
        beside = _beside(node, wanted, got, waiting)
        weights, bias = visit(Station(node, wanted_out, got_in, beside))
        waiting.discard(node.name)
        dtype = np.dtype(quantized.type_of(here.output).dtype or "float32")  # float16 where the rest of the file is
        got.put(here, [y.astype(dtype, copy=False) for y in run_layer(node, got_in, weights, bias, threads)])
        wanted.done(node)


def _beside(node: Node, wanted: _Run, got: _Run, waiting: set[str]) -> list[Array] | None:
    """What the other side of an addition behind a layer lacks; None where there is none, or it comes later."""
    readers = wanted.graph.consumers_of(node.output)
    if len(readers) != 1 or readers[0].op != "Add" or node.output in wanted.graph.outputs:
        return None
    add, here = readers[0], got.graph.by_name.get(readers[0].name)
    side = 1 - add.inputs.index(node.output)
    names = (add.input(side), here.input(side) if here is not None else "")
    if here is None or not all(run.within_reach(n, waiting) for run, n in zip((wanted, got), names, strict=True)):
        return None
    pairs = list(zip(wanted.values(names[0]), got.values(names[1]), wanted.values(node.output), strict=True))
    if any(not w.shape == g.shape == y.shape for w, g, y in pairs):
        return None
    return [(w - g).astype(np.float32, copy=False) for w, g, _ in pairs]


def _dynamic(array: Array) -> Array:
    """What DynamicQuantizeLinear makes of an activation."""
    return fake_quantize(array, params_for_range(DYNAMIC, float(array.min()), float(array.max())))


def run_layer(node: Node, inputs: Sequence[Array], weights: Array, bias: Array | None, threads: int = 1) -> list[Array]:
    """Outputs of one layer with the given constants."""
    names = ("x", "w", "b") if bias is not None else ("x", "w")
    constants = {"w": weight(weights)} | ({"b": weight(bias)} if bias is not None else {})
    graph = Graph(
        (node.with_(inputs=names, outputs=("y",)),),
        ("x",),
        ("y",),
        constants,
        _types("x", "y"),
        {"": 21},
        ir_version=10,
    )
    with opened(graph, Options(threads=threads)) as session:
        return [session.run({"x": array})["y"] for array in inputs]


class _Run:
    """One graph on its way through the samples: values are computed when they are asked for and dropped when nobody needs them."""

    def __init__(self, graph: Graph, feeds: Sequence[Feed], threads: int) -> None:
        self.graph, self._threads = graph, threads
        self._known: dict[str, list[Array]] = {name: [feed[name] for feed in feeds] for name in graph.feeds}
        self._left = {name: {n.name for n in users} for name, users in graph.consumers.items()}
        self._executed: set[str] = set()

    def values(self, name: str) -> list[Array]:
        """A value for every sample."""
        if name not in self._known:
            self._compute(name)
        return self._known[name]

    def within_reach(self, name: str, waiting: set[str]) -> bool:
        """Whether a value can be computed before some nodes have run."""
        if name in self.graph.weights:
            return False
        return name in self._known or not any(node.name in waiting for node in self._needed(name))

    def put(self, node: Node, outputs: list[Array]) -> None:
        """Provide the first output of a node from outside."""
        self._known[node.output] = outputs
        self.done(node)

    def done(self, node: Node) -> None:
        """Mark a node as executed, and drop what nobody needs any more."""
        if node.name in self._executed:
            return
        self._executed.add(node.name)
        for name in node.reads:
            users = self._left.get(name, set())
            users.discard(node.name)
            if not users:
                self._known.pop(name, None)

    def _compute(self, name: str) -> None:
        nodes = self._needed(name)
        inside = {out for node in nodes for out in node.outputs}
        sources = tuple(dict.fromkeys(r for n in nodes for r in n.reads if r in self._known and r not in inside))
        used = {n.name for n in nodes}
        wanted = tuple(
            out for n in nodes for out in n.outputs if out and (out == name or self._left.get(out, set()) - used)
        )
        piece = self._piece(nodes, sources, wanted)
        with opened(piece, Options(optimize=False, threads=self._threads)) as session:
            rows = [
                session.run({s: self._known[s][i] for s in sources})
                for i in range(len(next(iter(self._known.values()))))
            ]
        for out in wanted:
            self._known[out] = [row[out] for row in rows]
        for node in nodes:
            self.done(node)

    def _needed(self, name: str) -> list[Node]:
        """Nodes that must still run for a value, in graph order."""
        wanted: set[str] = set()
        frontier = [name]
        while frontier:
            node = self.graph.producer.get(frontier.pop())
            if node is not None and node.name not in wanted and not all(o in self._known for o in node.outputs if o):
                wanted.add(node.name)
                frontier.extend(r for r in node.reads if r not in self._known)
        return [node for node in self.graph.nodes if node.name in wanted]

    def _piece(self, nodes: list[Node], sources: tuple[str, ...], wanted: tuple[str, ...]) -> Graph:
        graph = self.graph
        read = {r for node in nodes for r in node.reads}
        weights = {name: w for name, w in graph.weights.items() if name in read}
        types = {name: graph.type_of(name) for name in (*sources, *wanted)}
        missing = {name: _type_like(self._known[name][0]) for name in sources}
        return Graph(
            tuple(nodes),
            sources,
            wanted,
            weights,
            {**types, **missing},
            graph.opsets,
            ir_version=max(graph.ir_version, 10),
        )


def _types(*names: str) -> dict[str, TensorType]:
    return {name: TensorType("float32") for name in names}


def _type_like(array: Array) -> TensorType:
    return TensorType(str(array.dtype), (None,) * array.ndim)


def stacked_mean(arrays: Sequence[Array], axis: int) -> tuple[Array, Array, int]:
    """Mean [C] and standard error [C] over samples of the per-sample channel means, and the number of samples."""
    means = np.stack(
        [np.moveaxis(a, axis, -1).reshape(-1, a.shape[axis]).mean(axis=0, dtype=np.float64) for a in arrays]
    )
    count = len(arrays)
    error = means.std(axis=0, ddof=1) / np.sqrt(count) if count > 1 else np.zeros(means.shape[1])
    return means.mean(axis=0), error, count


def gains(wanted: Sequence[Array], got: Sequence[Array], axis: int) -> Array:
    """Factors [C] on the channels of `got` that bring it closest to `wanted`, both around their means (least squares).

    Each is pulled towards 1 as far as it may be chance: delta * max(0, 1 - error² / delta²), the error over samples.
    """
    x, y = ([np.moveaxis(a, axis, -1).reshape(-1, a.shape[axis]).astype(np.float64) for a in s] for s in (got, wanted))
    rows = sum(len(part) for part in x)
    mean_x, mean_y = (np.asarray(sum(part.sum(axis=0) for part in s)) / rows for s in (x, y))
    power = np.stack([np.square(part - mean_x).sum(axis=0) for part in x])
    along = np.stack([((p - mean_x) * (q - mean_y)).sum(axis=0) for p, q in zip(x, y, strict=True)])
    sure = power.sum(axis=0) > 0
    total = np.where(sure, power.sum(axis=0), 1.0)
    change = np.where(sure, along.sum(axis=0) / total - 1, 0.0)
    error = np.square(along - (1 + change) * power).sum(axis=0) / np.square(total)
    certain = np.maximum(0.0, 1 - error / np.maximum(np.square(change), 1e-300))
    return np.asarray(1 + np.clip(change * certain, *_CHANGES))


_CHANGES = (-0.3, 0.5)
