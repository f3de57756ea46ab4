"""Recipes by themselves: validation against a model, and a first recipe for one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import Diagnostic, QConvertError, fail
from ..recipe import Recipe, entries, for_target, read_recipe, resolve_rules, starting_recipe
from .planning import target_named, target_of
from .storage.staging import guarded
from .words import presets_folder, vocabulary


def check_recipes(paths: Sequence[Path], model: Path | None) -> list[tuple[Path, str]]:
    """Validate recipe files, with their rules against a model if one is given.

    Returns:
        Each file with its target.

    Raises:
        QConvertError: every mistake in all of the files.
    """
    fine: list[tuple[Path, str]] = []
    mistakes: list[Diagnostic] = []
    for path in paths:
        try:
            loaded = read_recipe(path, vocabulary(), presets_folder())
            made = [for_target(loaded.recipe, name, vocabulary()) for name in entries(loaded.recipe)] or [loaded.recipe]
            for recipe in made:
                target_of(recipe)
            if model is not None:
                from ..canonicalize import canonicalize
                from ..graph import load

                graph = canonicalize(load(model)).graph
                for recipe in made:
                    resolve_rules(recipe.rules, graph, loaded.source)
            fine.append((path, ", ".join(recipe.target for recipe in made)))
        except QConvertError as error:
            mistakes.extend(error.diagnostics)
    if mistakes:
        raise QConvertError(mistakes)
    return fine


def initial_recipe(model: Path, target: str | None) -> str:
    """A commented recipe fitted to a model, for the default target where none is named.

    Raises:
        QConvertError: R010, M0xx.
    """
    target = target or Recipe().target
    target_named(target)
    from ..canonicalize import canonicalize
    from ..graph import load

    return starting_recipe(canonicalize(load(model)).graph, target, model.name)


def write_new(path: Path, text: str) -> None:
    """Write a file that does not exist yet.

    Raises:
        QConvertError: O001 where it exists or cannot be written.
    """
    if path.exists():
        raise fail("O001", "the file exists", path, "choose another name, or remove it first")
    with guarded(path), path.open("x", encoding="utf-8") as file:
        file.write(text)
