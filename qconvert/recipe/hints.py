"""Looking into the recipe's types: what a path wants, in a form that can be walked and said in words."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic.fields import FieldInfo

from ..data.settings import Settings
from .tree import Item, Path, PathPart, dotted
from .vocabulary import NOUNS, Names, Wanted


@dataclass(frozen=True)
class Hint:
    """A type without its `Annotated`, and the marks that stood there."""

    type: Any
    marks: tuple[Any, ...] = ()

    @staticmethod
    def of(annotation: Any, marks: Iterable[Any] = ()) -> Hint:
        """The hint for an annotation."""
        if get_origin(annotation) is Annotated:
            inner, *more = get_args(annotation)
            return Hint.of(inner, (*more, *marks))
        flat = (part for mark in marks for part in (mark.metadata if isinstance(mark, FieldInfo) else (mark,)))
        return Hint(annotation, tuple(flat))

    @property
    def options(self) -> tuple[Hint, ...]:
        """The members of a union, or the hint itself."""
        if get_origin(self.type) in (Union, UnionType):
            return tuple(option for arg in get_args(self.type) for option in Hint.of(arg).options)
        return (self,)

    @property
    def settings(self) -> type[Settings] | None:
        """The section type, None if this is none."""
        return self.type if isinstance(self.type, type) and issubclass(self.type, Settings) else None

    @property
    def container(self) -> bool:
        """Whether it is a section, mapping or list and nothing else."""
        return all(o.settings or get_origin(o.type) in (dict, tuple) for o in self.options)

    def mark(self, kind: type[Any]) -> Any:
        """The first mark of a kind, None if there is none."""
        return next((m for m in self.marks if isinstance(m, kind)), None)

    @property
    def items(self) -> tuple[Hint, ...]:
        """What the items of a list may be, nothing if no list is wanted."""
        below = self.child(0)
        return below.options if below else ()

    def child(self, step: PathPart) -> Hint | None:
        """What is wanted under a key or at an index, None if nothing can be there."""
        return next((found for option in self.options if (found := option._below(step)) is not None), None)

    def at(self, path: Path) -> Hint | None:
        """What is wanted at a path, None if nothing can be there."""
        hint: Hint | None = self
        for step in path:
            hint = hint.child(step) if hint else None
        return hint

    def _below(self, step: PathPart) -> Hint | None:
        args = get_args(self.type)
        if isinstance(step, str):
            if self.settings:
                info = self.settings.model_fields.get(step)
                return Hint.of(info.annotation, info.metadata) if info else None
            return Hint.of(args[1]) if get_origin(self.type) is dict else None
        if get_origin(self.type) is not tuple:
            return None
        if len(args) == 2 and args[1] is Ellipsis:
            return Hint.of(args[0])
        return Hint.of(args[step]) if step < len(args) else None

    def words(self, many: bool = False) -> str:
        """What is wanted, as a noun phrase in the singular or plural."""
        if self.mark(Wanted):
            return self._words(many)
        said = dict.fromkeys(option._words(many) for option in self.options if option.type is not NoneType)
        return " or ".join(said)

    def _words(self, many: bool) -> str:
        origin, args = get_origin(self.type), get_args(self.type)
        wanted: Wanted | None = self.mark(Wanted)
        if wanted and not many:
            return wanted.words
        if origin is Literal:
            return _alternatives([str(a) for a in args])
        if origin is tuple:
            rest = args[-1] is Ellipsis
            inner = Hint.of(args[0]).words(many=True)
            return f"{'lists' if many else 'a list'} of {inner if rest else f'{len(args)} {inner}'}"
        if origin is dict or self.settings:
            return "mappings" if many else "a mapping"
        name: Names | None = self.mark(Names)
        if name:
            noun = NOUNS[name.kind]
            return f"names of {noun}s" if many else f"the name of {'an' if noun[0] in 'aeiou' else 'a'} {noun}"
        one, several = _SIMPLE.get(self.type, ("a value", "values"))
        return several if many else one + _bounds(self.marks)


_SIMPLE = {
    bool: ("true or false", "truth values"),
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    str: ("text", "texts"),
}


def _alternatives(names: list[str]) -> str:
    return f"`{names[0]}`" if len(names) == 1 else "one of " + ", ".join(f"`{n}`" for n in names)


def _bounds(marks: tuple[Any, ...]) -> str:
    said: list[str] = []
    for mark in marks:
        match mark:
            case Gt(gt=bound):
                said.append(f"greater than {bound}")
            case Ge(ge=bound):
                said.append(f"of at least {bound}")
            case Lt(lt=bound):
                said.append(f"less than {bound}")
            case Le(le=bound):
                said.append(f"at most {bound}")
    return " " + " and ".join(said) if said else ""


def kind_of(value: Any) -> str:
    """What came, in words, to stand before the value itself."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "a truth value"
        case str():
            return "text"
        case Mapping():
            return "a mapping"
        case list() | tuple():
            return "a list"
    return ""


