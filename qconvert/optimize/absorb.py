"""High-bias absorption: what a channel never falls below moves from in front of a Relu into the biases behind it.

Where a channel x of a Relu's input never falls below c > 0, Relu(x) = Relu(x - c) + c, and the next layer takes the constant into
its bias: b' = b + W c, summed over the kernel (Nagel et al. 2019, section 4.1.3, measured instead of read from BatchNormalization).
The range of the Relu's output shrinks. Sound only without zero padding, and on data like the calibration samples.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
from pydantic import Field

from ..calibrate import Sketcher, activation_params, weight_params
from ..data.settings import Settings
from ..graph import Array, Edit, Graph, Node
from ..runtime import Options, opened
from .draft import Draft, Lab
from .fitting import to_matrix


class Absorption(Settings):
    """Settings of `absorb`."""

    sigmas: Annotated[float, Field(ge=0)] = Field(
        default=3.0,
        description="a channel gives up what lies this many standard deviations below its mean, and below all samples",
    )


def absorb(draft: Draft, lab: Lab, settings: Absorption) -> Draft:
    """The draft with constants moved behind Relus, starting from FP32 weights; the draft itself where there are none."""
    graph = draft.reference
    pairs = [(node, relu) for node in graph.nodes if (relu := _movable(graph, node)) is not None]
    floors = _floors(graph, [node.output for node, _ in pairs], lab, settings.sigmas)
    moved = [(node, relu, floors[node.output]) for node, relu in pairs if floors[node.output].any()]
    if not moved:
        return draft
    changed = absorbed(graph, moved)
    sketchers = {relu.output: Sketcher() for _, relu, _ in moved if relu.output in draft.sketches}
    with opened(changed.with_(outputs=tuple(sketchers) or graph.outputs), Options(threads=lab.options.threads)) as run:
        for feed in [*lab.fit, *lab.held_out] if sketchers else []:
            for name, value in run.run(feed).items():
                sketchers[name].add(value)
    sketches = {**draft.sketches, **{name: sketcher.result() for name, sketcher in sketchers.items()}}
    activations = activation_params(draft.plan, sketches, lab.calibration)
    weights = weight_params(changed, draft.plan, activations, lab.calibration)
    return Draft(changed, changed, draft.plan, sketches, activations, weights)


def _movable(graph: Graph, node: Node) -> Node | None:
    """The Relu behind a layer, if all that read it can take a constant in."""
    readers = graph.consumers_of(node.output)
    if node.op not in ("Conv", "Gemm") or node.input(2) not in graph.weights or node.output in graph.outputs:
        return None
    if node.op == "Gemm" and not _plain(node):
        return None
    if len(readers) != 1 or readers[0].op != "Relu" or readers[0].output in graph.outputs:
        return None
    behind = graph.consumers_of(readers[0].output)
    return readers[0] if behind and all(_takes(graph, reader, readers[0].output) for reader in behind) else None


def _takes(graph: Graph, node: Node, name: str) -> bool:
    plain = (node.op == "Gemm" and _plain(node)) or (
        node.op == "Conv" and not any(node.attr("pads", ())) and node.attr("auto_pad", "NOTSET") in ("NOTSET", "VALID")
    )
    constant = node.input(1) in graph.weights and (not node.input(2) or node.input(2) in graph.weights)
    return plain and constant and node.inputs.count(name) == 1 and node.input(0) == name


def _plain(gemm: Node) -> bool:
    """Whether rows are samples and nothing is scaled."""
    return not gemm.attr("transA", 0) and gemm.attr("alpha", 1.0) == 1.0 and gemm.attr("beta", 1.0) == 1.0


def _floors(graph: Graph, names: list[str], lab: Lab, sigmas: float) -> dict[str, Array]:
    """What each channel [C] of the tensors never falls below, 0 at least."""
    if not names:
        return {}
    least: dict[str, Array] = {}
    sums = {name: np.zeros((3, 1)) for name in names}  # count, sum, sum of squares
    with opened(graph.with_(outputs=tuple(names)), Options(threads=lab.options.threads)) as session:
        for feed in lab.fit:
            for name, value in session.run(feed).items():
                x = np.moveaxis(value, 1, -1).reshape(-1, value.shape[1]).astype(np.float64)
                least[name] = np.minimum(least.get(name, np.inf), x.min(axis=0))
                sums[name] = sums[name] + np.stack(
                    [np.full(x.shape[1], len(x)), x.sum(axis=0), np.square(x).sum(axis=0)]
                )
    floors = {}
    for name, (count, total, squares) in sums.items():
        mean = total / count
        spread = np.sqrt(np.maximum(squares / count - np.square(mean), 0))
        floors[name] = np.maximum(np.minimum(mean - sigmas * spread, least[name]), 0)
    return floors


def absorbed(graph: Graph, moved: list[tuple[Node, Node, Array]]) -> Graph:
    """The graph with a constant [C] moved from in front of each Relu into the biases behind it."""
    edit = Edit(graph)
    biases: dict[str, Array] = {}

    def bias(node: Node) -> Array:
        if node.name not in biases:
            constant = graph.constant(node.input(2)) if node.input(2) else None
            biases[node.name] = np.zeros(1) if constant is None else constant.reshape(-1).astype(np.float64)
        return biases[node.name]

    for node, relu, floor in moved:
        biases[node.name] = bias(node) - floor
        for reader in graph.consumers_of(relu.output):
            matrix = to_matrix(reader, graph.weights[reader.input(1)].numpy())  # [G, O/G, K]
            area = matrix.shape[0] * matrix.shape[2] // len(floor)
            constant = np.repeat(floor, area).reshape(matrix.shape[0], matrix.shape[2])
            biases[reader.name] = bias(reader) + np.einsum("gok,gk->go", matrix, constant).reshape(-1)
    for name, value in biases.items():
        node = graph.by_name[name]
        inputs = (*node.inputs[:2], edit.add_weight(f"{name}/absorbed", value.astype(np.float32)))
        edit.replace(node, node.with_(inputs=inputs))
    return edit.graph()
