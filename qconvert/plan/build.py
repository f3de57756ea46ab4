"""Makes the plan: candidates, placement by profit, scale groups, and the tensors that calibration must watch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ..errors import fail
from ..graph import Graph, Node
from ..lift import Span
from ..ops import Role, Shapes, inputs_with, macs
from ..recipe.types import HALVES, Change, Recipe
from ..targets.formats import Format
from ..targets.model import Target
from .candidates import Candidate, candidates, weight_only
from .compress import Wish, refuse_contradiction, refuse_impossible
from .cost import Estimate, estimate
from .half import with_halves
from .limits import Call
from .model import Kind, NodePlan, Plan, Reason, TensorPlan, WeightPlan
from .patterns import residual_skip, tail
from .predict import predict
from .profit import profitable
from .tensors import anchored, quantized_tensors, refuse_width, tensor_plans, weight_plans
from .ties import ties
from .work import NO_RULE, Work, reads

NOTHING: Mapping[str, Reason] = {}
NO_SPANS: Mapping[str, Span] = {}
_BEHIND = Reason(
    "P010", "behind the last integer layer, where few values carry all of the result and rounding costs most"
)
_OF_NODES = {"keep", "mode", "precision", "granularity", "weight_bits", "block", "weight_symmetric", "levels"}
_NORMAL = (-126, 127)  # exponents of float32
_FREE = Estimate(0.0, 0.0, None)


def plan(
    graph: Graph,
    target: Target,
    recipe: Recipe,
    shapes: Shapes,
    node_rules: Mapping[str, Change] | None = None,
    tensor_rules: Mapping[str, Change] | None = None,
    kept: Mapping[str, Reason] = NOTHING,
    spans: Mapping[str, Span] = NO_SPANS,
) -> Plan:
    """Decide for every node and tensor of a canonical graph.

    Args:
        shapes: a concrete shape for every tensor, for limits and costs (see `runtime.shapes`).
        node_rules, tensor_rules: merged settings of the recipe's rules by node and tensor name.
        kept: nodes that must stay float, with the reason.
        spans: intervals that are known without data, by tensor.

    Raises:
        QConvertError: R009 where a rule asks for what the target cannot do.
    """
    tensor_rules = tensor_rules or {}
    node_rules = _with_defaults(graph, recipe, _with_tensor_rules(graph, node_rules or {}, tensor_rules))
    _refuse_impossible(target, recipe, node_rules)
    rules = (node_rules, tensor_rules)
    result = _settled(graph, target, recipe, shapes, rules, kept, spans)
    if recipe.half is not None:
        return with_halves(graph, result, recipe.half, node_rules, kept, alone=recipe.mode == recipe.half)
    speedup = result.prediction.speedup
    if speedup is not None and speedup < 1 and recipe.integer_macs > 0 and recipe.placement == "profit":
        # The wanted share of integers would make the file slower than FP32: then only what gains becomes integer.
        return _settled(graph, target, recipe.model_copy(update={"integer_macs": 0.0}), shapes, rules, kept, spans)
    return result


def _with_defaults(graph: Graph, recipe: Recipe, node_rules: Mapping[str, Change]) -> dict[str, Change]:
    """Rules of every node, with the recipe's `weights` where no rule says otherwise."""
    said = recipe.weights
    default = Change(weight_bits=said.bits, block=said.block, weight_symmetric=said.symmetric, levels=said.levels)
    return {
        node.name: default.model_copy(update=node_rules.get(node.name, NO_RULE).model_dump(exclude_none=True))
        for node in graph.nodes
    }


def _refuse_impossible(target: Target, recipe: Recipe, node_rules: Mapping[str, Change]) -> None:
    """Refuse what the target can do for no layer, whether or not the model has one that would be it."""
    wishes: dict[Wish, str] = {}
    widths: dict[int, str] = {}
    for name, rule in node_rules.items():
        if weight_only(recipe, rule):
            where = "weights" if weight_only(recipe, NO_RULE) else name
            refuse_contradiction(rule, where)
            wishes.setdefault(Wish.of(rule, recipe, target), where)
        elif rule.weight_bits is not None and (recipe.mode not in HALVES or rule.mode):
            widths.setdefault(rule.weight_bits, "weights" if rule.weight_bits == recipe.weights.bits else name)
    for wish, where in wishes.items():
        refuse_impossible(target, recipe.format, wish, where)
    for bits, where in widths.items():
        refuse_width(target, bits, where)


def _with_tensor_rules(
    graph: Graph, node_rules: Mapping[str, Change], tensor_rules: Mapping[str, Change]
) -> dict[str, Change]:
    """Node rules, with what rules for tensors say about nodes: an activation's producer, a weight's readers."""
    found = dict(node_rules)
    for name, change in tensor_rules.items():
        producer = graph.producer.get(name)
        nodes = graph.consumers_of(name) if name in graph.weights else [producer] if producer is not None else []
        said = change.model_dump(include=_OF_NODES, exclude_none=True)
        for node in nodes if said else ():
            found[node.name] = found.get(node.name, NO_RULE).model_copy(update=said)
    return found


