"""From a model file and a recipe to a plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from ...canonicalize import Canonical, canonicalize
from ...errors import Diagnostic, QConvertError, Severity
from ...graph import Edit, Graph, TensorType, weight
from ...lift import Lifted, Span, spread
from ...plan import Exceptions, Kind, Plan, Reason, around, plan
from ...recipe import Recipe, SourceMap, resolve_rules
from ...recipe.types import HALVES, Change
from ...runtime import Feed, assumed_inputs, concrete_shapes, observe, synthetic_feed
from ...targets import Target
from ...targets.costs import CostModel
from ..events import Stages
from .chosen import target_of
from .effects import unmet_mode
from .given import still_true
from .loaded import Loaded, load_model
from .prices import affordable, merged
from .sizes import from_samples, open_sizes, sizes_of, typical
from .suitable import ASSUMED, fixed_shapes, refuse_float

_WORTH = (
    0.998  # a rewrite must bring this share of the time at most to be worth a graph that looks less like the original
)


@dataclass(frozen=True, eq=False)
class Planned:
    """A model with its plan.

    Attributes:
        lifted: the graph as it was loaded, without the quantization that it may have had; canonical: what the plan speaks of.
        spans: intervals that are known without data, by tensor of the canonical graph.
        sizes: of dimensions that the model leaves open, by name, as far as the recipe or the samples give them.
        kept: nodes that calibration found to need float32, with the reason.
        choices: settings of nodes that the recipe's rules leave open and planning has chosen.
    """

    target: Target
    lifted: Lifted
    canonical: Canonical
    plan: Plan
    spans: Mapping[str, Span]
    sizes: Mapping[str, int] = field(default_factory=dict)
    kept: Mapping[str, Reason] = field(default_factory=dict)
    choices: Mapping[str, Change] = field(default_factory=dict)

    @property
    def original(self) -> Graph:
        """The float graph that was loaded."""
        return self.lifted.graph

    @property
    def graph(self) -> Graph:
        """The canonical graph."""
        return self.canonical.graph


@dataclass(frozen=True, eq=False)
class _Question:
    """What a plan is made for: everything but the graph; `sizes` are those of open dimensions, `feed` is a real sample."""

    target: Target
    recipe: Recipe
    source: SourceMap | None
    sizes: Mapping[str, int]
    feed: Feed | None
    spans: Mapping[str, Span]

    def plan(
        self, graph: Graph, extra: Mapping[str, Change] | None = None, kept: Mapping[str, Reason] | None = None
    ) -> Plan:
        """The plan of one form of the model; `extra` rules fill what the recipe leaves open."""
        rules = resolve_rules(self.recipe.rules, graph, self.source)
        shapes = concrete_shapes(graph, self.sizes, self.feed)
        nodes = merged(rules.nodes, extra or {})
        return plan(graph, self.target, self.recipe, shapes, nodes, rules.tensors, kept or {}, self.spans)


def _fixed(graph: Graph, ask: _Question) -> Graph:
    """The graph with fixed sizes, where the target needs them.

    Raises:
        QConvertError: M010 for an open dimension, behind M014 for operators that would be refused with a size for it too.
    """
    try:
        return fixed_shapes(graph, ask.target, ask.sizes)
    except QConvertError as unnamed:
        supposed = replace(ask, sizes={**dict.fromkeys(sorted(open_sizes(graph)), ASSUMED), **ask.sizes})
        try:
            canonical, chosen = _best_form(fixed_shapes(graph, ask.target, supposed.sizes), supposed)
            refuse_float(ask.target, canonical.graph, chosen)
        except QConvertError as refused:
            told = [found for found in refused.diagnostics if found.code == "M014"]
            missing = [replace(d, message=f"{d.message}; above, {ASSUMED} was assumed") for d in unnamed.diagnostics]
            raise QConvertError((*told, *missing) if told else unnamed.diagnostics) from None
        raise


def make_plan(
    model: Loaded,
    recipe: Recipe,
    stages: Stages,
    source: SourceMap | None = None,
    samples: Sequence[Feed] = (),
    with_data: bool = True,
) -> Planned:
    """Plan a model.

    Args:
        samples: some of those that the model will run on; sizes that neither the model nor the recipe fixes are theirs.
        with_data: ranges may still be measured; otherwise those that come with the model have to do.

    Raises:
        QConvertError: M0xx for the model, R007 and R009 for rules and combinations, D001 where a range is missing that the
            target cannot do without.
    """
    target, lifted = target_of(recipe), model.lifted
    sizes = {**sizes_of(lifted.graph, samples, target.artefact.static_shapes), **recipe.shapes}
    stages.note(*from_samples(sizes, recipe))
    ask = _Question(target, recipe, source, sizes, typical(samples), model.spans)
    with stages.stage("plan"):
        canonical, chosen = _best_form(_fixed(lifted.graph, ask), ask)
        if chosen.opset > canonical.graph.opset:
            raised = canonicalize(canonical.graph, chosen.opset, target.rewrites.always)
            rewrites, notes = (*canonical.applied, *raised.applied), (*canonical.diagnostics, *raised.diagnostics)
            canonical = Canonical(raised.graph, rewrites, notes)
            chosen = ask.plan(canonical.graph)
        if ask.spans:
            ask = replace(ask, spans=still_true(ask.spans, lifted.graph, canonical.graph, sizes))
            chosen = ask.plan(canonical.graph)
        extra: Mapping[str, Change] = {}
        if target.placement.whole:
            refuse_float(target, canonical.graph, chosen)
            extra, notes = affordable(canonical.graph, target, chosen, recipe)
            chosen = ask.plan(canonical.graph, extra) if extra else chosen
            stages.note(*notes)
        if ask.spans and not with_data:
            ask, chosen, notes = _from_spans(ask, canonical.graph, chosen, extra)
            stages.note(*notes)
    stages.note(*canonical.diagnostics, *_faster(canonical.graph, ask, chosen), *unmet_mode(recipe, target, chosen))
    return Planned(target, lifted, canonical, chosen, ask.spans, sizes, choices=extra)


def plan_of(
    model: Path, recipe: Recipe, stages: Stages, source: SourceMap | None = None, folder: Path = Path(".")
) -> Planned:
    """Load a model and plan it, without samples at hand; see `load_model` and `make_plan`."""
    return make_plan(load_model(model, recipe, stages, folder), recipe, stages, source)


def _from_spans(
    ask: _Question, graph: Graph, chosen: Plan, extra: Mapping[str, Change]
) -> tuple[_Question, Plan, tuple[Diagnostic, ...]]:
    """The plan with ranges that are known without data, and nodes left float around the others.

    Raises:
        QConvertError: D001 where the target cannot leave them float.
    """
    calibration = ask.recipe.calibration
    if calibration.given == "ignore":
        return ask, chosen, ()
    final = ask.recipe.model_copy(update={"calibration": calibration.model_copy(update={"given": "keep"})})
    ask = replace(ask, recipe=final, spans=spread(graph, ask.spans))
    kept: dict[str, Reason] = {}
    unknown: dict[str, None] = {}
    chosen = ask.plan(graph, extra)
    while chosen.taps:
        if ask.target.placement.whole:
            raise QConvertError([_unknown(name) for name in chosen.taps])
        unknown.update(dict.fromkeys(chosen.taps))
        groups = {chosen.tensors[name].group for name in chosen.taps}
        names = [name for name, tensor in chosen.tensors.items() if tensor.group in groups]
        before = len(kept)
        kept.update({node: _no_range(name) for name in names for node in around(chosen, graph, name)})
        if len(kept) == before:
            break
        chosen = ask.plan(graph, extra, kept)
    return ask, chosen, tuple(_left_float(name) for name in unknown)


def _no_range(name: str) -> Reason:
    return Reason("P013", f"the range of `{name}` is not known without data")


def _unknown(name: str) -> Diagnostic:
    text = "no data was given, and the model does not say which values this tensor takes"
    return Diagnostic("D001", text, f"tensor `{name}`", "give a folder with `-d`")


def _left_float(name: str) -> Diagnostic:
    text = "its range is not known without data, so the nodes around it stay float"
    return Diagnostic("M104", text, f"tensor `{name}`", "give a folder with `-d`", Severity.NOTE)


_NOTICEABLE = 1.15


def _faster(graph: Graph, ask: _Question, chosen: Plan) -> tuple[Diagnostic, ...]:
    """A note where leaving more layers float would be predicted to be clearly faster."""
    wanted = ask.recipe.integer_macs
    stored = ask.recipe.mode in ("weight-only", "codebook") or chosen.count(Kind.WEIGHT_ONLY)
    without = ask.recipe.mode in HALVES or stored  # nobody asked for integers
    if not wanted or not chosen.prediction.macs or without:
        return ()
    if chosen.prediction.integer_share < wanted / 2:
        share = chosen.prediction.integer_share
        text = (
            f"only {share:.0%} of the multiply-accumulates gain from integers"
            if share
            else "nothing gains from integers: the result is a float model"
        )
        assumed = "set `shapes:` if the assumed sizes are too small, or " * bool(open_sizes(graph) - ask.sizes.keys())
        hint = f"see `qconvert plan`; {assumed or 'set '}`placement: everywhere` for size"
        return (Diagnostic("P101", text, None, hint, Severity.WARNING),)
    if chosen.prediction.speedup is None:
        return ()
    free = replace(ask, recipe=ask.recipe.model_copy(update={"integer_macs": 0.0})).plan(graph)
    speedup, share = free.prediction.speedup or 0.0, free.prediction.integer_share
    if speedup < _NOTICEABLE * chosen.prediction.speedup:
        return ()
    text = f"predicted {speedup:.2f}x FP32 speed with {share:.0%} of the MACs in integers, {chosen.prediction.speedup:.2f}x as planned"
    return (
        Diagnostic("P100", text, None, f"set `integer_macs: {max(share - 0.01, 0):.2f}` in the recipe", Severity.NOTE),
    )


def _best_form(original: Graph, ask: _Question) -> tuple[Canonical, Plan]:
    """Canonicalize, then keep those of the target's rewrites that make the predicted time shorter, one after the other."""
    target = ask.target
    best = canonicalize(original, extra=target.rewrites.always)
    best = Canonical(with_types(best.graph, ask.sizes, ask.feed), best.applied, best.diagnostics)
    chosen = ask.plan(best.graph)
    costs = dict(target.rewrites.priced_by)
    for rewrite in target.rewrites.if_faster:
        form = canonicalize(best.graph, best.graph.opset, (*target.rewrites.always, rewrite))
        if not any(applied.rule == rewrite for applied in form.applied):
            continue
        other = ask.plan(form.graph)
        if _pays(ask, best.graph, form.graph, costs[rewrite]) if rewrite in costs else _shorter(other, chosen):
            best, chosen = Canonical(form.graph, (*best.applied, *form.applied), best.diagnostics), other
    return best, chosen


