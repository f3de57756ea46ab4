"""From what a user says, on the command line or in Python, to a request: recipe, preset or defaults, with overrides."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import Diagnostic, fail
from ..recipe import Loaded, Recipe, Source, override, preset, read_recipe
from .convert import Request
from .planning import target_named
from .words import presets_folder, vocabulary


def effective_recipe(
    path: Path | None, target: str | None, changes: Mapping[str, Any]
) -> tuple[Recipe, Source | None, tuple[Diagnostic, ...]]:
    """The recipe file (or the target's preset) with overrides applied.

    Args:
        target: overrides the recipe's; without a recipe its preset is the start.
        changes: dotted keys to values, such as {"dataset.samples": 64}.

    Returns:
        The recipe, the places of its keys where it came from a file, and a note for each override.

    Raises:
        QConvertError: R001 to R010 with every mistake.
    """
    words = vocabulary()
    if target is not None:
        target_named(target)
    if path is None:
        if target is None:
            raise fail("R011", "neither a recipe nor a target was given", None, "add `-t TARGET` or `-r RECIPE`")
        recipe, notes = override(preset(target, words, presets_folder()), changes, words)
        return recipe, None, notes
    loaded: Loaded = read_recipe(path, words, presets_folder())
    extra = {} if target is None else {"target": target}
    recipe, notes = override(loaded.recipe, {**extra, **changes}, words)
    return recipe, loaded.source, notes


def make_request(
    model: Path,
    output: Path,
    data: Path | None,
    recipe: Path | Recipe | None,
    target: str | None,
    changes: Mapping[str, Any],
    evaluate: bool = True,
    threads: int = 1,
    reports: Path | None = None,
) -> tuple[Request, tuple[Diagnostic, ...]]:
    """Everything that `convert` needs, from paths and options.

    Raises:
        QConvertError: see `effective_recipe`.
    """
    if isinstance(recipe, Recipe):
        final, notes = override(recipe, {**({} if target is None else {"target": target}), **changes}, vocabulary())
        source, base = None, Path(".")
    else:
        final, source, notes = effective_recipe(recipe, target, changes)
        base = recipe.parent if recipe is not None else Path(".")
    files = () if isinstance(recipe, Recipe) else _files(source, target)
    return Request(model, output, final, data, source, base, evaluate, threads, reports, files), notes


def _files(source: Source | None, target: str | None) -> tuple[Path, ...]:
    """The recipe with everything that it extends, or the preset of the target where there is no recipe."""
    if source is not None:
        return tuple(Path(name) for name in source.files)
    path = presets_folder() / f"{target}.yaml"
    return (path,) if path.is_file() else ()


def dataset_recipe(
    given: Path | Recipe | None, changes: Mapping[str, Any]
) -> tuple[Recipe, Path, tuple[Diagnostic, ...]]:
    """A recipe for commands that convert nothing: what it says of the dataset and of what is measured.

    Returns:
        The recipe (the defaults without a file), where its paths start, and a note for each override.

    Raises:
        QConvertError: R001 to R009 with every mistake.
    """
    words = vocabulary()
    start = read_recipe(given, words, presets_folder()).recipe if isinstance(given, Path) else given or Recipe()
    recipe, notes = override(start, changes, words)
    return recipe, given.parent if isinstance(given, Path) else Path("."), notes
