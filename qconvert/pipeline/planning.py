"""From a model file and a recipe to a plan; no data is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from ..canonicalize import Canonical, canonicalize
from ..errors import Diagnostic, Severity, fail
from ..graph import Edit, Graph, load
from ..plan import Kind, Plan, Reason, plan
from ..recipe import Recipe, Source, resolve_rules
from ..recipe.types import Change
from ..runtime import Feed, concrete_shapes
from ..targets import TARGETS, Target
from .events import Stages
from .prices import affordable, merged
from .suitable import fixed_shapes, refuse, refuse_float

_WORTH = (
    0.998  # a rewrite must bring this share of the time at most to be worth a graph that looks less like the original
)


@dataclass(frozen=True, eq=False)
class Planned:
    """A model with its plan.

    Attributes:
        original: the graph as it was loaded; canonical: what the plan speaks of.
    """

    target: Target
    original: Graph
    canonical: Canonical
    plan: Plan

    @property
    def graph(self) -> Graph:
        """The canonical graph."""
        return self.canonical.graph


def make_plan(
    model: Path, recipe: Recipe, stages: Stages, source: Source | None = None, feed: Feed | None = None
) -> Planned:
    """Load a model and plan it.

    Raises:
        QConvertError: M0xx for the model, R007 and R009 for rules and combinations.
    """
    target = target_of(recipe)
    with stages.stage("load"):
        original = load(model)
        refuse(original, model)
    with stages.stage("plan"):
        canonical, chosen = _best_form(fixed_shapes(original, target, recipe), target, recipe, source, feed)
        if chosen.opset > canonical.graph.opset:
            raised = canonicalize(canonical.graph, chosen.opset, target.lowers)
            rewrites, notes = (*canonical.applied, *raised.applied), (*canonical.diagnostics, *raised.diagnostics)
            canonical = Canonical(raised.graph, rewrites, notes)
            chosen = _plan(canonical.graph, target, recipe, source, feed)
        if target.whole:
            refuse_float(target, canonical.graph, chosen)
            extra, notes = affordable(canonical.graph, target, chosen, recipe)
            chosen = _plan(canonical.graph, target, recipe, source, feed, extra) if extra else chosen
            stages.note(*notes)
    stages.note(*canonical.diagnostics, *_faster(canonical.graph, target, recipe, source, chosen))
    return Planned(target, original, canonical, chosen)


_NOTICEABLE = 1.15


def _faster(
    graph: Graph, target: Target, recipe: Recipe, source: Source | None, chosen: Plan
) -> tuple[Diagnostic, ...]:
    """A note where leaving more layers float would be predicted to be clearly faster."""
    if not recipe.integer_macs or not chosen.prediction.macs or chosen.count(Kind.WEIGHT_ONLY):
        return ()
    if chosen.prediction.integer_share < recipe.integer_macs / 2:
        share = chosen.prediction.integer_share
        text = (
            f"only {share:.0%} of the multiply-accumulates gain from integers"
            if share
            else "nothing gains from integers: the result is a float model"
        )
        hint = (
            "see `qconvert plan`; set `shapes:` if the assumed sizes are too small, or `placement: everywhere` for size"
        )
        return (Diagnostic("P101", text, None, hint, Severity.WARNING),)
    if chosen.prediction.speedup is None:
        return ()
    free = _plan(graph, target, recipe.model_copy(update={"integer_macs": 0.0}), source, None)
    speedup, share = free.prediction.speedup or 0.0, free.prediction.integer_share
    if speedup < _NOTICEABLE * chosen.prediction.speedup:
        return ()
    text = f"predicted {speedup:.2f}x FP32 speed with {share:.0%} of the MACs in integers, {chosen.prediction.speedup:.2f}x as planned"
    return (
        Diagnostic("P100", text, None, f"set `integer_macs: {max(share - 0.01, 0):.2f}` in the recipe", Severity.NOTE),
    )


def target_named(name: str) -> Target:
    """A target by name.

    Raises:
        QConvertError: R010 with what may have been meant.
    """
    if name in TARGETS:
        return TARGETS[name]
    near = get_close_matches(name, TARGETS, 1, 0.5)
    hint = f"did you mean `{near[0]}`?" if near else f"targets are {', '.join(TARGETS)}"
    raise fail("R010", f"unknown target: {name}", None, hint)


def target_of(recipe: Recipe) -> Target:
    """The recipe's target.

    Raises:
        QConvertError: R010, or R009 where the target does not support what the recipe asks for.
    """
    target = target_named(recipe.target)
    if recipe.format is not None and recipe.format not in target.formats:
        raise fail(
            "R009", f"{target.title} has no format `{recipe.format}`", "format", f"choose {' or '.join(target.formats)}"
        )
    if recipe.precision not in target.precisions:
        raise fail(
            "R009",
            f"{target.title} does not take `{recipe.precision}`",
            "precision",
            f"choose {' or '.join(target.precisions)}",
        )
    for key in ("io", "keep_layout", "limits"):
        if key not in target.options and getattr(recipe, key) != getattr(Recipe(), key):
            raise fail("R009", f"{target.title} does not take `{key}`", key, f"remove `{key}`")
    if recipe.mode == "dynamic" and not target.dynamic:
        raise fail("R009", f"{target.title} has no dynamic quantization", "mode", "choose `static`")
    return target


def _best_form(
    original: Graph, target: Target, recipe: Recipe, source: Source | None, feed: Feed | None
) -> tuple[Canonical, Plan]:
    """Canonicalize, then keep those of the target's rewrites that make the predicted time shorter, one after the other."""
    best = canonicalize(original, extra=target.lowers)
    best = Canonical(with_types(best.graph, recipe.shapes, feed), best.applied, best.diagnostics)
    chosen = _plan(best.graph, target, recipe, source, feed)
    for rewrite in target.rewrites:
        form = canonicalize(best.graph, best.graph.opset, (*target.lowers, rewrite))
        if not any(applied.rule == rewrite for applied in form.applied):
            continue
        other = _plan(form.graph, target, recipe, source, feed)
        if _time(other) < _time(chosen) * _WORTH:
            best, chosen = Canonical(form.graph, (*best.applied, *form.applied), best.diagnostics), other
    return best, chosen


