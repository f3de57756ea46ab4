"""From what a user asks for to requests with nothing left to decide: recipe, preset or defaults, with the changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..errors import Diagnostic, fail
from ..recipe import Recipe, SourceMap, entries, for_target, override, preset, read_recipe
from .asked import Asked
from .planning import target_named
from .request import Request
from .storage.cache import Cache, cache_limit, open_cache
from .storage.staging import check_output
from .words import presets_folder, vocabulary


@dataclass(frozen=True)
class Chosen:
    """A recipe and where it comes from.

    Attributes:
        source: places of its keys, None where no file of the user's has them; files: that it was read from.
        base: where its paths start; notes: one for each key that was overridden.
    """

    recipe: Recipe
    source: SourceMap | None = None
    files: tuple[Path, ...] = ()
    base: Path = Path(".")
    notes: tuple[Diagnostic, ...] = ()

    def changed(self, changes: Mapping[str, Any]) -> Chosen:
        """With other values for some keys.

        Raises:
            QConvertError: every mistake in them.
        """
        recipe, notes = override(self.recipe, changes, vocabulary(), self.base)
        return replace(self, recipe=recipe, notes=(*self.notes, *notes))

    def for_target(self, target: str) -> Chosen:
        """For one target, with what the recipe lists for it."""
        if self.recipe.target == target and not self.recipe.targets:
            return self
        return replace(self, recipe=for_target(self.recipe, target, vocabulary()))


# --- requests ------------------------------------------------------------------------------------------------------------


def request_of(asked: Asked) -> tuple[Request, tuple[Diagnostic, ...]]:
    """The request for one target, and a note for each key that was overridden.

    Raises:
        QConvertError: see `chosen_recipe`; R011 and O001 for a cache that cannot be.
    """
    found = chosen_recipe(asked.recipe, asked.targets, asked.changes)
    return _request(asked, found, _cache(asked)), found.notes


def requests_of(asked: Asked) -> tuple[tuple[Request, ...], tuple[Diagnostic, ...], bool]:
    """As `request_of`, one for each target.

    Returns:
        The requests, the notes, and whether there are several targets, each with folders of its own.

    Raises:
        QConvertError: see `request_of`; R009 where the output is no folder.
    """
    found, several = _recipes(asked.recipe, asked.targets, asked.changes)
    notes, cache = tuple(dict.fromkeys(note for each in found for note in each.notes)), _cache(asked)
    if not several:
        return (_request(asked, found[0], cache),), notes, False
    if not asked.in_folder:
        check_output(asked.place)
    return tuple(_request(_beside(asked, each.recipe.target), each, cache) for each in found), notes, True


def _beside(asked: Asked, target: str) -> Asked:
    """The same with the folders of one of several targets."""
    reports = None if asked.reports is None else asked.reports / target
    return replace(asked, output=asked.place / target, reports=reports)


def _cache(asked: Asked) -> Cache | None:
    return None if asked.cache is None else open_cache(asked.cache, cache_limit())


def _request(asked: Asked, chosen: Chosen, cache: Cache | None) -> Request:
    named = f"model{target_named(chosen.recipe.target).artefact.extension}"
    return Request(
        model=asked.model,
        output=asked.place / named if asked.in_folder and asked.place.suffix else asked.place,
        recipe=chosen.recipe,
        data=asked.data,
        source=chosen.source,
        base_dir=chosen.base,
        evaluate=asked.evaluate,
        threads=asked.threads,
        reports=asked.reports,
        recipe_files=chosen.files,
        update_baseline=asked.update_baseline,
        cache=cache,
    )


# --- recipes -------------------------------------------------------------------------------------------------------------


def chosen_recipe(given: Path | Recipe | None, targets: Sequence[str], changes: Mapping[str, Any]) -> Chosen:
    """The recipe for one target: that of a file, the given one or the preset of the target, with the changes.

    Args:
        targets: at most one name, which overrides the recipe's.

    Raises:
        QConvertError: R001 to R010 with every mistake, R009 where the recipe lists several targets and none was named, R011 with
            neither recipe nor target.
    """
    found, several = _recipes(given, targets, changes)
    if several:
        text = f"the recipe is for several targets: {', '.join(each.recipe.target for each in found)}"
        raise fail("R009", text, "targets", "name one of them with `-t`; `convert` makes all of them")
    return found[0]


def dataset_recipe(given: Path | Recipe | None, changes: Mapping[str, Any]) -> Chosen:
    """A recipe for commands that convert nothing: what it says of the dataset and of what is measured; the defaults without one.

    Raises:
        QConvertError: R001 to R009 with every mistake.
    """
    return _given(Recipe() if given is None else given).changed(changes)


def _recipes(
    given: Path | Recipe | None, targets: Sequence[str], changes: Mapping[str, Any]
) -> tuple[tuple[Chosen, ...], bool]:
    """A recipe for each target, and whether there are folders for each: where several are named, or the recipe lists them."""
    names = tuple(dict.fromkeys(targets))
    for name in names:
        target_named(name)
    if given is None:
        if not names:
            raise fail("R011", "neither a recipe nor a target was given", None, "add `-t TARGET` or `-r RECIPE`")
        return tuple(_preset(name).changed(changes).for_target(name) for name in names), len(names) > 1
    own = {"target": names[0]} if len(names) == 1 else {}
    start = _given(given).changed({**own, **changes})
    listed = () if names else tuple(entries(start.recipe))
    return tuple(start.for_target(name) for name in names or listed) or (start,), len(names) > 1 or bool(listed)


def _given(recipe: Path | Recipe) -> Chosen:
    if isinstance(recipe, Recipe):
        return Chosen(recipe)
    loaded = read_recipe(recipe, vocabulary(), presets_folder())
    return Chosen(loaded.recipe, loaded.source, tuple(map(Path, loaded.source.files)), recipe.parent)


def _preset(target: str) -> Chosen:
    path, found = presets_folder() / f"{target}.yaml", preset(target, vocabulary(), presets_folder())
    return Chosen(found, files=(path,) if path.is_file() else ())
