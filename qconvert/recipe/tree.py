"""A decoded YAML document in which every value knows where it was written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from ..errors import Diagnostic, QConvertError

PathPart: TypeAlias = str | int
Path: TypeAlias = tuple[PathPart, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """A position in a file; line 0 stands for something without lines, such as the command line."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


@dataclass(frozen=True, slots=True)
class Item:
    """One value of a document.

    Attributes:
        value: a mapping of names to items, a tuple of items, or a scalar (text, number, truth value, None).
        place: where the value begins.
        key: where its key begins, None for items of lists and the document itself.
        text: a scalar as it was written.
    """

    value: Any
    place: Place
    key: Place | None = None
    text: str | None = None

    def child(self, step: PathPart) -> Item | None:
        """The item under a key or index, None if there is none."""
        if isinstance(self.value, Mapping):
            return self.value.get(step)
        if isinstance(self.value, tuple) and isinstance(step, int) and 0 <= step < len(self.value):
            found: Item = self.value[step]
            return found
        return None

    def at(self, path: Path) -> Item:
        """The item at a path, or the deepest one on the way to it."""
        item = self
        for step in path:
            below = item.child(step)
            if below is None:
                break
            item = below
        return item

    def plain(self) -> Any:
        """The value as dicts, lists and scalars."""
        if isinstance(self.value, Mapping):
            return {name: item.plain() for name, item in self.value.items()}
        return [item.plain() for item in self.value] if isinstance(self.value, tuple) else self.value

    def with_value(self, value: Any) -> Item:
        """The same place with another value."""
        return replace(self, value=value)


def located(value: Any, place: Place) -> Item:
    """A plain value as a document whose every part is at one place."""
    if isinstance(value, Mapping):
        return Item({name: located(v, place) for name, v in value.items()}, place, place)
    if isinstance(value, list | tuple):
        return Item(tuple(located(v, place) for v in value), place, place)
    return Item(value, place, place, str(value))


def merge(base: Item, over: Item, path: Path = ()) -> Item:
    """What `over` says on top of `base`: mappings deeply, `rules` one after the other, everything else replaced."""
    if isinstance(base.value, Mapping) and isinstance(over.value, Mapping):
        both = {
            name: merge(base.value[name], item, (*path, name)) if name in base.value else item
            for name, item in over.value.items()
        }
        return over.with_value({**base.value, **both})
    if path == ("rules",) and isinstance(base.value, tuple) and isinstance(over.value, tuple):
        return over.with_value((*base.value, *over.value))
    return base if over.value is None and isinstance(base.value, Mapping | tuple) else over


def dotted(path: Iterable[PathPart]) -> str:
    """A path as people write it: `rules[0].match.op`."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).lstrip(".")


@dataclass(frozen=True, slots=True)
class SourceMap:
    """Where each part of a recipe was written, parents included.

    Attributes:
        files: that were read, the recipe first.
    """

    root: Item
    files: tuple[str, ...] = ()

    def where(self, path: Path) -> str:
        """`file:line:column` of the value at a path, or of the nearest part around it that was written."""
        return str(self.root.at(path).place)


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing that is wrong with a document."""

    code: str
    message: str
    place: Place
    hint: str | None = None

    def diagnostic(self) -> Diagnostic:
        """The mistake as every other package reports."""
        return Diagnostic(self.code, self.message, str(self.place), self.hint)


def refuse(mistakes: Iterable[Mistake], files: Sequence[str] = ()) -> QConvertError:
    """The exception for all mistakes, each once: file by file in the given order, from top to bottom."""
    order = {name: i for i, name in enumerate(files)}
    once = dict.fromkeys(mistakes)
    ranked = sorted(once, key=lambda m: (order.get(m.place.file, len(order)), m.place.line, m.place.column))
    return QConvertError(m.diagnostic() for m in ranked)
