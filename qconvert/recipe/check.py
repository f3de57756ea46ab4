"""A document against the recipe's types: the types judge, and every refusal is said in words with its place."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import ValidationError

from ..data.settings import Settings
from .hints import Hint, blanks, did_you_mean, kind_of, literals, names, suggest_key
from .tree import Item, Mistake, Path, PathPart, dotted, merge
from .types import Recipe
from .vocabulary import Names, Vocabulary

S = TypeVar("S", bound=Settings)


def decode(root: Item, vocabulary: Vocabulary) -> tuple[Recipe | None, list[Mistake]]:
    """The recipe that a document says, and everything that is wrong with it; None if anything is."""
    if not isinstance(root.value, Mapping):
        return None, [not_a_mapping(root)]
    root = blanks(Hint.of(Recipe), root)
    recipe, mistakes = validate(Recipe, root)
    mistakes += [
        _name(path, item, mark, vocabulary)
        for path, item, mark in names(Hint.of(Recipe), root)
        if not mark.accepts(item.value, vocabulary)
    ]
    mistakes += _algorithms(root, vocabulary)
    mistakes += _targets(root, vocabulary)
    return (None if mistakes else recipe), mistakes


def _targets(root: Item, vocabulary: Vocabulary) -> Iterator[Mistake]:
    """Mistakes in what differs for one of several targets: it must make a recipe together with everything else."""
    listed = root.value.get("targets")
    seen: set[str] = set()
    for i, entry in enumerate(listed.value if listed and isinstance(listed.value, tuple) else ()):
        path: Path = ("targets", i)
        pairs = dict(entry.value) if isinstance(entry.value, Mapping) else {entry.value: None}
        if len(pairs) != 1:
            text = f"`{dotted(path)}` must have one key, the name of a target, not {len(pairs)}"
            yield Mistake("R005", text, entry.place, "begin each target with `- `")
            continue
        (name, values) = next(iter(pairs.items()))
        if name in seen:
            yield Mistake("R005", f"`{dotted(path)}` names a target twice: {name}", entry.place)
        seen.add(name)
        if isinstance(entry.value, Mapping) and name not in vocabulary.targets:
            yield _name(path, Item(name, entry.place), Names("targets"), vocabulary)
        elif values is not None and values.value is not None:
            yield from _differing(root, values, (*path, name), vocabulary)


def _differing(root: Item, values: Item, path: Path, vocabulary: Vocabulary) -> Iterator[Mistake]:
    if not isinstance(values.value, Mapping):
        yield Mistake("R005", f"`{dotted(path)}` must be a mapping, not {_came(values)}", values.place)
        return
    for key in ("targets", "target", "extends", "version"):
        if key in values.value:
            yield Mistake("R005", f"`{dotted((*path, key))}` cannot differ between targets", values.value[key].place)
    rest = {key: item for key, item in root.value.items() if key != "targets"}
    known = decode(root.with_value(rest), vocabulary)[1]
    own = {key: item for key, item in values.value.items() if key != "targets"}
    merged = merge(root.with_value(rest), values.with_value(own))
    yield from (mistake for mistake in decode(merged, vocabulary)[1] if mistake not in known)


def not_a_mapping(root: Item) -> Mistake:
    """The mistake of a document that is a list or a scalar."""
    came = kind_of(root.value) or "a number"
    return Mistake("R005", f"a recipe must be a mapping of keys to values, not {came}", root.place)


def validate(model: type[S], item: Item, path: Path = ()) -> tuple[S | None, list[Mistake]]:
    """An item as a section; it is read as JSON, where strict types still let whole numbers be numbers and lists be tuples."""
    try:
        return model.model_validate_json(json.dumps(item.plain())), []
    except ValidationError as error:
        found = [_Refusal.of(item, e) for e in error.errors(include_url=False)]
    return None, [_mistake(model, item, path, refusal) for refusal in _innermost(found)]


def chosen_algorithms(recipe: Recipe, vocabulary: Vocabulary) -> tuple[tuple[str, Settings], ...]:
    """The algorithms that the recipe lists, in order, each with its settings; nothing for `auto` and `none`."""
    listed = () if isinstance(recipe.algorithms, str) else recipe.algorithms
    pairs = [(entry, {}) if isinstance(entry, str) else next(iter(entry.items())) for entry in listed]
    return tuple(
        (name, vocabulary.algorithms[name].model_validate_json(json.dumps(values or {}))) for name, values in pairs
    )


def _algorithms(root: Item, vocabulary: Vocabulary) -> Iterator[Mistake]:
    """Mistakes in the settings of the listed algorithms (their types are the vocabulary's)."""
    listed = root.value.get("algorithms")
    for i, entry in enumerate(listed.value if listed and isinstance(listed.value, tuple) else ()):
        if not isinstance(entry.value, Mapping):
            continue
        path: Path = ("algorithms", i)
        if len(entry.value) != 1:
            yield Mistake(
                "R005",
                f"`{dotted(path)}` must have one key, the name of an algorithm, not {len(entry.value)}",
                entry.place,
                "begin each algorithm with `- `",
            )
        for name, settings in entry.value.items():
            yield from _settings(name, settings, (*path, name), vocabulary)


def _settings(name: str, item: Item, path: Path, vocabulary: Vocabulary) -> list[Mistake]:
    kind = vocabulary.algorithms.get(name)
    if kind is None:
        return [_name(path, Item(name, item.key or item.place), Names("algorithms"), vocabulary)]
    if item.value is None:
        item = item.with_value({})
    if not isinstance(item.value, Mapping):
        return [Mistake("R005", f"`{dotted(path)}` must be a mapping, not {_came(item)}", item.place)]
    return validate(kind, blanks(Hint.of(kind), item), path)[1]


def _name(path: Path, item: Item, mark: Names, vocabulary: Vocabulary) -> Mistake:
    known = vocabulary.names(mark.kind)
    code = "R010" if mark.kind == "targets" else "R005"
    also = ", or `file.py:function`" if mark.functions else ""
    said = f"`{dotted(path)}` must be one of {', '.join(f'`{n}`' for n in known)}{also}, not: {item.value}"
    return Mistake(code, said, item.place, did_you_mean(item.value, known))


@dataclass(frozen=True)
class _Refusal:
    """One error of pydantic, at the path of the document that it is about."""

    kind: str
    path: Path
    reason: str

    @staticmethod
    def of(item: Item, error: Any) -> _Refusal:
        path = _path(item, error["loc"])
        missing = (error["loc"][-1],) if error["type"] == "missing" else ()
        return _Refusal(error["type"], path + missing, str(error.get("ctx", {}).get("error", "")))


def _path(item: Item, loc: Sequence[PathPart]) -> Path:
    """The steps of pydantic's location that lead through the document; the others only name members of unions."""
    path: list[PathPart] = []
    for step in loc:
        below = item.child(step)
        if below is not None:
            path.append(step)
            item = below
    return tuple(path)


def _innermost(found: list[_Refusal]) -> list[_Refusal]:
    """One refusal a path; a union complains once a member, and the member that got furthest is the one that was meant."""
    best: dict[Path, _Refusal] = {}
    for refusal in found:
        before = best.get(refusal.path)
        if before is None or (refusal.reason and not before.reason):
            best[refusal.path] = refusal
    above = {path[:depth] for path in best for depth in range(len(path))}
    return [refusal for path, refusal in best.items() if path not in above]


def _mistake(model: type[Settings], root: Item, path: Path, refusal: _Refusal) -> Mistake:
    """A refusal in words."""
    item, shown = root.at(refusal.path), dotted((*path, *refusal.path))
    if refusal.kind == "missing":
        return Mistake("R006", f"`{shown}` is missing", item.place)
    if refusal.kind == "extra_forbidden":
        above = Hint.of(model).at(refusal.path[:-1])
        section = next((option.settings for option in above.options if option.settings), None) if above else None
        return Mistake(
            "R003", f"unknown key: {shown}", item.key or item.place, suggest_key(model, section, str(refusal.path[-1]))
        )
    if refusal.reason:
        return Mistake("R005", f"`{shown}`: {refusal.reason}" if shown else refusal.reason, item.place)
    hint = Hint.of(model).at(refusal.path)
    wanted = hint.words() if hint else "something else"
    return Mistake("R005", f"`{shown}` must be {wanted}, not {_came(item)}", item.place, _help(hint, item))


def _came(item: Item) -> str:
    """What came instead: its kind, and for scalars how it was written."""
    kind = kind_of(item.value)
    if item.value is None or isinstance(item.value, Mapping | tuple):
        return f"{kind} of {len(item.value)}" if isinstance(item.value, tuple) else kind
    text = (item.text or str(item.value)).replace("\n", " ")
    return f"{kind}: {text[:60]}{'...' if len(text) > 60 else ''}".removeprefix(": ")


def _help(hint: Hint | None, item: Item) -> str | None:
    """How to mend a value of the wrong kind."""
    if hint is None:
        return None
    known = literals(hint)
    if isinstance(item.value, str):
        lists_text = any(below.type is str for below in hint.items)
        return did_you_mean(item.value, known) or (f"write a list: [{item.text}]" if lists_text else None)
    wants_text = any(option.type is str for option in hint.options) or known
    if wants_text and isinstance(item.value, bool | int | float):
        return f'YAML reads this as {kind_of(item.value) or "a number"}; write it in quotes if it is meant as text: "{item.text}"'
    return None