def _settled(
    graph: Graph,
    target: Target,
    recipe: Recipe,
    shapes: Shapes,
    rules: tuple[Mapping[str, Change], Mapping[str, Change]],
    kept: Mapping[str, Reason],
    spans: Mapping[str, Span],
) -> Plan:
    """The plan with no lone float layer between integers, unless a rule or the kernels want it."""
    found = candidates(graph, target, recipe, rules[0], shapes, kept)
    _check_forced(found, rules[0])
    work = Work(graph, target, recipe, *rules, shapes, found, _estimates(graph, target, shapes), spans)
    forced: frozenset[str] = frozenset()
    result = _with_float_tail(work, _planned(work, forced))
    while lone := frozenset(n for n in result.anchors - forced if found[n].kind is Kind.INTEGER):
        # A single float layer between integers costs more than the cut can know: its weights are dequantized on every run.
        forced |= lone
        result = _with_float_tail(work, _planned(work, forced), forced)
    return result


def _with_float_tail(work: Work, result: Plan, forced: frozenset[str] = frozenset()) -> Plan:
    """The plan with everything behind the last integer layer left float, where that costs next to no time."""
    model, before = work.target.cost, result.prediction.ns
    if model is None or before is None or work.recipe.placement != "profit":
        return result
    barred = tail(work.graph, result.nodes) - {name for name, c in work.found.items() if c.forced}
    other = _planned(work, forced, barred)
    after = other.prediction.ns
    return other if barred and after is not None and after <= before * (1 + model.tail_price) else result


def _planned(work: Work, forced: frozenset[str], barred: frozenset[str] = frozenset()) -> Plan:
    graph = work.graph
    nodes = _skip_branches(work, _node_plans(work, _placement(work, forced, barred), barred))
    tensors, group_taps = tensor_plans(work, nodes, quantized_tensors(graph, nodes))
    weights = weight_plans(work, nodes, tensors)
    if work.recipe.calibration.scales == "power-of-two":
        tensors = {name: replace(t, format=_shifting(t.format)) for name, t in tensors.items()}
        weights = {key: w if w.levels else replace(w, format=_shifting(w.format)) for key, w in weights.items()}
    anchors = anchored(work, nodes, tensors)
    order = {name: n for n, name in enumerate(graph.values())}
    tied = ties(graph, weights)
    return Plan(
        target=work.target.name,
        nodes=nodes,
        tensors=tensors,
        weights=weights,
        taps=tuple(sorted({t for taps in group_taps.values() for t in taps}, key=order.__getitem__)),
        prediction=predict(work, nodes, weights, anchors, tied),
        shapes=work.shapes,
        group_taps=group_taps,
        anchors=anchors,
        ties=tied,
        bias=work.target.formats.bias,
        opset=_opset(work, tensors, weights, anchors),
    )


def _shifting(format_: Format) -> Format:
    """The format with scales that are normal powers of two."""
    return format_ if format_.exponents is not None else replace(format_, exponents=_NORMAL)


def _opset(
    work: Work,
    tensors: Mapping[str, TensorPlan],
    weights: Mapping[tuple[str, int], WeightPlan],
    anchors: frozenset[str],
) -> int:
    """Smallest opset that knows the formats, save those that stay inside a kernel.

    21 for 16 and 4 bits, 19 for float16 scales, 13 for scales per channel.
    """
    stored = max((w.form.opset for w in weights.values() if w.form is not None), default=13)
    if any(t.format.floating for t in tensors.values()):
        return max(19, stored)
    if (
        anchors
        or any(t.format.bits > 8 and t.format.exponents is None for t in tensors.values())
        or any(w.format.dtype == "int4" for w in weights.values() if w.form is None)
    ):
        return max(21, stored)
    return max(19 if work.recipe.half and (tensors or weights) else 13, stored)


def _check_forced(found: Mapping[str, Candidate], rules: Mapping[str, Change]) -> None:
    for name, rule in rules.items():
        candidate = found.get(name)
        if rule.keep == "integer" and candidate is not None and candidate.kind is Kind.FLOAT:
            raise fail(
                "R009",
                f"a rule asks for integers, but {candidate.reason}",
                name,
                "remove `keep: integer` for this node",
            )


def _estimates(graph: Graph, target: Target, shapes: Shapes) -> dict[str, Estimate]:
    if target.cost is None:
        return {node.name: _FREE for node in graph.nodes}
    return {node.name: estimate(Call(node, graph, shapes), target.cost) for node in graph.nodes}


