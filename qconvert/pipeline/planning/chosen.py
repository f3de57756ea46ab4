"""The target that a recipe names, as the recipe's mode wants it; what it cannot do for any model is refused here."""

from __future__ import annotations

from dataclasses import replace
from difflib import get_close_matches

from ...errors import fail
from ...recipe import Recipe
from ...recipe.types import HALVES
from ...targets import TARGETS, Target
from .effects import refuse_broken_promises


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
    if recipe.format is not None and recipe.format not in target.artefact.formats:
        near = " or ".join(f"`{name}`" for name in target.artefact.formats)
        raise fail("R009", f"{target.title} has no format `{recipe.format}`", "format", f"choose {near}")
    target = _in_float8(recipe, target)
    _check_half(recipe, target)
    refuse_broken_promises(recipe, target)
    if not target.kernels.dynamic:
        for where in _places_of("dynamic", recipe):
            raise fail("R009", f"{target.title} has no dynamic quantization", where, "choose `static`")
    if not isinstance(recipe.algorithms, str):  # a list that cannot be is refused now, not after the calibration
        from ...optimize import ALGORITHMS, ordered

        ordered(recipe.algorithm_names, ALGORITHMS)
    return target


def _places_of(mode: str, recipe: Recipe) -> tuple[str, ...]:
    """Where a recipe asks for a mode: for the model, and in rules."""
    asked = {"mode": recipe.mode, **{f"rules[{i}]": rule.set.mode for i, rule in enumerate(recipe.rules)}}
    return tuple(where for where, name in asked.items() if name == mode)


def _in_float8(recipe: Recipe, target: Target) -> Target:
    """The target with FP8 in the place of its integers, where the recipe asks for it.

    Raises:
        QConvertError: R009 with the nearest choice.
    """
    if recipe.mode != "float8":
        return target
    if target.floats.float8 is None:
        near = (
            f"choose `{target.floats.whole_model[0]}`, or `static` for 8 bits"
            if target.floats.whole_model
            else "choose `static`"
        )
        raise fail("R009", f"{target.title} has no kernels for FP8", "mode", near)
    reason = dict(target.floats.float8.refused).get(recipe.float8)
    if reason is not None:
        text = f"{target.title} has no FP8 in {recipe.float8.upper()}: {reason}"
        raise fail("R009", text, "float8", f"set `float8: {Recipe().float8}`, or remove it")
    if any(rule.set.mode is not None or rule.set.weight_bits is not None for rule in recipe.rules):
        text = f"{target.title} does not mix FP8 with integers in one model"
        raise fail("R009", text, "rules", "use `keep: float` for exceptions, or `mode: static`")
    narrow = target.floats.float8
    return replace(
        target,
        formats=replace(target.formats, activation=narrow.activation, weight=narrow.weight, small_weight=None),
        kernels=replace(target.kernels, integer=narrow.kernels),
    )


def _check_half(recipe: Recipe, target: Target) -> None:
    """Refuse 16-bit floats, and types of inputs and outputs, that the target does not take.

    Raises:
        QConvertError: R009 with the nearest choice.
    """
    if recipe.mode in HALVES:
        if recipe.mode not in target.floats.whole_model:
            near = " or ".join(f"`{name}`" for name in target.floats.whole_model) or "`static`"
            raise fail("R009", f"{target.title} has no kernels for {recipe.mode}", "mode", f"choose {near}")
        if recipe.precision not in ("float32", recipe.mode):
            text = f"`mode: {recipe.mode}` leaves nothing for `precision: {recipe.precision}`"
            raise fail("R009", text, "precision", "remove `precision`")
    elif recipe.precision not in target.floats.beside_integers:
        near = f"choose {' or '.join(target.floats.beside_integers)}"
        if recipe.precision in target.floats.whole_model:
            near = f"`mode: {recipe.precision}` makes the whole model {recipe.precision}"
        raise fail("R009", f"{target.title} does not take `{recipe.precision}` beside integers", "precision", near)
    if recipe.io is not None and recipe.io not in target.artefact.io:
        near = f"choose {' or '.join(target.artefact.io)}" if target.artefact.io else "remove `io`"
        raise fail("R009", f"{target.title} has no {recipe.io} inputs and outputs", "io", near)
    if recipe.io == "half" and recipe.half is None:
        raise fail(
            "R009", "`io: half` wants a model in 16-bit floats", "io", "set `mode` or `precision` to a 16-bit type"
        )
