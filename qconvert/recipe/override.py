"""Changes to a recipe from outside of its file, such as options of the command line."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator, Mapping
from typing import Any, get_args, get_origin

from pydantic import TypeAdapter

from ..errors import Diagnostic, Severity
from .check import decode
from .dump import to_yaml
from .hints import Hint
from .paths import seen_from
from .tree import Item, Path, Place, located, refuse
from .types import Recipe
from .vocabulary import Vocabulary

OPTIONS = Place("command line")
HERE = pathlib.Path(".")


def override(
    recipe: Recipe, changes: Mapping[str, Any], vocabulary: Vocabulary, folder: pathlib.Path = HERE
) -> tuple[Recipe, tuple[Diagnostic, ...]]:
    """The recipe with some values replaced, checked again, and a note R100 for each that really changed.

    Args:
        recipe: what to change.
        changes: dotted keys such as `dataset.samples` to values; names of inputs and dimensions may contain dots.
        vocabulary: the names that recipes may use.
        folder: where the recipe's paths start; those in `changes` start in the working directory.

    Raises:
        QConvertError: all mistakes at once, each naming its key.
    """
    root = located(recipe.model_dump(mode="json", exclude_defaults=True), Place("recipe"))
    paths = {key: tuple(_path(Hint.of(Recipe), key.split("."))) for key in changes}
    for key, value in changes.items():
        root = _set(root, paths[key], located(seen_from(folder, key, value), OPTIONS))
    new, mistakes = decode(root, vocabulary)
    if new is None:
        raise refuse(mistakes)
    return new, tuple(_notes(recipe, new, paths))


def _path(hint: Hint | None, parts: list[str]) -> Iterator[str]:
    """Steps of a dotted key; the names of a mapping take as many parts as its values leave over."""
    while parts:
        count = _parts_of_name(hint, parts)
        name, parts = ".".join(parts[:count]), parts[count:]
        yield name
        hint = hint.child(name) if hint else None


def _parts_of_name(hint: Hint | None, parts: list[str]) -> int:
    mapping = next((o for o in hint.options if get_origin(o.type) is dict), None) if hint else None
    if mapping is None:
        return 1
    section = Hint.of(get_args(mapping.type)[1]).settings
    return next((i for i in range(1, len(parts)) if section and parts[i] in section.model_fields), len(parts))


def _set(item: Item, path: Path, value: Item) -> Item:
    """The document with the value at a path, mappings made on the way where needed."""
    if not path:
        return value
    below = item.value if isinstance(item.value, Mapping) else {}
    child = below.get(path[0], Item({}, OPTIONS, OPTIONS))
    return item.with_value({**below, path[0]: _set(child, path[1:], value)})


def _notes(old: Recipe, new: Recipe, paths: Mapping[str, Path]) -> Iterator[Diagnostic]:
    for key, path in paths.items():
        before, after = _get(old, path), _get(new, path)
        if before != after:
            yield Diagnostic("R100", f"`{key}` overridden: {_shown(before)} -> {_shown(after)}", severity=Severity.NOTE)


def _get(value: Any, path: Path) -> Any:
    for step in path:
        value = value.get(step) if isinstance(value, Mapping) else getattr(value, str(step), None)
    return value


_PLAIN: TypeAdapter[Any] = TypeAdapter(Any)


def _shown(value: Any) -> str:
    if value is None:
        return "not set"
    plain = _PLAIN.dump_python(value, mode="json", exclude_defaults=True)
    return to_yaml([plain], flow=True).strip()[1:-1]