def _placement(work: Work, forced: frozenset[str], barred: frozenset[str]) -> frozenset[str]:
    """Names of the nodes that run in integers with static ranges."""
    if work.target.cost is not None and work.recipe.placement == "profit":
        return profitable(work, work.target.cost, forced, barred)
    return frozenset(n.name for n in work.graph.nodes if work.found[n.name].kind is Kind.INTEGER)


def _node_plans(work: Work, integer: frozenset[str], barred: frozenset[str]) -> dict[str, NodePlan]:
    plans: dict[str, NodePlan] = {}
    for node in work.graph.nodes:
        candidate = work.found[node.name]
        host = candidate.host
        if candidate.kind is Kind.ABSORBED:
            absorbed = host in integer
            plans[node.name] = (
                _absorbed(work, node, host)
                if absorbed
                else _float(work, node, Reason("P003", f"{node.op} behind a node that stays float"))
            )
        elif node.name in integer:
            plans[node.name] = _integer(work, node)
        elif candidate.kind in (Kind.DYNAMIC, Kind.LOOKUP, Kind.WEIGHT_ONLY):
            plans[node.name] = _float_side(work, node, candidate)
        else:
            behind = _BEHIND if node.name in barred else None
            plans[node.name] = _float(work, node, candidate.reason or behind or _unprofitable(work, node))
    return _with_writes(work, plans, integer)


def _integer(work: Work, node: Node) -> NodePlan:
    roles = (Role.DATA, Role.WEIGHT)
    reads = tuple(i for role in roles for i in inputs_with(node, role) if node.input(i) not in work.graph.weights)
    cost = work.estimates[node.name]
    return NodePlan(
        Kind.INTEGER,
        None,
        reads,
        False,
        "",
        macs(node, work.graph, work.shapes),
        cost.float_ns,
        cost.integer_ns or cost.float_ns,
    )


def _float_side(work: Work, node: Node, candidate: Candidate) -> NodePlan:
    cost, work_macs = work.estimates[node.name], macs(node, work.graph, work.shapes)
    if candidate.kind in (Kind.LOOKUP, Kind.WEIGHT_ONLY):
        return NodePlan(candidate.kind, macs=work_macs, float_ns=cost.float_ns, integer_ns=cost.float_ns)
    dynamic_ns = cost.dynamic_ns if cost.dynamic_ns is not None else cost.float_ns
    if (
        work.target.cost is None
        or candidate.forced
        or work.recipe.placement == "everywhere"
        or dynamic_ns < cost.float_ns
    ):
        return NodePlan(Kind.DYNAMIC, None, macs=work_macs, float_ns=cost.float_ns, integer_ns=dynamic_ns)
    return _float(work, node, _unprofitable(work, node, dynamic_ns))


def _absorbed(work: Work, node: Node, host: str) -> NodePlan:
    return NodePlan(Kind.ABSORBED, None, host=host, float_ns=work.estimates[node.name].float_ns)


def _float(work: Work, node: Node, reason: Reason) -> NodePlan:
    ns = work.estimates[node.name].float_ns
    return NodePlan(Kind.FLOAT, reason, macs=macs(node, work.graph, work.shapes), float_ns=ns, integer_ns=ns)


def _unprofitable(work: Work, node: Node, integer_ns: float | None = None) -> Reason:
    cost = work.estimates[node.name]
    other = integer_ns if integer_ns is not None else cost.integer_ns
    if other is None:
        return Reason("P001", f"no integer kernel for {node.op}")
    return Reason(
        "P003",
        f"predicted {cost.float_ns / 1000:.1f} us in float, {other / 1000:.1f} us in integers, conversions not counted",
    )


def _with_writes(work: Work, plans: dict[str, NodePlan], integer: frozenset[str]) -> dict[str, NodePlan]:
    """Decide for each integer node whether its output is written as integers."""
    done = dict(plans)
    for node in work.graph.nodes:
        kernel = work.found[node.name].kernel
        if node.name not in integer or kernel is None:
            continue
        readers = work.graph.consumers_of(node.output)
        absorbs = any(done[n.name].kind is Kind.ABSORBED for n in readers)
        wanted = any(reads(done[n.name], n, node.output) for n in readers)
        writes = work.writes_alone(node) or (kernel.output == "free" and (absorbs or wanted))
        done[node.name] = replace(done[node.name], writes=writes)
    return done


def _skip_branches(work: Work, plans: dict[str, NodePlan]) -> dict[str, NodePlan]:
    """Residual additions of targets that fuse Conv and Add: the skip input is read as integers, the conv side stays raw."""
    if not work.target.placement.residual_skip:
        return plans
    done = dict(plans)
    weighted = frozenset(name for name, p in plans.items() if p.kind is Kind.INTEGER)
    for node in work.graph.nodes:
        reason = work.found[node.name].reason
        barred = reason is not None and reason.code in ("P004", "P010")
        skip = None if barred else residual_skip(work.graph, node, weighted)
        if skip is not None:
            done[node.name] = NodePlan(Kind.INTEGER, None, (skip,))
    return done
