"""From what a user says, on the command line or in Python, to a request: recipe, preset or defaults, with overrides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import Diagnostic, fail
from ..recipe import Loaded, Recipe, SourceMap, entries, for_target, override, preset, read_recipe
from .planning import target_named
from .request import Request
from .storage.staging import check_output
from .words import presets_folder, vocabulary


def effective_recipe(
    path: Path | None, target: str | None, changes: Mapping[str, Any]
) -> tuple[Recipe, SourceMap | None, tuple[Diagnostic, ...]]:
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
    recipe, notes = override(loaded.recipe, {**extra, **changes}, words, path.parent)
    return one_target(recipe, target), loaded.source, notes


def one_target(recipe: Recipe, target: str | None) -> Recipe:
    """The recipe for one target, also where it lists several.

    Raises:
        QConvertError: R009 where it lists several and none was named.
    """
    if not recipe.targets:
        return recipe
    if target is None:
        text = f"the recipe is for several targets: {', '.join(entries(recipe))}"
        raise fail("R009", text, "targets", "name one of them with `-t`; `convert` makes all of them")
    return for_target(recipe, target, vocabulary())


def make_requests(
    model: Path,
    output: Path,
    data: Path | None,
    recipe: Path | Recipe | None,
    targets: Sequence[str],
    changes: Mapping[str, Any],
    evaluate: bool = True,
    threads: int = 1,
    reports: Path | None = None,
) -> tuple[tuple[Request, ...], tuple[Diagnostic, ...], bool]:
    """As `make_request`, one for each target.

    Args:
        targets: names; without any those of the recipe.

    Returns:
        The requests, the notes, and whether there are several targets, each with folders of its own.

    Raises:
        QConvertError: see `effective_recipe`; R009 where the output is no folder.
    """
    listed = _listed(recipe, changes) if not targets else ()
    names = tuple(dict.fromkeys(targets or listed))
    if not listed and len(names) < 2:
        name = names[0] if names else None
        request, notes = make_request(model, output, data, recipe, name, changes, evaluate, threads, reports)
        return (request,), notes, False
    check_output(output)
    made = [
        make_request(
            model,
            output / name,
            data,
            recipe,
            name,
            changes,
            evaluate,
            threads,
            None if reports is None else reports / name,
        )
        for name in names
    ]
    notes = tuple(note for _, found in made for note in found if not note.message.startswith("`target` "))
    return tuple(request for request, _ in made), tuple(dict.fromkeys(notes)), True


def _listed(recipe: Path | Recipe | None, changes: Mapping[str, Any]) -> tuple[str, ...]:
    """The targets that a recipe lists."""
    words = vocabulary()
    start = read_recipe(recipe, words, presets_folder()).recipe if isinstance(recipe, Path) else recipe
    return () if start is None else tuple(entries(override(start, changes, words)[0]))


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
        final = one_target(final, target)
        source, base = None, Path(".")
    else:
        final, source, notes = effective_recipe(recipe, target, changes)
        base = recipe.parent if recipe is not None else Path(".")
    files = () if isinstance(recipe, Recipe) else _files(source, target)
    return Request(model, output, final, data, source, base, evaluate, threads, reports, files), notes


def _files(source: SourceMap | None, target: str | None) -> tuple[Path, ...]:
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
    folder = given.parent if isinstance(given, Path) else Path(".")
    recipe, notes = override(start, changes, words, folder)
    return recipe, folder, notes
