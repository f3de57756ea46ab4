"""Makes the plan: candidates, placement by profit, scale groups, and the tensors that calibration must watch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import prod

from ..errors import fail
from ..graph import Graph, Node
from ..ops import Role, Shapes, Tie, clamp_bounds, inputs_with, macs, spec, weight_axis
from ..recipe.types import Change, Recipe
from ..targets.model import Format, Target
from .candidates import Candidate, candidates
from .cost import Estimate, estimate
from .limits import Call
from .model import Kind, NodePlan, Plan, Prediction, Reason, TensorPlan, WeightPlan
from .patterns import residual_skip
from .placement import Unit, Wire, integer_units

_NO_RULE = Change()
_ZERO = Estimate(0.0, 0.0, None)


@dataclass(frozen=True, eq=False)
class _Work:
    """What every step of the planning reads."""

    graph: Graph
    target: Target
    recipe: Recipe
    node_rules: Mapping[str, Change]
    tensor_rules: Mapping[str, Change]
    shapes: Shapes
    found: Mapping[str, Candidate]
    estimates: Mapping[str, Estimate]

    def host_of(self, node: Node) -> str:
        """Name of the unit that the node belongs to in the cut: itself, or the host of an absorbed clamp."""
        return self.found[node.name].host or node.name


def plan(
    graph: Graph,
    target: Target,
    recipe: Recipe,
    shapes: Shapes,
    node_rules: Mapping[str, Change] | None = None,
    tensor_rules: Mapping[str, Change] | None = None,
) -> Plan:
    """Decide for every node and tensor of a canonical graph.

    Args:
        shapes: a concrete shape for every tensor, for limits and costs (see `runtime.shapes`).
        node_rules, tensor_rules: merged settings of the recipe's rules by node and tensor name.

    Raises:
        QConvertError: R009 where a rule asks for what the target cannot do.
    """
    node_rules, tensor_rules = node_rules or {}, tensor_rules or {}
    found = candidates(graph, target, recipe, node_rules, shapes)
    _check_forced(found, node_rules)
    estimates = _estimates(graph, target, shapes)
    work = _Work(graph, target, recipe, node_rules, tensor_rules, shapes, found, estimates)
    integer = _placement(work)
    nodes = _skip_branches(work, _node_plans(work, integer))
    quantized = _quantized(graph, nodes)
    tensors, group_taps = _tensors(work, nodes, quantized)
    weights = _weights(work, nodes)
    anchors = _anchors(work, nodes, tensors)
    return Plan(
        target=target.name,
        nodes=nodes,
        tensors=tensors,
        weights=weights,
        taps=tuple(sorted({t for taps in group_taps.values() for t in taps}, key=_order(graph).__getitem__)),
        prediction=_predict(work, nodes, weights, anchors),
        shapes=shapes,
        group_taps=group_taps,
        anchors=anchors,
        bias=target.bias,
        opset=21 if anchors or any(t.format.bits > 8 for t in tensors.values()) else 13,
    )


def _check_forced(found: Mapping[str, Candidate], rules: Mapping[str, Change]) -> None:
    for name, rule in rules.items():
        candidate = found.get(name)
        if rule.keep == "integer" and candidate is not None and candidate.kind is Kind.FLOAT:
            raise fail("R009", f"a rule asks for integers, but {candidate.reason}", name, "remove `keep: integer` for this node")


def _estimates(graph: Graph, target: Target, shapes: Shapes) -> dict[str, Estimate]:
    if target.cost is None:
        return {node.name: _ZERO for node in graph.nodes}
    return {node.name: estimate(Call(node, graph, shapes), target.cost) for node in graph.nodes}


# --- placement ---------------------------------------------------------------------------------------------------------


def _placement(work: _Work) -> frozenset[str]:
    """Names of the nodes that run in integers with static ranges."""
    possible = [n for n in work.graph.nodes if work.found[n.name].kind is Kind.INTEGER]
    if work.target.cost is None or work.recipe.placement == "everywhere":
        return frozenset(n.name for n in possible)
    total = sum(e.float_ns for e in work.estimates.values())
    units = [_unit(work, node, work.target.cost.min_gain * total) for node in work.graph.nodes if _in_cut(work, node)]
    return integer_units(units, _wires(work))


def _in_cut(work: _Work, node: Node) -> bool:
    reason = work.found[node.name].reason
    return work.found[node.name].kind is not Kind.ABSORBED and not (reason and reason.code == "P005")


def _unit(work: _Work, node: Node, price: float) -> Unit:
    candidate, cost = work.found[node.name], work.estimates[node.name]
    row = spec(node)
    weighted = row is not None and row.weighted
    integer_ns = cost.integer_ns
    may = candidate.kind is Kind.INTEGER and integer_ns is not None
    float_ns = cost.float_ns + sum(
        work.estimates[n.name].float_ns for n in work.graph.consumers_of(node.output) if work.found[n.name].host == node.name
    )
    if candidate.kind is Kind.DYNAMIC and cost.dynamic_ns is not None:
        float_ns = min(float_ns, cost.dynamic_ns)
    writes = candidate.kernel is not None and candidate.kernel.output == "integer"
    return Unit(node.name, float_ns, (integer_ns or 0.0) + price * weighted, may, candidate.forced, writes)


def _wires(work: _Work) -> Iterable[Wire]:
    model = work.target.cost
    if model is None:
        return
    for name in work.graph.values():
        producer = work.graph.producer.get(name)
        readers = [n for n in work.graph.consumers_of(name) if not _is_absorbed_in(work, n, producer)]
        if not readers and name not in work.graph.outputs:
            continue
        if name not in work.shapes or work.graph.type_of(name).dtype not in ("float32", None):
            continue
        elements = prod(work.shapes[name])
        relayout = model.relayout * elements * (len(work.shapes[name]) == 4)
        yield Wire(
            work.host_of(producer) if producer is not None else "",
            tuple(dict.fromkeys(n.name for n in readers)),
            name in work.graph.outputs,
            model.quantize * elements + relayout,
            model.dequantize * elements + relayout,
        )


def _is_absorbed_in(work: _Work, node: Node, producer: Node | None) -> bool:
    return producer is not None and work.found[node.name].host == producer.name


# --- nodes -------------------------------------------------------------------------------------------------------------


def _node_plans(work: _Work, integer: frozenset[str]) -> dict[str, NodePlan]:
    plans: dict[str, NodePlan] = {}
    for node in work.graph.nodes:
        candidate = work.found[node.name]
        host = candidate.host
        if candidate.kind is Kind.ABSORBED:
            absorbed = host in integer
            plans[node.name] = _absorbed(work, node, host) if absorbed else _float(work, node, Reason("P001", f"{node.op} behind a float node"))
        elif node.name in integer:
            plans[node.name] = _integer(work, node)
        elif candidate.kind in (Kind.DYNAMIC, Kind.LOOKUP):
            plans[node.name] = _float_side(work, node, candidate)
        else:
            plans[node.name] = _float(work, node, candidate.reason or _unprofitable(work, node))
    return _with_writes(work, plans, integer)


def _integer(work: _Work, node: Node) -> NodePlan:
    roles = (Role.DATA, Role.WEIGHT)
    reads = tuple(i for role in roles for i in inputs_with(node, role) if node.input(i) not in work.graph.weights)
    cost = work.estimates[node.name]
    return NodePlan(Kind.INTEGER, None, reads, False, "", macs(node, work.graph, work.shapes), cost.float_ns, cost.integer_ns or cost.float_ns)


def _float_side(work: _Work, node: Node, candidate: Candidate) -> NodePlan:
    cost, work_macs = work.estimates[node.name], macs(node, work.graph, work.shapes)
    if candidate.kind is Kind.LOOKUP:
        return NodePlan(Kind.LOOKUP, float_ns=cost.float_ns, integer_ns=cost.float_ns)
    dynamic_ns = cost.dynamic_ns if cost.dynamic_ns is not None else cost.float_ns
    if work.target.cost is None or candidate.forced or work.recipe.placement == "everywhere" or dynamic_ns < cost.float_ns:
        return NodePlan(Kind.DYNAMIC, None, macs=work_macs, float_ns=cost.float_ns, integer_ns=dynamic_ns)
    return _float(work, node, _unprofitable(work, node, dynamic_ns))


def _absorbed(work: _Work, node: Node, host: str) -> NodePlan:
    return NodePlan(Kind.ABSORBED, None, host=host, float_ns=work.estimates[node.name].float_ns)


def _float(work: _Work, node: Node, reason: Reason) -> NodePlan:
    ns = work.estimates[node.name].float_ns
    return NodePlan(Kind.FLOAT, reason, macs=macs(node, work.graph, work.shapes), float_ns=ns, integer_ns=ns)


def _unprofitable(work: _Work, node: Node, integer_ns: float | None = None) -> Reason:
    cost = work.estimates[node.name]
    other = integer_ns if integer_ns is not None else cost.integer_ns
    if other is None:
        return Reason("P001", f"no integer kernel for {node.op}")
    return Reason("P003", f"predicted {cost.float_ns / 1000:.1f} us in float, {other / 1000:.1f} us in integers, conversions not counted")


def _with_writes(work: _Work, plans: dict[str, NodePlan], integer: frozenset[str]) -> dict[str, NodePlan]:
    """Decide for each integer node whether its output is written as integers."""
    done = dict(plans)
    for node in work.graph.nodes:
        kernel = work.found[node.name].kernel
        if node.name not in integer or kernel is None:
            continue
        readers = [n for n in work.graph.consumers_of(node.output)]
        absorbs = any(done[n.name].kind is Kind.ABSORBED for n in readers)
        wanted = any(_reads(done[n.name], n, node.output) for n in readers)
        writes = kernel.output == "integer" or (kernel.output == "free" and (absorbs or wanted))
        done[node.name] = replace(done[node.name], writes=writes)
    return done


def _reads(plan: NodePlan, node: Node, name: str) -> bool:
    return any(node.input(i) == name for i in plan.reads)


def _skip_branches(work: _Work, plans: dict[str, NodePlan]) -> dict[str, NodePlan]:
    """Residual additions of targets that fuse Conv and Add: the skip input is read as integers, the conv side stays raw."""
    if not work.target.residual_skip:
        return plans
    done = dict(plans)
    weighted = frozenset(name for name, p in plans.items() if p.kind is Kind.INTEGER)
    for node in work.graph.nodes:
        rule = work.node_rules.get(node.name, _NO_RULE)
        skip = residual_skip(work.graph, node, weighted) if rule.keep != "float" else None
        if skip is not None:
            done[node.name] = NodePlan(Kind.INTEGER, None, (skip,))
    return done


# --- tensors -----------------------------------------------------------------------------------------------------------


def _quantized(graph: Graph, nodes: Mapping[str, NodePlan]) -> tuple[str, ...]:
    """Activations that are quantized, in graph order."""
    wanted: set[str] = set()
    for node in graph.nodes:
        chosen = nodes[node.name]
        wanted.update(node.input(i) for i in chosen.reads)
        if chosen.writes:
            wanted.update(_written(graph, node, nodes))
    return tuple(name for name in graph.values() if name in wanted)


def _written(graph: Graph, node: Node, nodes: Mapping[str, NodePlan]) -> tuple[str, ...]:
    """What an integer node writes: its outputs, or the output of the clamp that it absorbs."""
    clamp = next((n for n in graph.consumers_of(node.output) if nodes[n.name].host == node.name), None)
    return clamp.outputs if clamp is not None else tuple(o for o in node.outputs if o)


def _tensors(work: _Work, nodes: Mapping[str, NodePlan], quantized: tuple[str, ...]) -> tuple[dict[str, TensorPlan], dict[int, tuple[str, ...]]]:
    ties = _ties(work, nodes, set(quantized))
    leaders = {name: _find(ties, name) for name in quantized}
    numbers = {leader: n for n, leader in enumerate(dict.fromkeys(leaders.values()))}
    members: dict[int, list[str]] = {}
    for name in quantized:
        members.setdefault(numbers[leaders[name]], []).append(name)
    formats = {group: _format(work, names) for group, names in members.items()}
    tensors = {
        name: TensorPlan(formats[numbers[leaders[name]]], numbers[leaders[name]], _bounds(work, name), _method(work, name)) for name in quantized
    }
    return tensors, {group: tuple(_roots(work, nodes, names)) for group, names in members.items()}


def _ties(work: _Work, nodes: Mapping[str, NodePlan], quantized: set[str]) -> dict[str, str]:
    """Union-find forest over the quantized tensors: operators that only move values join input and output."""
    parent = {name: name for name in quantized}
    for node in work.graph.nodes:
        row = spec(node)
        if nodes[node.name].kind is not Kind.INTEGER or row is None:
            continue
        joined: list[str] = []
        if row.tie is Tie.SAME:
            joined = [node.input(0), *node.outputs]
        elif node.op == "Concat" and work.target.tie_concat:
            joined = [*node.inputs, *node.outputs]
        names = [name for name in joined if name in parent]
        for other in names[1:]:
            parent[_find(parent, other)] = _find(parent, names[0])
    return parent


def _find(parent: Mapping[str, str], name: str) -> str:
    while parent[name] != name:
        name = parent[name]
    return name


def _roots(work: _Work, nodes: Mapping[str, NodePlan], names: list[str]) -> list[str]:
    """Tensors whose values all others of the group repeat: those not written by a value-moving integer node of the group."""
    group = set(names)

    def moved(name: str) -> bool:
        producer = work.graph.producer.get(name)
        row = spec(producer) if producer is not None else None
        return producer is not None and row is not None and row.tie is Tie.SAME and nodes[producer.name].kind is Kind.INTEGER and producer.input(0) in group

    return [name for name in names if not moved(name)] or names[:1]


def _rule_for(work: _Work, name: str) -> tuple[Change, Change]:
    producer = work.graph.producer.get(name)
    return work.tensor_rules.get(name, _NO_RULE), work.node_rules.get(producer.name, _NO_RULE) if producer is not None else _NO_RULE


def _format(work: _Work, names: list[str]) -> Format:
    rules = [rule for name in names for rule in _rule_for(work, name)]
    bits = next((r.bits for r in rules if r.bits is not None), 8)
    symmetric = next((r.symmetric for r in rules if r.symmetric is not None), None)
    base = work.target.activation
    if bits == 16:
        if work.target.wide is None:
            raise fail("R009", f"{work.target.title} has no 16-bit activations", names[0], "use `keep: float` for this region")
        base = work.target.wide
    return base if symmetric is None else replace(base, symmetric=symmetric or base.symmetric)


def _method(work: _Work, name: str) -> str:
    return next((r.method for r in _rule_for(work, name) if r.method is not None), "")


def _bounds(work: _Work, name: str) -> tuple[float, float] | None:
    producer = work.graph.producer.get(name)
    if producer is None:
        return None
    row = spec(producer)
    if row is not None and row.tie is Tie.CLAMP:
        return clamp_bounds(producer, work.graph)
    return row.fixed if row is not None else None


# --- weights -----------------------------------------------------------------------------------------------------------


def _weights(work: _Work, nodes: Mapping[str, NodePlan]) -> dict[tuple[str, int], WeightPlan]:
    found: dict[tuple[str, int], WeightPlan] = {}
    for node in work.graph.nodes:
        chosen = nodes[node.name]
        if chosen.kind in (Kind.INTEGER, Kind.DYNAMIC):
            for i in inputs_with(node, Role.WEIGHT):
                if node.input(i) in work.graph.weights:
                    found[node.name, i] = _weight_plan(work, node, i)
        if chosen.kind is Kind.INTEGER and chosen.writes:
            for i in inputs_with(node, Role.DATA):
                if node.input(i) in work.graph.weights:
                    found[node.name, i] = WeightPlan(work.target.activation)
        if chosen.kind is Kind.LOOKUP:
            found[node.name, 0] = WeightPlan(work.target.weight, 0)
    return found


def _weight_plan(work: _Work, node: Node, index: int) -> WeightPlan:
    rule = work.node_rules.get(node.name, _NO_RULE)
    rank = len(work.graph.weights[node.input(index)].shape)
    per_channel = rule.granularity == "per-channel" if rule.granularity else work.target.per_channel
    format_ = replace(work.target.weight, bits=7) if work.recipe.reduce_range else work.target.weight
    return WeightPlan(format_, weight_axis(node, rank) if per_channel else None)


def _anchors(work: _Work, nodes: Mapping[str, NodePlan], tensors: Mapping[str, TensorPlan]) -> frozenset[str]:
    """Float weighted nodes that the runtime would quantize at load, because both their input and output are quantized."""
    if not work.target.float_anchor:
        return frozenset()
    found = set()
    for node in work.graph.nodes:
        row = spec(node)
        if row is None or not row.weighted or nodes[node.name].kind is not Kind.FLOAT or node.input(1) not in work.graph.weights:
            continue
        producer = work.graph.producer.get(node.input(0))
        integer_in = node.input(0) in tensors and producer is not None and _written_by_integer(work, producer, nodes)
        out = _after_clamp(work.graph, node)
        if integer_in and out in tensors:
            found.add(node.name)
    return frozenset(found)


def _written_by_integer(work: _Work, producer: Node, nodes: Mapping[str, NodePlan]) -> bool:
    chosen = nodes[producer.name]
    return chosen.kind is Kind.ABSORBED or chosen.writes


def _after_clamp(graph: Graph, node: Node) -> str:
    """The node's output, behind a Relu or Clip that the runtime would fuse into it."""
    user = graph.sole_consumer(node.output)
    return user.output if user is not None and user.op in ("Relu", "Clip") else node.output


