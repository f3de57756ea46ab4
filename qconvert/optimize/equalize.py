"""Equalization: channels of very different range are scaled alike before one scale a tensor is put on them.

Dividing a channel of an activation by s and multiplying the weights that read it by s changes nothing in FP32, but moves
difficulty between activations (one scale a tensor) and weights. Cross-layer equalization (Nagel et al. 2019) and SmoothQuant
(Xiao et al. 2022) are the same move with different s; here both are candidates, beside none at all, for every group of
tensors that must be scaled together, and the error measured at the group's own layers decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Annotated

import numpy as np
from pydantic import Field

from ..calibrate import Sketch, Sketcher, activation_params, collect, weight_params
from ..data import Sample
from ..data.settings import Settings
from ..evaluate import Comparison
from ..graph import Array, Edit, Graph, Node
from ..plan import Kind, NodePlan, Plan, Reason
from ..runtime import Options, opened
from .draft import Draft, Lab
from .equalize_choice import Judge, judged, observe
from .equalize_groups import Group, find_groups


class Equalization(Settings):
    """Settings of `equalize`."""

    alphas: Annotated[tuple[Annotated[float, Field(ge=0, le=1)], ...], Field(min_length=1)] = Field(
        default=(0.35, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0),
        description="shares of the difficulty that move from activations to weights; the best is chosen for every group",
    )
    residual: Annotated[float, Field(ge=0)] | None = Field(
        default=500.0,
        description="where a residual branch reads the scaled tensor, multiply it back if the layers do at least this many multiply-accumulates an element; null: never",
    )
    sweeps: Annotated[int, Field(gt=0)] = Field(
        default=1,
        description="rounds over all groups; more help where weights have one scale a tensor, as neighbours then influence each other",
    )


Scales = Mapping[int, Array]  # number of the group to its scale [channels]


def equalize(draft: Draft, lab: Lab, settings: Equalization) -> Draft:
    """Scale every group by what suits it, starting from FP32 weights; the draft itself where nothing gains."""
    graph = draft.reference
    watched = graph.with_(outputs=(*graph.outputs, *lab.probes))
    groups = [g for g in find_groups(watched, draft.plan, settings.residual) if judged(graph, g)]
    if not groups:
        return draft
    scales = _choose(graph, draft.plan, groups, lab, settings)
    return (
        _rescaled(draft, lab, graph, [(groups[n], scale) for n, scale in sorted(scales.items())]) if scales else draft
    )


_WORTH, _WORTH_A_NODE = 0.9, 0.7  # share of the error that may remain, without and with an additional node


def _choose(graph: Graph, plan: Plan, groups: Sequence[Group], lab: Lab, settings: Equalization) -> Scales:
    """The best scale of every group, the last first, so that what a layer writes is in order before it is judged."""
    seen = observe(graph, plan, groups, lab.fit, lab.options.threads)
    scales: dict[int, Array] = {}
    for _ in range(settings.sweeps):
        before = dict(scales)
        for n in reversed(range(len(groups))):
            scales.pop(n, None)
            constant = _Constants(graph, [(groups[m], scale) for m, scale in scales.items()])
            best = _best(Judge(graph, plan, groups[n], seen, constant, lab.calibration), settings)
            scales |= {n: best} if best is not None else {}
        if before.keys() == scales.keys() and all(np.array_equal(before[n], scales[n]) for n in scales):
            break
    return scales


def _best(judge: Judge, settings: Equalization) -> Array | None:
    still = judge.loss(np.ones(judge.group.count))
    found = [(judge.loss(scale), n, scale) for n, scale in enumerate(judge.candidates(settings.alphas))]
    loss, _, scale = min(found, key=lambda f: f[:2])
    worth = _WORTH_A_NODE if judge.group.undone[1] else _WORTH
    return scale if loss < still * worth else None


class _Constants:
    """Constants under the scales chosen so far."""

    def __init__(self, graph: Graph, chosen: Sequence[tuple[Group, Array]]) -> None:
        self._graph = graph
        self.factors: dict[tuple[str, int], list[Array]] = {}
        for group, scale in chosen:
            for stake in group.stakes:
                self.factors.setdefault((stake.node, stake.input), []).append(scale[stake.ids] ** stake.power)

    def __call__(self, node: str, index: int) -> Array:
        array = self._graph.weights[self._graph.by_name[node].input(index)].numpy()
        for factor in self.factors.get((node, index), ()):
            array = (array * factor).astype(array.dtype)
        return array


# --- applying the choice -----------------------------------------------------------------------------------------------


def _rescaled(draft: Draft, lab: Lab, graph: Graph, chosen: Sequence[tuple[Group, Array]]) -> Draft:
    """The draft in the new scaling, with ranges measured again; the draft itself should the function have changed."""
    scaled, plan = scaled_graph(graph, draft.plan, chosen)
    if not _same_function(graph, scaled, lab):
        return draft
    sketches = {**draft.sketches, **_sketches(scaled, plan, chosen, lab)}
    activations = activation_params(plan, sketches, lab.calibration.measured())
    weights = weight_params(scaled, plan, activations, lab.calibration)
    return Draft(scaled, scaled, plan, sketches, activations, weights)


def scaled_graph(graph: Graph, plan: Plan, chosen: Sequence[tuple[Group, Array]]) -> tuple[Graph, Plan]:
    """Scale constants, and multiply members back for readers that could not take part."""
    constants, edit = _Constants(graph, chosen), Edit(graph)
    inputs: dict[str, dict[int, str]] = {}
    for name, index in constants.factors:
        hint = graph.by_name[name].input(index)
        inputs.setdefault(name, {})[index] = edit.add_weight(f"{hint}/scaled", constants(name, index))
    nodes = dict(plan.nodes)
    for group, scale in chosen:
        if group.undone[0]:
            back = _multiplied_back(edit, graph, group, scale)
            nodes[back.name] = NodePlan(
                Kind.FLOAT, Reason("P001", "it undoes the scaling of channels for a float reader")
            )
            for reader in group.undone[1]:
                ports = (i for i, name in enumerate(graph.by_name[reader].inputs) if name == group.undone[0])
                inputs.setdefault(reader, {}).update(dict.fromkeys(ports, back.output))
    for name, changed in inputs.items():
        node = graph.by_name[name]
        edit.replace(node, node.with_(inputs=tuple(changed.get(i, old) for i, old in enumerate(node.inputs))))
    return edit.graph(), replace(plan, nodes=nodes)


def _multiplied_back(edit: Edit, graph: Graph, group: Group, scale: Array) -> Node:
    name = group.undone[0]
    ids = group.members[name]
    factor = edit.add_weight(
        f"{name}/scale",
        scale[ids.reshape(ids.shape[ids.ndim - np.trim_zeros(np.array(ids.shape) > 1, "f").size :])].astype(np.float32),
    )
    result = edit.fresh(f"{name}/unscaled")
    edit.set_type(result, graph.type_of(name))
    node = Node("Mul", (name, factor), (result,), name=edit.fresh_node(f"{name}/unscaled"))
    edit.add(node)
    return node


_SAME_DB = 60.0  # scaling only rounds differently: 100 dB and more in practice


def _same_function(graph: Graph, scaled: Graph, lab: Lab) -> bool:
    """Whether the scaled graph still computes what the original does."""
    options, compared = Options(threads=lab.options.threads), Comparison()
    with opened(graph, options) as before, opened(scaled, options) as after:
        for feed in lab.fit[:2]:
            compared.add(before.run(feed), after.run(feed))
    return compared.result("calibration").sqnr_db >= _SAME_DB


def _sketches(scaled: Graph, plan: Plan, chosen: Sequence[tuple[Group, Array]], lab: Lab) -> dict[str, Sketch]:
    """Statistics of the tensors that changed, from all samples at hand."""
    members = {name for group, _ in chosen for name in group.members}
    observers = {name: (Sketcher(),) for name in plan.taps if name in members}
    if not observers:
        return {}
    feeds = {id(feed): feed for feed in (*lab.fit, *lab.held_out)}
    collect(scaled, [Sample(str(n), feed) for n, feed in enumerate(feeds.values())], observers, lab.options.threads)
    return {name: watching[0].result() for name, watching in observers.items()}