def _time(chosen: Plan) -> float:
    return chosen.prediction.ns or 0.0


def _plan(
    graph: Graph,
    target: Target,
    recipe: Recipe,
    source: Source | None,
    feed: Feed | None,
    extra: Mapping[str, Change] | None = None,
) -> Plan:
    rules = resolve_rules(recipe.rules, graph, source)
    return plan(
        graph,
        target,
        recipe,
        concrete_shapes(graph, recipe.shapes, feed),
        merged(rules.nodes, extra or {}),
        rules.tensors,
    )


def replanned(planned: Planned, recipe: Recipe, source: Source | None, kept: Mapping[str, Reason]) -> Plan:
    """The plan again, with some nodes left float whatever they would gain."""
    rules = resolve_rules(recipe.rules, planned.graph, source)
    return plan(planned.graph, planned.target, recipe, planned.plan.shapes, rules.nodes, rules.tensors, kept)


def with_types(graph: Graph, sizes: Mapping[str, int], feed: Feed | None = None) -> Graph:
    """Add the element types that inference could not find, from one real run."""
    missing = [name for name in graph.values() if graph.type_of(name).dtype is None]
    if not missing:
        return graph
    from ..graph import TensorType
    from ..runtime import assumed_inputs, observe, synthetic_feed

    found = observe(graph, missing, feed or synthetic_feed(assumed_inputs(graph, sizes)))
    edit = Edit(graph)
    for name, array in found.items():
        edit.set_type(name, TensorType(str(array.dtype), graph.type_of(name).shape or (None,) * array.ndim))
    return edit.graph()
