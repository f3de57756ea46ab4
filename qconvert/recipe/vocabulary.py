"""The names that a recipe may use, handed in by the caller, and the marks by which a field says which of them it wants."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from pydantic import GetJsonSchemaHandler
    from pydantic_core import CoreSchema

    from ..data.settings import Settings

Kind = Literal["targets", "formats", "methods", "metrics", "algorithms", "reports"]

NOUNS: Mapping[Kind, str] = {
    "targets": "target",
    "formats": "file format",
    "methods": "range method",
    "metrics": "metric",
    "algorithms": "algorithm",
    "reports": "report format",
}
FUNCTION = r"^.+\.py:[A-Za-z_][A-Za-z0-9_]*$"
SCHEMA_MARK = "x-qconvert-names"


@dataclass(frozen=True)
class Vocabulary:
    """What the other packages have to offer, by name.

    Attributes:
        find_algorithms: gives the settings type of each accuracy algorithm, for recipes that list some.
    """

    targets: tuple[str, ...]
    formats: tuple[str, ...]
    methods: tuple[str, ...]
    metrics: tuple[str, ...]
    find_algorithms: Callable[[], Mapping[str, type[Settings]]]
    reports: tuple[str, ...]

    @cached_property
    def algorithms(self) -> Mapping[str, type[Settings]]:
        """Settings type of each accuracy algorithm."""
        return self.find_algorithms()

    def names(self, kind: Kind) -> tuple[str, ...]:
        """All names of a kind, in the order of their table."""
        return tuple(getattr(self, kind))


@dataclass(frozen=True)
class Names:
    """Mark of a text field whose value is a name of the vocabulary.

    Attributes:
        functions: a `file.py:function` of the user is allowed too.
    """

    kind: Kind
    functions: bool = False

    def accepts(self, value: str, vocabulary: Vocabulary) -> bool:
        """Whether the value is one of the names, or a user function where those are allowed."""
        return value in vocabulary.names(self.kind) or (self.functions and re.match(FUNCTION, value) is not None)

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Leave a mark in the JSON Schema; `schema()` puts the names in its place."""
        return {**handler(core), SCHEMA_MARK: [self.kind, self.functions]}


@dataclass(frozen=True)
class Wanted:
    """Mark of a field whose wanted values are better said in words than derived from its type."""

    words: str