def literals(hint: Hint) -> list[str]:
    """All texts that the hint names one by one."""
    return [
        a
        for option in hint.options
        if get_origin(option.type) is Literal
        for a in get_args(option.type)
        if isinstance(a, str)
    ]


def nearest(word: str, known: Iterable[str], count: int = 1) -> list[str]:
    """Known names that are most like a word, the best first; capitals do not matter."""
    by_lower = {name.lower().replace("_", "-"): name for name in known}
    found = difflib.get_close_matches(word.lower().replace("_", "-"), by_lower, n=count, cutoff=0.6)
    return [by_lower[name] for name in found]


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """A hint with the nearest known name, None if nothing is near."""
    found = nearest(word, known)
    return f"did you mean `{found[0]}`?" if found else None


def keys(model: type[Settings], path: Path = ()) -> Iterator[Path]:
    """Paths of all keys below a section."""
    for name, info in model.model_fields.items():
        yield (*path, name)
        for option in Hint.of(info.annotation).options:
            if option.settings:
                yield from keys(option.settings, (*path, name))


def suggest_key(model: type[Settings], section: type[Settings] | None, key: str) -> str | None:
    """Where an unknown key may have been meant to go: a like name in its section, or the same name in another one."""
    siblings = list(section.model_fields) if section else []
    elsewhere = [dotted(path) for inside in (section, model) if inside for path in keys(inside) if path[-1] == key]
    near = elsewhere or nearest(key, siblings)
    if near:
        return f"did you mean `{near[0]}`?"
    return f"known keys: {', '.join(siblings)}" if siblings else None


def names(hint: Hint, item: Item, path: Path = ()) -> Iterator[tuple[Path, Item, Names]]:
    """Every text in a document that must be a name of the vocabulary, with its mark."""
    for option in hint.options:
        mark = option.mark(Names)
        if mark and isinstance(item.value, str):
            yield path, item, mark
    children = (
        item.value.items()
        if isinstance(item.value, Mapping)
        else enumerate(item.value)
        if isinstance(item.value, tuple)
        else ()
    )
    for step, below in children:
        wanted = hint.child(step)
        if wanted:
            yield from names(wanted, below, (*path, step))


def blanks(hint: Hint, item: Item) -> Item:
    """The document without sections that are written but empty (`dataset:` with every key commented out)."""
    if isinstance(item.value, tuple):
        return item.with_value(
            tuple(blanks(wanted, below) if (wanted := hint.child(i)) else below for i, below in enumerate(item.value))
        )
    if not isinstance(item.value, Mapping):
        return item
    kept: dict[str, Item] = {}
    for name, below in item.value.items():
        wanted = hint.child(name)
        if wanted is None or below.value is not None or not wanted.container:
            kept[name] = blanks(wanted, below) if wanted else below
        elif not any(option.settings for option in hint.options):  # an entry of a mapping counts by its name
            kept[name] = below.with_value({})
    return item.with_value(kept)