def _pays(ask: _Question, before: Graph, after: Graph, cost: CostModel) -> bool:
    """Whether a rewrite makes the predicted time shorter under other prices."""
    priced = replace(ask, target=replace(ask.target, cost=cost))
    return _shorter(priced.plan(after), priced.plan(before))


def _shorter(after: Plan, before: Plan) -> bool:
    return _time(after) < _time(before) * _WORTH


def _time(chosen: Plan) -> float:
    return chosen.prediction.ns or 0.0


def replanned(planned: Planned, recipe: Recipe, source: SourceMap | None, exceptions: Exceptions, graph: Graph) -> Plan:
    """The plan again, with what an algorithm changes about it.

    Args:
        graph: the canonical graph, or what an algorithm made of it; rules speak of the canonical one.
    """
    rules = resolve_rules(recipe.rules, planned.graph, source)
    shapes = planned.plan.shapes
    if any(name not in shapes for name in graph.values()):
        shapes = {**concrete_shapes(graph, planned.sizes), **shapes}
    return plan(
        graph,
        planned.target,
        recipe,
        shapes,
        _over(merged(rules.nodes, planned.choices), exceptions.nodes),
        _over(rules.tensors, exceptions.tensors),
        {**planned.kept, **exceptions.kept},
        planned.spans,
    )


