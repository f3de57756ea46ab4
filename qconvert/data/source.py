"""One file of samples, described without its data: the common face of all kinds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import Diagnostic, QConvertError
from .check import check_shapes
from .inputs import Wanted
from .preprocess import Style, finish

if TYPE_CHECKING:
    from ..graph import Array


@dataclass(frozen=True)
class Item:
    """Where the samples of one source lie: a file, or a folder for ONNX test data; `name` is relative to the part."""

    path: Path
    name: str


@dataclass(frozen=True)
class Row:
    """One decoded row: arrays by input name without batch axis, and its label if the file holds one."""

    index: int
    arrays: Mapping[str, Array] = field(repr=False)
    label: Any | None = None


@dataclass(frozen=True)
class Source(ABC):
    """One file of samples.

    Attributes:
        files: what is read, for the digest.
        rows: number of rows.
        numbered: whether a row is called "name[index]" rather than "name".
        labelled: whether the file itself holds labels.
        label_names: class names among those labels.
        notes: what a person should know of the file.
    """

    item: Item
    files: tuple[Path, ...]
    wanted: Wanted = field(repr=False)
    rows: int = 1
    numbered: bool = False
    labelled: bool = False
    label_names: frozenset[str] = frozenset()
    notes: tuple[Diagnostic, ...] = ()
    style: ClassVar[Style] = Style()

    @property
    def name(self) -> str:
        """Path relative to the part, with forward slashes."""
        return self.item.name

    def row_id(self, index: int) -> str:
        """What a row is called."""
        return f"{self.name}[{index}]" if self.numbered else self.name

    def finish(self, row: Row) -> dict[str, Array]:
        """Preprocess a row and check it.

        Raises:
            QConvertError: D004, D005, D007 or R005, naming the row.
        """
        where = self.row_id(row.index)
        done = {i.name: finish(row.arrays[i.name], i, self.style, where) for i in self.wanted.inputs}
        wrong = check_shapes({k: v.shape for k, v in done.items()}, self.wanted, where, self.style.image)
        if wrong:
            raise QConvertError(wrong)
        return done

    @abstractmethod
    def check(self, rows: Sequence[int]) -> list[Diagnostic]:
        """Mistakes in these rows, found with as little reading as the format allows."""

    @abstractmethod
    def read(self, rows: Sequence[int]) -> Iterator[Row]:
        """Decode these rows (ascending); raises QConvertError D003 and D004 to D006 for what cannot be decoded."""
