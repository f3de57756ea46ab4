"""Where a draft loses accuracy: every tensor that is rounded and every constant, and what could be put in their place."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from ...calibrate import QuantParams, activation_params, fake_quantize
from ...graph import Array, Graph, Node
from ...ops import spec
from ...plan import Kind, Plan
from ...plan.limits import Call, first_broken
from ...plan.work import arrives_as_integers, reads
from ...recipe.types import Calibration
from ...targets import Target
from ..draft import Draft


@dataclass(frozen=True, eq=False)
class ErrorSource:
    """One source of error.

    Attributes:
        kind: "tensor" (an activation with static ranges), "weight" (the constants of a node), "range" (a tensor under another
            range method), "dynamic" (the input of a node under ranges measured at run time).
        name: of the tensor, or of the node.
        method: of "range".
        readers: of tensors, the nodes that see the rounded values; None for all of them.
        params: of "tensor" and "range".
        change: of "weight", by input index what rounding adds to the constant.
    """

    kind: str
    name: str
    method: str = ""
    readers: frozenset[str] | None = None
    params: QuantParams | None = None
    change: Mapping[int, Array] = field(default_factory=dict)

    @property
    def key(self) -> tuple[str, str, str]:
        """What tells sources apart."""
        return (self.kind, self.name, self.method)


def sources(draft: Draft, target: Target) -> tuple[ErrorSource, ...]:
    """Every source of error of a draft."""
    base = draft.reference
    return (*_tensors(draft), *_weights(draft, base), *_dynamic(draft.plan, base, target))


def _tensors(draft: Draft) -> Iterator[ErrorSource]:
    known = set(draft.reference.values())
    for name in draft.plan.tensors:
        if name in known:
            yield ErrorSource("tensor", name, "", seen_by(draft.reference, draft.plan, name), draft.activations[name])


def alternatives(
    draft: Draft, tensors: Iterable[str], settings: Calibration, methods: Iterable[str]
) -> tuple[ErrorSource, ...]:
    """Some tensors under other range methods, where those give other parameters."""
    others = {method: activation_params(draft.plan, draft.sketches, settings.measured(method)) for method in methods}
    return tuple(
        ErrorSource("range", name, method, seen_by(draft.reference, draft.plan, name), found[name])
        for name in tensors
        for method, found in others.items()
        if not _equal(found[name], draft.activations[name])
    )


def under(draft: Draft, tensor: str, method: str, settings: Calibration) -> Draft:
    """The draft with the ranges of another method for a tensor and those that share its scale."""
    found = activation_params(draft.plan, draft.sketches, settings.measured(method))
    group = draft.plan.tensors[tensor].group
    changed = {name: found[name] for name, chosen in draft.plan.tensors.items() if chosen.group == group}
    return draft.with_(activations={**draft.activations, **changed})


def _equal(a: QuantParams, b: QuantParams) -> bool:
    return bool(np.array_equal(a.scale, b.scale) and np.array_equal(a.zero_point, b.zero_point))


def seen_by(graph: Graph, plan: Plan, name: str) -> frozenset[str] | None:
    """Nodes that see the rounded form of a tensor: all (None) if it is written as integers, else those that read integers."""
    if arrives_as_integers(graph, name, plan.nodes):
        return None
    return frozenset(n.name for n in graph.consumers_of(name) if reads(plan.nodes[n.name], n, name))


def _weights(draft: Draft, base: Graph) -> Iterator[ErrorSource]:
    changes: dict[str, dict[int, Array]] = {}
    for (name, index), params in draft.weights.items():
        node, before = draft.graph.by_name.get(name), base.by_name.get(name)
        if node is None or before is None:
            continue
        old = base.constant(before.input(index))
        new = draft.graph.constant(node.input(index))
        if old is not None and new is not None and old.shape == new.shape:
            changes.setdefault(name, {})[index] = (fake_quantize(new, params) - old).astype(np.float32)
    for name, change in changes.items():
        yield ErrorSource("weight", name, change=change)


def _dynamic(plan: Plan, base: Graph, target: Target) -> Iterator[ErrorSource]:
    for node in base.nodes:
        chosen, row = plan.nodes.get(node.name), spec(node)
        if row is None or not row.weighted:
            continue  # the error of an input goes through products linearly, but not through an LSTM
        if chosen is not None and (chosen.kind is Kind.DYNAMIC or may_be_dynamic(node, base, plan, target)):
            yield ErrorSource("dynamic", node.name)


def may_be_dynamic(node: Node, graph: Graph, plan: Plan, target: Target) -> bool:
    """Whether an integer node has a kernel that measures its range at run time."""
    if plan.nodes[node.name].kind is not Kind.INTEGER:
        return False
    call = Call(node, graph, plan.shapes)
    return any(first_broken(kernel.limits, call) is None for kernel in target.kernels.measuring(node.key))
