"""YAML text to a document with places. Scalars are read where YAML 1.1 and 1.2 agree; where they differ, the recipe must say."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from yaml.reader import ReaderError

from ..errors import fail
from .tree import Item, Mistake, Place

MAX_BYTES = 1_000_000
MAX_DEPTH = 32
MAX_ALIASES = 64
MAX_ITEMS = 20_000

INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,30})|0x[0-9A-Fa-f]{1,16}")
NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
OCTAL = re.compile(r"0o[0-7]+")
_TAG = "tag:yaml.org,2002:"
_TAGS = ("null", "bool", "int", "float", "str", "timestamp", "value", "merge", "map", "seq")

# What the parser says, as far as it can be said better.
_WORDS = (
    ("found character '\\t'", "a tab is used for indentation", "indent with spaces"),
    (
        "mapping values are not allowed here",
        "a `:` is not expected here",
        "put text that contains `: ` in quotes, or check the indentation",
    ),
    (
        "could not find expected ':'",
        "this line has no `:` after its key",
        "write `key: value`, with a space after the colon",
    ),
    ("found unexpected end of stream", "a quote is never closed", "close the quote"),
    ("expected ',' or ']'", "a list `[` is never closed, or a comma is missing", None),
    ("expected ',' or '}'", "a mapping `{` is never closed, or a comma is missing", None),
    (
        "expected <block end>",
        "the indentation does not fit to the lines above",
        "keys of one mapping start in the same column",
    ),
    ("but found another document", "the file holds a second document after `---`", "keep one document"),
    ("expected the node content", "a value is missing here", "close every bracket and quote"),
    ("that cannot start any token", "this character cannot start a value", "put the value in quotes"),
    ("found undefined alias", "`*` refers to an anchor that does not exist", "put text that begins with `*` in quotes"),
)


@dataclass(frozen=True, slots=True)
class Parsed:
    """A document, None where there is none to speak of, and what was wrong with its text."""

    root: Item | None
    mistakes: tuple[Mistake, ...] = ()


def read_file(path: Path) -> bytes:
    """Content of a recipe file.

    Raises:
        QConvertError: R001 if it cannot be read or is no recipe by its size.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise fail(
            "R001",
            f"the recipe cannot be read: {error.strerror or error}",
            path,
            "`qconvert recipe init MODEL` writes one",
        ) from error
    except ValueError as error:
        raise fail("R001", f"the recipe cannot be read: {error}", None, "check its path") from error
    if len(content) > MAX_BYTES:
        raise fail("R001", f"the recipe is larger than {MAX_BYTES // 1000} kB", path, "is this a recipe?")
    return content


def parse(content: bytes | str, file: str) -> Parsed:
    """Read one YAML document; an empty one is an empty mapping."""
    try:
        text = content if isinstance(content, str) else content.decode("utf-8-sig")
        loader = _Loader(text)
        node = loader.get_single_node()
    except UnicodeDecodeError as error:
        line, column = _position(error.object[: error.start].decode("utf-8", "replace"))
        return Parsed(None, (Mistake("R002", "not UTF-8 text", Place(file, line, column), "save the file as UTF-8"),))
    except ReaderError as error:
        line, column = _position(text[: error.position])
        return Parsed(
            None,
            (
                Mistake(
                    "R002", f"a control character is not allowed: {text[error.position]!r}", Place(file, line, column)
                ),
            ),
        )
    except yaml.MarkedYAMLError as error:
        return Parsed(None, (_syntax(error, file),))
    except ValueError as error:  # such as an escape beyond Unicode
        return Parsed(None, (Mistake("R002", f"not valid YAML: {error}", Place(file, 1, 1)),))
    reader = _Reader(file)
    root = reader.item(node, 0) if node is not None else Item({}, Place(file, 1, 1))
    return Parsed(root.with_value({}) if root.value is None else root, tuple(reader.mistakes))


def needs_quotes(text: str) -> bool:
    """Whether text written without quotes would be read as something else here, beyond what PyYAML itself knows."""
    return bool(NUMBER.fullmatch(text) or OCTAL.fullmatch(text))


class _Limit(yaml.MarkedYAMLError):
    """The text is YAML, but too much of it for a recipe."""


