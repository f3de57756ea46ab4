"""Branches of very different range that meet in a Concat or an addition, and the layers that read the result.

One scale for all of them leaves the smaller branch few codes. As the layer behind is linear, it can read the branches one by
one, each in a scale of its own, and add the results: W [a; b] = Wa a + Wb b for a Concat, at no more work, and
W (a + b) = W a + W b for an addition, at the price of the layer once more. Every split is kept only if it measures better.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from pydantic import Field

from ..calibrate import QuantParams, activation_params, weight_params
from ..data.settings import Settings
from ..graph import Array, Edit, Graph, Node, TensorType
from ..plan import Exceptions, Kind, Plan
from ..recipe.types import Change
from .draft import Draft, Lab
from .mixed import added_kept, missing_sketches
from .reconstruct import corrected


class Branches(Settings):
    """Settings of `branches`."""

    ratio: Annotated[float, Field(gt=1)] = Field(
        default=8.0, description="only where the range of one branch is this many times that of another"
    )
    gain: Annotated[float, Field(gt=0)] = Field(default=0.3, description="dB that each split must gain")
    price: Annotated[float, Field(ge=0)] = Field(
        default=0.01, description="share of the predicted time that each dB may cost"
    )
    most: Annotated[int, Field(ge=1)] = Field(
        default=6, description="most layers that are tried, the most uneven first"
    )


@dataclass(frozen=True)
class Split:
    """A layer that reads branches.

    Attributes:
        node: the layer; join: the Concat or Add before it.
        parts: groups of the join's inputs that are read together, the largest range first.
        ratio: of the ranges.
    """

    node: Node
    join: Node
    parts: tuple[tuple[int, ...], tuple[int, ...]]
    ratio: float


def split_branches(draft: Draft, lab: Lab, settings: Branches) -> Draft:
    """The draft with layers split that read branches of very different range, as far as each split gains."""
    best, score = draft, None
    for found in splits(draft, settings.ratio)[: settings.most]:
        score = lab.score(best, corrected) if score is None else score
        candidate = _with_split(best, lab, found)
        if candidate is None:
            continue
        after = lab.score(candidate, corrected)
        if after >= score + settings.gain and _affordable(candidate.plan, best.plan, settings.price * (after - score)):
            best, score = candidate, after
    return best


_FASTER = 1.05  # than FP32 by prediction, if it was before


def _affordable(plan: Plan, before: Plan, slower: float) -> bool:
    new, old = plan.prediction, before.prediction
    if new.ns is None or old.ns is None:
        return True
    slow = (old.speedup or 0.0) >= _FASTER > (new.speedup or 0.0)
    return not slow and new.ns <= old.ns * (1 + slower)


# --- where ---------------------------------------------------------------------------------------------------------------


def splits(draft: Draft, ratio: float) -> list[Split]:
    """Integer layers behind uneven branches, the most uneven first."""
    found = [s for node in draft.reference.nodes if (s := _split_of(draft, node)) is not None and s.ratio >= ratio]
    return sorted(found, key=lambda s: (-s.ratio, s.node.name))


def _split_of(draft: Draft, node: Node) -> Split | None:
    graph = draft.reference
    join = graph.producer.get(node.input(0)) if node.inputs else None
    if join is None or not _linear(graph, node) or draft.plan.nodes[node.name].kind is not Kind.INTEGER:
        return None
    if join.op == "Concat":
        rank = len(draft.plan.shapes.get(join.output, ()))
        fits = rank > 1 and int(join.attr("axis", 0)) % rank == (1 if node.op == "Conv" else rank - 1)
    else:
        fits = join.op == "Add" and len({draft.plan.shapes.get(name) for name in (*join.inputs, join.output)}) == 1
    known = [draft.activations.get(name) for name in join.inputs]
    if not fits or draft.plan.nodes[join.name].kind is not Kind.INTEGER or any(p is None for p in known):
        return None
    ranges = np.array([_reach(p) for p in known if p is not None])
    order = np.argsort(-ranges, kind="stable")
    steps = ranges[order][:-1] / np.maximum(ranges[order][1:], 1e-30)
    cut = int(np.argmax(steps)) + 1
    large, small = tuple(sorted(order[:cut].tolist())), tuple(sorted(order[cut:].tolist()))
    return Split(node, join, (large, small), float(steps[cut - 1]))


def _reach(params: QuantParams) -> float:
    return max(float(np.max(params.high)), -float(np.min(params.low)))


def _linear(graph: Graph, node: Node) -> bool:
    if node.op not in ("Conv", "Gemm", "MatMul") or node.input(1) not in graph.weights or node.domain:
        return False
    plain = node.attr("alpha", 1.0) == 1.0 and not node.attr("transA", 0)
    return int(node.attr("group", 1)) == 1 and plain and graph.constant(node.input(1)) is not None


# --- the split -----------------------------------------------------------------------------------------------------------


def _with_split(draft: Draft, lab: Lab, found: Split) -> Draft | None:
    """A draft of the split graph, its weights rounded to nearest; None where the plan has no integers for it."""
    graph, names = split_graph(draft.reference, draft.plan, found)
    kept = added_kept(draft, lab)
    forced = {name: Change(keep="integer") for name in names}
    plan = lab.replan(Exceptions(kept, forced), graph)
    if any(plan.nodes[name].kind is not Kind.INTEGER for name in names) or plan.opset > lab.graph.opset:
        return None
    started = draft.with_(graph=graph, reference=graph)
    sketches = {**draft.sketches, **missing_sketches(started, lab, plan)}
    activations = activation_params(plan, sketches, lab.calibration.measured())
    return replace(
        started,
        plan=plan,
        sketches=sketches,
        activations=activations,
        weights=weight_params(graph, plan, activations, lab.calibration),
    )


def split_graph(graph: Graph, plan: Plan, found: Split) -> tuple[Graph, tuple[str, ...]]:
    """The graph with the layer read branch by branch, and the names of the new layers and their sum."""
    edit, node = Edit(graph), found.node
    offsets = np.cumsum([0, *(plan.shapes[name][_axis(node, plan)] for name in found.join.inputs)])
    weights = graph.weights[node.input(1)].numpy()
    nodes: list[Node] = []
    for number, part in enumerate(found.parts):
        whole = found.join.op == "Add"
        rows = np.concatenate([np.arange(offsets[i], offsets[i + 1]) for i in part])
        mine = weights if whole else np.take(weights, rows, _inner(node))
        nodes.append(_layer(edit, graph, found, number, mine))
        edit.add(*_source(edit, graph, plan, found, part, nodes[-1].input(0)))
    name = edit.fresh_node(f"{node.name}/sum")
    edit.replace(node, *nodes, Node("Add", tuple(n.output for n in nodes), node.outputs, name=name))
    return edit.graph(), (*(n.name for n in nodes), name)


def _layer(edit: Edit, graph: Graph, found: Split, number: int, weights: Array) -> Node:
    """The layer for one part; the first keeps the bias and the name."""
    node = found.node
    part = found.parts[number]
    source = found.join.inputs[part[0]] if len(part) == 1 else edit.fresh(f"{found.join.output}/part{number}")
    inputs = [
        source,
        edit.add_weight(f"{node.input(1)}/part{number}", weights),
        *(node.inputs[2:] if not number else ()),
    ]
    output = edit.fresh(f"{node.output}/part{number}")
    edit.set_type(output, graph.type_of(node.output))
    name = node.name if not number else edit.fresh_node(f"{node.name}/part{number}")
    return node.with_(inputs=tuple(inputs), outputs=(output,), name=name)


def _source(edit: Edit, graph: Graph, plan: Plan, found: Split, part: Sequence[int], name: str) -> Iterator[Node]:
    """The branches of a part joined, where there are several."""
    if len(part) == 1:
        return
    inputs = tuple(found.join.inputs[i] for i in part)
    shape = list(graph.type_of(found.join.output).shape or plan.shapes[found.join.output])
    if found.join.op == "Concat":
        axis = _axis(found.node, plan)
        shape[axis] = sum(plan.shapes[i][axis] for i in inputs)
    edit.set_type(name, TensorType("float32", tuple(shape)))
    yield found.join.with_(inputs=inputs, outputs=(name,), name=edit.fresh_node(f"{found.join.name}/part"))


def _axis(node: Node, plan: Plan) -> int:
    """Axis of the activation over which the layer sums."""
    return 1 if node.op == "Conv" else len(plan.shapes[node.input(0)]) - 1


def _inner(node: Node) -> int:
    """Axis of the weight over which the layer sums."""
    return 1 if node.op == "Conv" or (node.op == "Gemm" and node.attr("transB", 0)) else 0
