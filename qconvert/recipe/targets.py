"""A recipe for several targets as one recipe for each of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from .check import decode
from .tree import Place, located, merge, refuse
from .types import Recipe
from .vocabulary import Vocabulary


def entries(recipe: Recipe) -> dict[str, Mapping[str, Any]]:
    """What `targets` lists: each target with what differs for it."""
    pairs = ((entry, {}) if isinstance(entry, str) else next(iter(entry.items())) for entry in recipe.targets)
    return {name: values or {} for name, values in pairs}


def for_target(recipe: Recipe, target: str, vocabulary: Vocabulary) -> Recipe:
    """The recipe for one target: what `targets` says for it on top of everything else, as with `extends`.

    Raises:
        QConvertError: all mistakes at once.
    """
    place = Place(f"targets: {target}")
    base = located(recipe.model_dump(mode="json", exclude_defaults=True, exclude={"targets"}), place)
    made, mistakes = decode(
        merge(base, located({**entries(recipe).get(target, {}), "target": target}, place)), vocabulary
    )
    if made is None:
        raise refuse(replace(mistake, place=place) for mistake in mistakes)
    return made
