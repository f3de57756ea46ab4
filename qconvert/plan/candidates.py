"""What every node could become on a target, before profit is weighed: a kernel, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from ..graph import Graph, Node
from ..ops import Role, Shapes, Tie, clamp_bounds, inputs_with, spec
from ..recipe.types import HALVES, Change, Recipe
from ..targets.kernels import Kernel, WeightForm
from ..targets.model import Target
from .compress import LOOKUP_BYTES, Wish, chosen_form, is_table, stored_inputs
from .limits import Call, first_broken
from .model import Kind, Reason
from .patterns import has_attention, masks

_UNCHANGED = Change()


@dataclass(frozen=True, slots=True)
class Candidate:
    """What a node may become.

    Attributes:
        kind: INTEGER, DYNAMIC, LOOKUP, WEIGHT_ONLY or ABSORBED where possible, else FLOAT.
        forced: a rule asks for integers, profit or not.
        host: for ABSORBED, the node that takes the clamp in.
        form, block: for LOOKUP and WEIGHT_ONLY, how the weight is stored.
    """

    kind: Kind
    reason: Reason | None = None
    kernel: Kernel | None = None
    forced: bool = False
    host: str = ""
    form: WeightForm | None = None
    block: int = 0


def candidates(
    graph: Graph,
    target: Target,
    recipe: Recipe,
    rules: Mapping[str, Change],
    shapes: Shapes,
    kept: Mapping[str, Reason],
) -> dict[str, Candidate]:
    """Candidate of every node by name; `kept` are float for a reason that is already known."""
    free = recipe.mode == "auto" and recipe.calibration.scales == "any"  # scales that are measured are no powers of two
    dynamic = recipe.mode == "dynamic" or (free and _gains_dynamic(graph, target))
    masked = masks(graph)
    found: dict[str, Candidate] = {}
    for node in graph.nodes:
        rule = rules.get(node.name, _UNCHANGED)
        if weight_only(recipe, rule):
            found[node.name] = _stored(Call(node, graph, shapes), target, recipe, rule, kept)
            continue
        reason = kept.get(node.name) or _barred(node, graph, target, rule, masked) or _no_integers(recipe, rule)
        if reason is not None:
            found[node.name] = Candidate(Kind.FLOAT, reason)
            continue
        host = _host(node, graph, target, found)
        if host:
            found[node.name] = Candidate(Kind.ABSORBED, host=host)
            continue
        found[node.name] = _candidate(Call(node, graph, shapes), target, rule, dynamic, free)
    return found


def weight_only(recipe: Recipe, rule: Change) -> bool:
    """Whether a node keeps its float arithmetic and only its weights are stored in few bits."""
    return (rule.mode or recipe.mode) in ("weight-only", "codebook")


def _stored(call: Call, target: Target, recipe: Recipe, rule: Change, kept: Mapping[str, Reason]) -> Candidate:
    node, graph = call.node, call.graph
    reason = kept.get(node.name)
    if rule.keep == "float":
        reason = Reason("P004", "a rule keeps it float")
    elif not reason and not stored_inputs(node, graph):
        reason = Reason("P012", f"{node.op} has no constant weight that is worth storing in fewer bits")
    if reason is not None:
        return Candidate(Kind.FLOAT, reason)
    chosen = chosen_form(call, target, recipe.format, Wish.of(rule, recipe, target))
    if isinstance(chosen, Reason):
        return Candidate(Kind.FLOAT, chosen)
    form, block = chosen
    picks_rows = (
        is_table(node, graph) and len(form.ops) == 1
    )  # a form of its own, not one that rebuilds any weight as a whole
    return Candidate(Kind.LOOKUP if picks_rows else Kind.WEIGHT_ONLY, form=form, block=block)


def _no_integers(recipe: Recipe, rule: Change) -> Reason | None:
    """The reason of nodes in a model without integers, for those that no rule makes integer."""
    if recipe.mode not in HALVES or rule.mode is not None or rule.keep == "integer":
        return None
    return Reason("P004", f"`mode: {recipe.mode}` asks for no integers")


def _gains_dynamic(graph: Graph, target: Target) -> bool:
    return target.placement.attention == "dynamic" and has_attention(graph)


def _barred(node: Node, graph: Graph, target: Target, rule: Change, masked: frozenset[str]) -> Reason | None:
    """Why the node cannot be integer, whatever its kernels."""
    if node.bodies:
        return Reason("P006", f"{node.op} has a body whose ranges change from run to run")
    if not any(_is_float(graph, name) for name in (*node.inputs, *node.outputs) if name):
        return Reason("P005", f"{node.op} works on {_types(node, graph)}, only floats are quantized")
    if spec(node) is None:
        laid_out = node.domain == "com.microsoft.nchwc"
        text = ", which onnxruntime's optimizer made for one machine: give the model from before it" if laid_out else ""
        return Reason("P001", f"no integer kernel for {node.key}{text}")
    other = next((t.dtype for o in node.outputs if (t := graph.type_of(o)).dtype not in ("float32", None)), None)
    if other is not None and not (node.op in _INDICES and target.placement.whole):
        return Reason("P005", f"{node.op} writes {other}, only float32 is quantized")
    if rule.keep == "float":
        return Reason("P004", "a rule keeps it float")
    mask = next((name for name in (*node.inputs, *node.outputs) if name in masked), None)
    if mask is not None:
        return Reason("P007", f"`{mask}` carries an additive attention mask, which would stretch the range")
    return None


_INDICES = ("ArgMax", "ArgMin")  # they read values and write places


def _types(node: Node, graph: Graph) -> str:
    return " and ".join(dict.fromkeys(str(graph.type_of(name).dtype) for name in (*node.inputs, *node.outputs) if name))


def _is_float(graph: Graph, name: str) -> bool:
    return graph.type_of(name).dtype in ("float32", "float16", "bfloat16", "float64", None)


def _candidate(call: Call, target: Target, rule: Change, dynamic: bool, free: bool) -> Candidate:
    """What a node may become; `free` leaves the mode of operators without static kernels to the target."""
    node, forced = call.node, rule.keep == "integer"
    wants_dynamic = dynamic if rule.mode is None else rule.mode == "dynamic"
    wants_dynamic = wants_dynamic or (rule.mode is None and free and not target.kernels.of(node.key))
    measured = (
        [first_broken(kernel.limits, call) for kernel in target.kernels.measuring(node.key)] if wants_dynamic else []
    )
    if None in measured:
        return Candidate(Kind.DYNAMIC, forced=forced)
    if _is_lookup(call):
        chosen = chosen_form(call, target, "qdq", Wish())
        if not isinstance(chosen, Reason):
            return Candidate(Kind.LOOKUP, form=chosen[0])
    kernels = target.kernels.of(node.key)
    if not kernels:
        return Candidate(Kind.FLOAT, next(iter(measured), None) or _no_kernel(call, target, wants_dynamic))
    fed = any(name not in call.graph.weights for name in node.inputs if name)  # a table may be looked up
    if not fed or not (
        target.placement.whole or any(node.input(i) not in call.graph.weights for i in inputs_with(node, Role.DATA))
    ):
        return Candidate(Kind.FLOAT, Reason("P005", "all of its inputs are constants"))
    if not call.out:
        return Candidate(Kind.FLOAT, _shapeless(call))
    if not prod(call.out):
        return Candidate(Kind.FLOAT, Reason("P002", "its result has no elements"))
    reasons = [first_broken(kernel.limits, call) for kernel in kernels]
    kernel = next((k for k, r in zip(kernels, reasons, strict=True) if r is None), None)
    if kernel is None:
        return Candidate(Kind.FLOAT, reasons[0])
    if target.formats.bias == "int32" and not _has_constant_bias(call):
        return Candidate(Kind.FLOAT, Reason("P002", "its bias is no constant row, the kernel adds one int32 a channel"))
    return Candidate(Kind.INTEGER, kernel=kernel, forced=forced)


def _no_kernel(call: Call, target: Target, dynamic: bool) -> Reason:
    """Why an operator without a static kernel is float, and what else makes its weights small."""
    node = call.node
    if not stored_inputs(node, call.graph):
        text = (
            f"{node.key} has no integer kernel of its own on this target: it is fused into a neighbour or runs in float"
        )
        return Reason("P001", text)
    measured = bool(target.kernels.measuring(node.key)) and not dynamic
    other = ["`mode: dynamic` has one"] if measured else []
    if any(node.key in form.ops for form in target.weight_forms):
        other.append("`mode: weight-only` stores its weights in few bits")
    kernel = "kernel with fixed ranges" if measured else "integer kernel"
    return Reason("P001", "; ".join([f"{target.title} has no {kernel} for {node.key}", *other]))


def _shapeless(call: Call) -> Reason:
    if call.node.output in call.shapes:
        return Reason("P002", "its result is a single number without axes")
    return Reason("P009", "the shape of its output is unknown")


def _has_constant_bias(call: Call) -> bool:
    """Whether the bias, if there is one, is constant and the same for every row of the result."""
    biases = inputs_with(call.node, Role.BIAS)
    shapes = [call.shape(i) for i in biases]
    return all(call.node.input(i) in call.graph.weights for i in biases) and all(prod(s[:-1]) == 1 for s in shapes)


def _is_lookup(call: Call) -> bool:
    """A float table that only this Gather reads, row by row."""
    node, graph = call.node, call.graph
    return (
        is_table(node, graph)
        and 4 * prod(call.shape(0)) >= LOOKUP_BYTES
        and graph.sole_consumer(node.input(0)) is not None
    )


def _host(node: Node, graph: Graph, target: Target, found: Mapping[str, Candidate]) -> str:
    """The node into whose quantized output a clamp vanishes, "" if it does not.

    Exact because the integers saturate at the ends of their range, and the range is cut to the clamp's bounds.
    """
    if node.op not in target.kernels.absorbed:
        return ""
    producer = graph.producer.get(node.input(0))
    bounds = clamp_bounds(node, graph)
    if producer is None or bounds is None or not bounds[0] <= 0 <= bounds[1]:
        return ""
    row, candidate = spec(producer), found.get(producer.name)
    if (
        row is None
        or candidate is None
        or candidate.kind is not Kind.INTEGER
        or row.tie is not Tie.FREE
        or producer.op in target.kernels.same_scale
    ):
        return ""
    if candidate.kernel is None or candidate.kernel.output == "raw":
        return ""  # nothing that could saturate
    return producer.name if graph.sole_consumer(node.input(0)) is node else ""