# --- prediction --------------------------------------------------------------------------------------------------------


def _predict(work: _Work, nodes: Mapping[str, NodePlan], weights: Mapping[tuple[str, int], WeightPlan], anchors: frozenset[str]) -> Prediction:
    graph = work.graph
    integer = sum(p.macs for p in nodes.values() if p.kind in (Kind.INTEGER, Kind.DYNAMIC))
    timed = work.target.cost is not None
    return Prediction(
        float_bytes=sum(int(w.nbytes) for w in graph.weights.values()),
        bytes=_bytes(graph, weights, anchors),
        macs=sum(p.macs for p in nodes.values()),
        integer_macs=integer,
        float_ns=sum(p.float_ns for p in nodes.values()) if timed else None,
        ns=sum(p.integer_ns for p in nodes.values()) + _conversions(work, nodes) if timed else None,
    )


def _bytes(graph: Graph, weights: Mapping[tuple[str, int], WeightPlan], anchors: frozenset[str]) -> int:
    total = 0
    for name, tensor in graph.weights.items():
        uses = [(node, i) for node in graph.consumers_of(name) for i, used in enumerate(node.inputs) if used == name]
        plans = {weights[node.name, i] for node, i in uses if (node.name, i) in weights}
        small = sum(int(tensor.size) + 4 * (int(tensor.shape[p.axis]) if p.axis is not None else 1) for p in plans)  # type: ignore[arg-type]
        floats = any((node.name, i) not in weights and node.name not in anchors for node, i in uses)
        anchored = any(node.name in anchors and i == 1 for node, i in uses)
        total += small + int(tensor.nbytes) * floats + 2 * int(tensor.size) * anchored
    return total


def _conversions(work: _Work, nodes: Mapping[str, NodePlan]) -> float:
    """Predicted ns of all quantizations and dequantizations between regions."""
    model, graph = work.target.cost, work.graph
    if model is None:
        return 0.0
    total = 0.0
    for name in graph.values():
        if name not in work.shapes:
            continue
        elements = prod(work.shapes[name])
        extra = model.relayout * (len(work.shapes[name]) == 4)
        producer = graph.producer.get(name)
        readers = [n for n in graph.consumers_of(name)]
        integer_readers = sum(_reads(nodes[n.name], n, name) for n in readers)
        written = producer is not None and _written_by_integer(work, producer, nodes)
        absorbed = any(nodes[n.name].kind is Kind.ABSORBED for n in readers)
        if not written and integer_readers:
            total += elements * (model.quantize + extra)
        elif written and not absorbed and (len(readers) > integer_readers or name in graph.outputs):
            total += elements * (model.dequantize + extra)
    return total


def _order(graph: Graph) -> dict[str, int]:
    return {name: n for n, name in enumerate(graph.values())}
