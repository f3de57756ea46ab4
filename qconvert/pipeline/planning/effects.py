"""Settings that would change nothing: refused where they promise something, warned of where they are only idle."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from ...errors import Diagnostic, QConvertError, Severity, fail
from ...graph import Graph
from ...plan import Kind, NodePlan, Plan
from ...recipe import Recipe
from ...recipe.hints import nearest
from ...recipe.types import HALVES
from ...targets import Target

_STORING = ("weight-only", "codebook")
_STORED = frozenset({Kind.WEIGHT_ONLY, Kind.LOOKUP})
_KINDS = {"dynamic": frozenset({Kind.DYNAMIC}), "weight-only": _STORED, "codebook": _STORED}


def refuse_broken_promises(recipe: Recipe, target: Target) -> None:
    """Refuse what the recipe asks for and the target cannot give.

    Raises:
        QConvertError: R009 for every such key.
    """
    asked = {key: why for key, why in _PROMISES.items() if _said(recipe, key)}
    found = [Diagnostic("R009", text, key, f"remove `{key}`") for key, why in asked.items() if (text := why(target))]
    found += _measured_scales(recipe)
    if found:
        raise QConvertError(found)


def refuse_unknown_sizes(recipe: Recipe, graph: Graph) -> None:
    """Refuse sizes of dimensions that no input of the model has.

    Raises:
        QConvertError: R009 with what may have been meant.
    """
    named = list(
        dict.fromkeys(d for name in graph.feeds for d in graph.type_of(name).shape or () if isinstance(d, str))
    )
    for name in recipe.shapes:
        if name not in named:
            near = nearest(name, named) or named
            hint = f"open dimensions: {', '.join(near)}" if near else "every dimension with a name is fixed, remove it"
            raise fail("R009", f"no input of the model has a dimension `{name}`", "shapes", hint)


def refuse_unproved(recipe: Recipe, measured: bool) -> None:
    """Refuse a run on other cores for which there would be no samples.

    Args:
        measured: there is data, and the result is evaluated on it.

    Raises:
        QConvertError: R009.
    """
    if recipe.verify == "emulate" and not measured:
        text = "a run on emulated cores compares results on samples, and this one evaluates none"
        raise fail(
            "R009", text, "verify", "give a folder with `-d` and leave out `--no-evaluate`, or set `verify: run`"
        )


def idle(recipe: Recipe) -> tuple[Diagnostic, ...]:
    """A warning for each key that the recipe sets and nothing reads."""
    rows = [(key, why, hint) for key, unread, why, hint in _IDLE if _said(recipe, key) and unread(recipe)]
    rows += [
        (f"rules[{i}].{key}", _ONLY_STORED, _STORE)
        for i, rule in enumerate(recipe.rules)
        for key in _OF_STORED
        if not _stores(recipe) and getattr(rule.set, key) is not None
    ]
    return tuple(Diagnostic("R101", f"without effect: {why}", key, hint, Severity.WARNING) for key, why, hint in rows)


def _stores(recipe: Recipe) -> bool:
    return recipe.mode in _STORING or any(rule.set.mode in _STORING for rule in recipe.rules)


def _has_integers(recipe: Recipe) -> bool:
    return recipe.mode not in HALVES or any(rule.set.mode or rule.set.keep == "integer" for rule in recipe.rules)


def _has_zero_points(recipe: Recipe) -> bool:
    """Whether weights are stored with evenly spaced codes; tables of levels have no zero points."""
    plain = recipe.mode == "weight-only" or any(rule.set.mode == "weight-only" for rule in recipe.rules)
    return plain and not recipe.weights.levels


def _takes_percentile(recipe: Recipe) -> bool:
    return "percentile" in (recipe.calibration.method, *(rule.set.method for rule in recipe.rules))


_ONLY_STORED = "no weights are stored for float arithmetic"
_STORE = "set `mode: weight-only` or `mode: codebook`, for the model or in a rule, or remove it"
_OF_STORED = ("block", "weight_symmetric", "levels")
_Row = tuple[str, Callable[[Recipe], bool], str, str]
_IDLE: tuple[_Row, ...] = (  # key, whether nothing reads it, why, and what to do
    ("weights.bits", lambda r: not _has_integers(r), "the model has no integers", "remove it"),
    ("format", lambda r: not _has_integers(r), "the model has no integers", "remove it"),
    ("weights.block", lambda r: not _stores(r), _ONLY_STORED, _STORE),
    ("weights.symmetric", lambda r: not _stores(r), _ONLY_STORED, _STORE),
    (
        "weights.symmetric",
        lambda r: _stores(r) and not _has_zero_points(r),
        "tables of levels have no zero points",
        "remove it",
    ),
    ("weights.levels", lambda r: not _stores(r), _ONLY_STORED, _STORE),
    ("float8", lambda r: r.mode != "float8", "nothing is in FP8", "set `mode: float8`, or remove it"),
    (
        "calibration.percentile",
        lambda r: not _takes_percentile(r),
        "only the method `percentile` reads it",
        "set `calibration.method: percentile`, or remove it",
    ),
)


def _option(key: str) -> Callable[[Target], str]:
    return lambda target: "" if key in target.recipe_keys else f"{target.title} does not take `{key}`"


_PROMISES: dict[str, Callable[[Target], str]] = {  # key of the recipe to why a target cannot keep it, "" where it can
    **{key: _option(key) for key in ("keep_layout", "limits", "reduce_range")},
    "verify": lambda target: "" if target.runtime.cores else f"no core of {target.title} can be emulated",
}


def _measured_scales(recipe: Recipe) -> Iterator[Diagnostic]:
    """R009 where scales must be powers of two and are measured at run time."""
    modes = {"mode": recipe.mode, **{f"rules[{i}]": rule.set.mode for i, rule in enumerate(recipe.rules)}}
    for where, mode in modes.items() if recipe.calibration.scales != "any" else ():
        if mode == "dynamic":
            text = "scales that are measured at run time are no powers of two"
            yield Diagnostic("R009", text, f"calibration.scales, {where}", "choose `mode: static`")


def _said(recipe: Recipe, key: str) -> bool:
    """Whether a dotted key has another value than by default."""
    return bool(_value(recipe, key) != _value(Recipe(), key))


def _value(recipe: Recipe, key: str) -> Any:
    value: Any = recipe
    for step in key.split("."):
        value = getattr(value, step)
    return value


def unmet_mode(recipe: Recipe, target: Target, chosen: Plan) -> tuple[Diagnostic, ...]:
    """A warning where no node became what `mode` asks for, so that the result is that of another mode."""
    kinds = _KINDS.get(recipe.mode, frozenset())
    if not kinds or any(node.kind in kinds for node in chosen.nodes.values()):
        return ()
    text, hint = _none_dynamic(target, chosen) if recipe.mode == "dynamic" else _none_stored(chosen)
    return (Diagnostic("P102", text, None, hint, Severity.WARNING),)


def _none_dynamic(target: Target, chosen: Plan) -> tuple[str, str]:
    static = chosen.count(Kind.INTEGER)
    are = "node is" if static == 1 else "nodes are"
    instead = f"{static} {are} static, with ranges from data" if static else "nothing runs in integers"
    ops = ", ".join(dict.fromkeys(kernel.op for kernel in target.kernels.dynamic))
    text = f"no node has ranges that are measured at run time; {instead}"
    return text, f"{target.title} can do that for {ops} with constant weights; `mode: static` asks for the rest"


def _none_stored(chosen: Plan) -> tuple[str, str]:
    heaviest = max(chosen.nodes.values(), key=_weighs, default=None)
    why = f": {heaviest.reason.text}" if heaviest is not None and heaviest.reason else ""
    text = f"no weight is stored in fewer bits, the result is a float model{why}"
    return text, "choose another mode, or other `levels`, `bits` or `block`; `qconvert plan --all` has every reason"


def _weighs(node: NodePlan) -> int:
    return node.macs
