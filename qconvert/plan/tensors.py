"""Which tensors and constants are quantized, in which format, and which of them share their parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import reduce

from ..errors import fail
from ..graph import Graph, Node
from ..lift import Span
from ..ops import CLAMPS, Role, Tie, clamp_bounds, inputs_with, spec, weight_axis, weight_gates
from ..recipe.types import Change
from ..targets import Target
from ..targets.formats import Format
from .candidates import weight_only
from .compress import Wish, stored_inputs, stored_plan
from .model import Kind, NodePlan, TensorPlan, WeightPlan
from .patterns import useful_interval
from .saturation import can_saturate
from .work import NO_RULE, Work, arrives_as_integers


def quantized_tensors(graph: Graph, nodes: Mapping[str, NodePlan]) -> tuple[str, ...]:
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


def tensor_plans(
    work: Work, nodes: Mapping[str, NodePlan], quantized: tuple[str, ...]
) -> tuple[dict[str, TensorPlan], dict[int, tuple[str, ...]]]:
    """Plans of the quantized activations, and for each scale group the tensors that decide its range."""
    ties = _ties(work, nodes, set(quantized))
    leaders = {name: _find(ties, name) for name in quantized}
    numbers = {leader: n for n, leader in enumerate(dict.fromkeys(leaders.values()))}
    members: dict[int, list[str]] = {}
    for name in quantized:
        members.setdefault(numbers[leaders[name]], []).append(name)
    formats = {group: _format(work, names) for group, names in members.items()}
    _check_wide(work, nodes, leaders, numbers, formats)
    fixed = {group: _fixed(work, names, formats[group]) for group, names in members.items()}
    given = {group: _given(work, nodes, names) for group, names in members.items()}
    tensors = {
        name: TensorPlan(
            formats[numbers[leaders[name]]],
            numbers[leaders[name]],
            _bounds(work, name),
            _method(work, name),
            fixed[numbers[leaders[name]]],
            given[numbers[leaders[name]]],
        )
        for name in quantized
    }
    certain = {group for group in members if given[group] and work.recipe.calibration.given == "keep"}
    return tensors, {
        group: () if fixed[group] or group in certain else tuple(_roots(work, nodes, names))
        for group, names in members.items()
    }


def _given(work: Work, nodes: Mapping[str, NodePlan], names: list[str]) -> Span | None:
    """The interval of a group that is known without data: of what decides its range, or else of any member."""
    if work.recipe.calibration.given == "ignore":
        return None
    roots = [work.spans.get(name) for name in _roots(work, nodes, names)]
    known = [span for span in roots if span is not None]
    if len(known) < len(roots):
        known = [work.spans[name] for name in names if name in work.spans][:1]
    return reduce(Span.joined, known) if known else None


def _check_wide(
    work: Work,
    nodes: Mapping[str, NodePlan],
    leaders: Mapping[str, str],
    numbers: Mapping[str, int],
    formats: Mapping[int, Format],
) -> None:
    for node in work.graph.nodes:
        names = (
            [n for n in node.outputs if n in leaders and _inner(work, n) is None]
            if node.op in work.target.kernels.without_wide and nodes[node.name].kind is Kind.INTEGER
            else []
        )
        if any(formats[numbers[leaders[n]]].bits > 8 for n in names):
            raise fail(
                "R009",
                f"{work.target.title} has no 16-bit kernel for {node.op}",
                node.name,
                "leave 8 bits here by a rule behind the one that asks for 16",
            )


def _fixed(work: Work, names: list[str], format_: Format) -> tuple[float, int] | None:
    """Parameters that the kernel behind one of the tensors dictates."""
    writers = {producer.op for name in names if (producer := work.graph.producer.get(name)) is not None}
    return next(
        ((f.scale, f.zero_point) for f in work.target.formats.fixed if f.op in writers and f.bits == format_.bits), None
    )


def _ties(work: Work, nodes: Mapping[str, NodePlan], quantized: set[str]) -> dict[str, str]:
    """Union-find forest over the quantized tensors: operators that only move values join input and output."""
    parent = {name: name for name in quantized}
    for node in work.graph.nodes:
        row = spec(node)
        if nodes[node.name].kind is not Kind.INTEGER or row is None:
            continue
        joined: list[str] = []
        if work.keeps_scale(node):
            joined = [node.input(0), *node.outputs]
        elif node.op == "Concat" and work.target.placement.join_concat:
            joined = [*node.outputs, *(name for name in node.inputs if _only_for(work, nodes, name))]
        names = [name for name in joined if name in parent]
        for other in names[1:]:
            parent[_find(parent, other)] = _find(parent, names[0])
    return parent


def _only_for(work: Work, nodes: Mapping[str, NodePlan], name: str) -> bool:
    """Whether a value is read once, and its kernel can write it in any scale."""
    producer = work.graph.producer.get(name)
    if producer is None or work.graph.sole_consumer(name) is None or work.keeps_scale(producer):
        return False
    dictated = {f.op for f in work.target.formats.fixed}
    return nodes[producer.name].kind in (Kind.INTEGER, Kind.ABSORBED) and producer.op not in dictated


def _find(parent: Mapping[str, str], name: str) -> str:
    while parent[name] != name:
        name = parent[name]
    return name


def _roots(work: Work, nodes: Mapping[str, NodePlan], names: list[str]) -> list[str]:
    """Tensors whose values all others of the group repeat: those not written by a value-moving integer node of the group."""
    group = set(names)

    def moved(name: str) -> bool:
        producer = work.graph.producer.get(name)
        return (
            producer is not None
            and work.keeps_scale(producer)
            and nodes[producer.name].kind is Kind.INTEGER
            and producer.input(0) in group
        )

    return [name for name in names if not moved(name)] or names[:1]


def _rule_for(work: Work, name: str) -> tuple[Change, Change]:
    producer = work.graph.producer.get(name)
    return work.tensor_rules.get(name, NO_RULE), work.node_rules.get(
        producer.name, NO_RULE
    ) if producer is not None else NO_RULE


def _inner(work: Work, name: str) -> Format | None:
    """The format of a value that only its kernel reads."""
    producer = work.graph.producer.get(name)
    if producer is None:
        return None
    place = producer.outputs.index(name)
    return next((f.format for f in work.target.formats.inner if (f.op, f.output) == (producer.op, place)), None)


def _format(work: Work, names: list[str]) -> Format:
    inner = _inner(work, names[0])
    if inner is not None:
        return inner
    rules = [rule for name in names for rule in _rule_for(work, name)]
    bits = next((r.bits for r in rules if r.bits is not None), 8)
    symmetric = next((r.symmetric for r in rules if r.symmetric is not None), None)
    base = work.target.formats.activation
    if bits == 16:
        if work.target.formats.wide_activation is None:
            raise fail(
                "R009", f"{work.target.title} has no 16-bit activations", names[0], "use `keep: float` for this region"
            )
        base = work.target.formats.wide_activation
    chosen = base if symmetric is None else replace(base, symmetric=symmetric or base.symmetric)
    return replace(chosen, least_scale=_least_scale(work, names))


def _least_scale(work: Work, names: list[str]) -> float:
    """The smallest scale that the kernels behind the tensors compute with."""
    limits = {row.op: row.scale for row in work.target.formats.least}
    writers = [node for name in names if (node := work.graph.producer.get(name)) is not None and node.op in limits]
    return max((limits[node.op] / _axis_size(work, node) for node in writers), default=0.0)


def _axis_size(work: Work, node: Node) -> int:
    """Size of the axis along which the node works; 1 where it is unknown, which is the worst."""
    shape = work.shapes.get(node.output)
    return max(shape[int(node.attr("axis", -1))], 1) if shape else 1


def _method(work: Work, name: str) -> str:
    if _inner(work, name) is not None:
        return "min-max"
    return next((r.method for r in _rule_for(work, name) if r.method is not None), "")


def _bounds(work: Work, name: str) -> tuple[float, float] | None:
    """Interval of the values that matter: what the producer can write, cut to what the readers notice."""
    found = [
        interval
        for interval in (_written_interval(work, name), useful_interval(work.graph, name))
        if interval is not None
    ]
    return (max(low for low, _ in found), min(high for _, high in found)) if found else None


def _written_interval(work: Work, name: str) -> tuple[float, float] | None:
    producer = work.graph.producer.get(name)
    row = spec(producer) if producer is not None else None
    if producer is None or row is None:
        return None
    return clamp_bounds(producer, work.graph) if row.tie is Tie.CLAMP else row.fixed


def weight_plans(
    work: Work, nodes: Mapping[str, NodePlan], tensors: Mapping[str, TensorPlan]
) -> dict[tuple[str, int], WeightPlan]:
    """Plans of the constants that nodes read in few bits."""
    found: dict[tuple[str, int], WeightPlan] = {}
    for node in work.graph.nodes:
        chosen = nodes[node.name]
        if chosen.kind in (Kind.INTEGER, Kind.DYNAMIC):
            for i in inputs_with(node, Role.WEIGHT):
                if node.input(i) in work.graph.weights:
                    plan = _weight_plan(work, node, i)
                    found[node.name, i] = plan if chosen.kind is Kind.INTEGER else replace(plan, gates=0)
                    _check_small(work, node, plan, _operand_format(work, node, nodes, tensors))
        if chosen.kind is Kind.INTEGER and chosen.writes:
            for i in inputs_with(node, Role.DATA):
                if node.input(i) in work.graph.weights:
                    found[node.name, i] = WeightPlan(_operand_format(work, node, nodes, tensors))
        candidate = work.found[node.name]
        if chosen.kind in (Kind.LOOKUP, Kind.WEIGHT_ONLY) and candidate.form is not None:
            rule = work.node_rules.get(node.name, NO_RULE)
            wish = Wish.of(rule, work.recipe, work.target) if weight_only(work.recipe, rule) else Wish(symmetric=True)
            for i in stored_inputs(node, work.graph):
                found[node.name, i] = stored_plan(node, i, work.graph, candidate.form, candidate.block, wish)
    return found


def _check_small(work: Work, node: Node, weight: WeightPlan, result: Format) -> None:
    if work.target.kernels.with_small and weight.format.bits == 4 and result.bits > 8:
        raise fail(
            "R009",
            f"{work.target.title} has no kernel for {node.op} with 4-bit weights and 16-bit activations",
            node.name,
            "remove one of `weight_bits` and `bits`",
        )


def _operand_format(work: Work, node: Node, nodes: Mapping[str, NodePlan], tensors: Mapping[str, TensorPlan]) -> Format:
    """Format of a constant operand: that of the result where kernels do not mix widths."""
    written = next((tensors[name].format for name in _written(work.graph, node, nodes) if name in tensors), None)
    return written if work.target.placement.whole and written is not None else work.target.formats.activation


_SMALL = 4  # bits of weights in integer kernels, where these are not 8


def refuse_width(target: Target, bits: int, where: str) -> None:
    """Refuse widths of weights that no kernel of the target multiplies, whatever the layer.

    Raises:
        QConvertError: R009 with the nearest choice.
    """
    small = (_SMALL,) if target.formats.small_weight is not None else ()
    if bits in (8, *small):
        return
    kind = "FP8" if target.formats.weight.floating else "integer"
    near = min((8, *small), key=lambda width: (abs(width - bits), -width))
    stored = [
        mode
        for mode, tables in (("weight-only", False), ("codebook", True))
        if any(bits in form.bits and ("" not in form.levels) is tables for form in target.weight_forms)
    ]
    other = f", or `mode: {stored[0]}`, which takes {bits} bits" if stored else ""
    text = f"{target.title} has no {kind} kernels for {bits}-bit weights"
    raise fail("R009", text, where, f"set the bits to {near}{other}")


def _weight_plan(work: Work, node: Node, index: int) -> WeightPlan:
    rule = work.node_rules.get(node.name, NO_RULE)
    rank = len(work.graph.weights[node.input(index)].shape)
    by_default = work.target.formats.per_channel and node.op not in work.target.formats.per_tensor
    per_channel = rule.granularity == "per-channel" if rule.granularity else by_default
    axis = weight_axis(node, rank) if per_channel else None
    format_ = work.target.formats.weight
    if work.recipe.reduce_range and can_saturate(node, work.graph.weights[node.input(index)].numpy(), axis):
        format_ = replace(format_, bits=7)
    if rule.weight_bits == _SMALL and work.target.formats.small_weight is not None:
        if work.target.kernels.with_small and node.op not in work.target.kernels.with_small:
            raise fail(
                "R009",
                f"{work.target.title} has no kernel for {node.op} with 4-bit weights",
                node.name,
                f"match {', '.join(work.target.kernels.with_small)} only",
            )
        if per_channel and node.op in work.target.formats.per_tensor:
            raise fail(
                "R009",
                f"{work.target.title} has no kernel for {node.op} with 4-bit weights and a scale a channel",
                node.name,
                "remove one of `weight_bits` and `granularity`",
            )
        format_ = work.target.formats.small_weight
    return WeightPlan(format_, axis, gates=weight_gates(node))


def anchored(work: Work, nodes: Mapping[str, NodePlan], tensors: Mapping[str, TensorPlan]) -> frozenset[str]:
    """Float weighted nodes that the runtime would quantize at load, because both their input and output are quantized."""
    if not work.target.placement.float_anchor:
        return frozenset()
    found = set()
    for node in work.graph.nodes:
        row = spec(node)
        if (
            row is None
            or not row.weighted
            or nodes[node.name].kind is not Kind.FLOAT
            or node.input(1) not in work.graph.weights
        ):
            continue
        integer_in = node.input(0) in tensors and arrives_as_integers(work.graph, node.input(0), nodes)
        out = _after_clamp(work.graph, node)
        if integer_in and out in tensors:
            found.add(node.name)
    return frozenset(found)


def _after_clamp(graph: Graph, node: Node) -> str:
    """The node's output, behind a Relu or Clip that the runtime would fuse into it."""
    user = graph.sole_consumer(node.output)
    return user.output if user is not None and user.op in CLAMPS else node.output