class _Loader(yaml.SafeLoader):
    """The safe loader with limits, so that a few bytes cannot become a tree without end."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._depth = self._aliases = self._nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self._nodes += 1
        self._aliases += self.check_event(yaml.AliasEvent)
        self._depth += 1
        self._limit(self._depth, MAX_DEPTH, f"nested deeper than {MAX_DEPTH} levels")
        self._limit(self._aliases, MAX_ALIASES, f"more than {MAX_ALIASES} aliases")
        self._limit(self._nodes, MAX_ITEMS, f"more than {MAX_ITEMS} keys and values")
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def _limit(self, count: int, most: int, problem: str) -> None:
        if count > most:
            raise _Limit(problem=problem, problem_mark=self.peek_event().start_mark)  # type: ignore[no-untyped-call]


def _syntax(error: yaml.MarkedYAMLError, file: str) -> Mistake:
    mark = error.problem_mark or error.context_mark
    place = Place(file, mark.line + 1, mark.column + 1) if mark else Place(file, 1, 1)
    problem = error.problem or "not readable"
    for part, message, hint in _WORDS:
        if part in problem:
            return Mistake("R002", message, place, hint)
    return Mistake("R002", problem if isinstance(error, _Limit) else f"not valid YAML: {problem}", place)


def _position(before: str) -> tuple[int, int]:
    """Line and column, from 1, of what follows the given text."""
    return before.count("\n") + 1, len(before) - before.rfind("\n")


@dataclass
class _Reader:
    """Nodes to items, collecting mistakes."""

    file: str
    mistakes: list[Mistake] = field(default_factory=list)
    count: int = 0

    def item(self, node: yaml.Node, depth: int, key: Place | None = None) -> Item:
        place = self.place(node)
        self.count += 1
        if depth > MAX_DEPTH or self.count > MAX_ITEMS:  # only aliases can lead here
            if self.count <= MAX_ITEMS + 1:
                self.wrong("R002", "the recipe is too large once its aliases are written out", place)
            self.count = max(self.count, MAX_ITEMS + 1)
            return Item(None, place, key)
        if node.tag.removeprefix(_TAG) not in _TAGS:
            self.wrong("R005", f"YAML tags are not supported: {node.tag}", place, "remove the tag")
        if isinstance(node, yaml.MappingNode):
            return Item(self.mapping(node, depth), place, key)
        if isinstance(node, yaml.SequenceNode):
            return Item(tuple(self.item(child, depth + 1) for child in node.value), place, key)
        return Item(self.scalar(node, place), place, key, node.value)

    def mapping(self, node: yaml.MappingNode, depth: int) -> dict[str, Item]:
        found: dict[str, Item] = {}
        for key, value in node.value:
            place = self.place(key)
            if not isinstance(key, yaml.ScalarNode):
                self.wrong("R005", "a key must be text, not a list or mapping", place)
            elif key.tag == _TAG + "merge":
                self.wrong("R003", "merge keys (`<<`) are not supported", place, "write the keys out, or use `extends`")
            elif (name := self.text(str(key.value), place)) in found:
                first = found[name].key
                self.wrong(
                    "R004",
                    f"key `{name}` is already given in line {first.line if first else '?'}",
                    place,
                    "keep one of them",
                )
            else:
                found[name] = self.item(value, depth + 1, place)
        return found

    def scalar(self, node: yaml.Node, place: Place) -> Any:
        text, kind = str(node.value), node.tag.removeprefix(_TAG)
        plain = getattr(node, "style", None) is None
        if kind == "null":
            return None
        if kind == "bool":
            return text.lower() in ("true", "yes", "on", "y")
        if kind in ("int", "float") or (kind == "str" and plain and needs_quotes(text)):
            return self.number(text, place)
        return self.text(text, place)

    def number(self, text: str, place: Place) -> int | float:
        if INTEGER.fullmatch(text):
            return int(text, 0)
        value = float(text) if NUMBER.fullmatch(text) and not re.fullmatch(r"[-+]?[0-9]+", text) else None
        if value is None or not math.isfinite(value):
            infinite = value is not None or re.fullmatch(r"[-+]?\.(inf|nan)", text, re.IGNORECASE)
            message = (
                f"a number must be finite: {text}"
                if infinite
                else f"YAML versions disagree on what number this is: {text}"
            )
            self.wrong(
                "R005",
                message,
                place,
                None if infinite else f'write a plain decimal number, or "{text}" in quotes for text',
            )
            return 0
        return value

    def text(self, text: str, place: Place) -> str:
        try:
            text.encode()
        except UnicodeEncodeError:
            self.wrong("R005", "the text contains half of a surrogate pair", place)
            return ""
        return text

    def place(self, node: yaml.Node) -> Place:
        return Place(self.file, node.start_mark.line + 1, node.start_mark.column + 1)

    def wrong(self, code: str, message: str, place: Place, hint: str | None = None) -> None:
        self.mistakes.append(Mistake(code, message, place, hint))