def _over(rules: Mapping[str, Change], changes: Mapping[str, Change]) -> dict[str, Change]:
    """Rules with changes that win."""
    said = {name: change.model_dump(exclude_none=True) for name, change in changes.items()}
    return {**rules, **{name: rules.get(name, Change()).model_copy(update=new) for name, new in said.items()}}


def rewritten(planned: Planned, chosen: Plan, graph: Graph) -> Planned:
    """The model with what algorithms have made of its plan, and of its graph where they changed more than constants."""
    if planned.graph.by_name.keys() == graph.by_name.keys():
        return replace(planned, plan=chosen)
    return replace(planned, plan=chosen, canonical=replace(planned.canonical, graph=graph))


def with_types(graph: Graph, sizes: Mapping[str, int], feed: Feed | None = None) -> Graph:
    """Add the element types that inference could not find, from one real run; none where made-up inputs do not suit the model."""
    missing = [name for name in graph.values() if graph.type_of(name).dtype is None and not graph.type_of(name).other]
    if not missing:
        return graph
    try:
        found = observe(graph, missing, feed or synthetic_feed(assumed_inputs(graph, sizes)))
    except QConvertError as error:
        if feed is not None or error.diagnostics[0].code != "M009":
            raise
        return graph
    edit = Edit(graph)
    for name, array in found.items():
        edit.set_type(name, TensorType(weight(array).dtype, graph.type_of(name).shape or (None,) * array.ndim))
    return edit.graph()
