"""Tables of numbers: .csv (one row a sample) and .jsonl (one object or list a line)."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np

from ..errors import Diagnostic, QConvertError, Severity, fail
from .columns import Columns, find_columns
from .inputs import Input, Wanted
from .labels import number
from .preprocess import Style
from .source import Item, Row, Source

if TYPE_CHECKING:
    from ..graph import Array

BROKEN = (OSError, UnicodeDecodeError, csv.Error)
Record: TypeAlias = tuple[int, Any]  # line number in the file (from 1), cells or decoded JSON


@dataclass(frozen=True)
class TableFile(Source):
    """A file of rows; `records` reads its lines, `parse` turns one into arrays and a label."""

    records: Callable[[Item], Any] | None = None
    parse: Callable[[Any, str], tuple[dict[str, Array], Any]] | None = None
    style: ClassVar[Style] = Style(flat=True, parsed=True)

    def check(self, rows: Sequence[int]) -> list[Diagnostic]:
        """Parse the rows; gathers the mistakes of all of them."""
        found: list[Diagnostic] = []
        for index, line, record in self._chosen(rows):
            try:
                self.finish(self._row(index, line, record))
            except QConvertError as error:
                found.extend(error.diagnostics)
        return found

    def read(self, rows: Sequence[int]) -> Iterator[Row]:
        """Parse the rows in one pass over the file."""
        for index, line, record in self._chosen(rows):
            yield self._row(index, line, record)

    def _row(self, index: int, line: int, record: Any) -> Row:
        assert self.parse is not None
        arrays, label = self.parse(record, f"{self.name}:{line}")
        return Row(index, arrays, label)

    def _chosen(self, rows: Sequence[int]) -> Iterator[tuple[int, int, Any]]:
        assert self.records is not None
        wanted = iter(rows)
        following = next(wanted, None)
        with self.records(self.item) as records:
            for index, (line, record) in enumerate(records):
                if index == following:
                    yield index, line, record
                    following = next(wanted, None)
                if following is None:
                    return


def open_table(item: Item, wanted: Wanted) -> TableFile:
    """Describe a table: its columns and how many rows it has; reads the file once, line by line.

    Raises:
        QConvertError: D003 (unreadable), D006 (columns missing).
    """
    return _open_json(item, wanted) if item.path.suffix.lower() == ".jsonl" else _open_csv(item, wanted)


def _open_csv(item: Item, wanted: Wanted) -> TableFile:
    delimiter = _delimiter(item)

    @contextmanager
    def every(item: Item) -> Iterator[Iterator[Record]]:
        with _lines(item) as file:
            reader = csv.reader(file, delimiter=delimiter)
            yield ((reader.line_num, cells) for cells in _guarded(reader, item) if any(c.strip() for c in cells))

    with every(item) as records:
        first, second = next(records, None), next(records, None)
    if first is None:
        return TableFile(item, (item.path,), wanted, rows=0)
    columns = find_columns(first[1], second[1] if second else None, wanted, item.name)

    @contextmanager
    def rows(item: Item) -> Iterator[Iterator[Record]]:
        with every(item) as records:
            if columns.header:
                next(records, None)
            yield records

    count, names = 0, set()
    with rows(item) as records:
        for line, cells in records:
            count += 1
            if not wanted.use_labels or columns.label is None or columns.label >= len(cells):
                continue
            label = number(cells[columns.label])
            if label == "":
                hint = "label all, or set `dataset.labels: none`"
                raise fail("D009", "the label is empty", f"{item.name}:{line}", hint)
            names |= {label} if isinstance(label, str) else set()
    return TableFile(
        item, (item.path,), wanted, count, True, wanted.use_labels and columns.label is not None, frozenset(names), _skipped(columns),
        rows, lambda cells, where: _parse_cells(cells, columns, where),
    )  # fmt: skip


def _skipped(columns: Columns) -> tuple[Diagnostic, ...]:
    if not columns.skipped:
        return ()
    text = f"columns that feed no input are ignored: {', '.join(columns.skipped)}"
    return (Diagnostic("D105", text, severity=Severity.NOTE),)


def _parse_cells(cells: Sequence[str], columns: Columns, where: str) -> tuple[dict[str, Array], Any]:
    if len(cells) != columns.width:
        raise fail("D003", f"{len(cells)} columns came, {columns.width} are wanted", where, "mend the line")
    arrays = {}
    for name, indices in columns.inputs.items():
        values = [number(cells[i]) for i in indices]
        bad = next((v for v in values if isinstance(v, str)), None)
        if bad is not None:
            raise fail("D003", f"not a number: `{bad}`", where, "every cell of an input needs a number")
        arrays[name] = np.asarray(values)
    return arrays, None if columns.label is None else number(cells[columns.label])


def _open_json(item: Item, wanted: Wanted) -> TableFile:
    @contextmanager
    def rows(item: Item) -> Iterator[Iterator[Record]]:
        with _lines(item) as file:
            yield ((n, line) for n, line in enumerate(_guarded(file, item), 1) if line.strip())

    count, labelled, names, bare = 0, 0, set(), ""
    with rows(item) as records:
        for line, text in records:
            count += 1
            record = _decode(text, f"{item.name}:{line}")
            label = _json_label(record, wanted) if wanted.use_labels else None
            labelled += label is not None
            bare = bare or (f"{item.name}:{line}" if label is None else "")
            names |= {label} if isinstance(label, str) else set()
    if 0 < labelled < count:
        raise fail(
            "D009", f"no label in {count - labelled} of {count} rows", bare, "label all, or set `dataset.labels: none`"
        )
    return TableFile(
        item, (item.path,), wanted, count, True, labelled > 0, frozenset(names), (),
        rows, lambda text, where: _parse_json(_decode(text, where), wanted, where),
    )  # fmt: skip


def _decode(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise fail("D003", f"not JSON: {error}", where, "one object or list a line") from error


def _json_label(record: Any, wanted: Wanted) -> Any | None:
    if not isinstance(record, dict):
        return None
    return next((record[n] for n in wanted.labels if n in record and n not in wanted.names), None)


def _parse_json(record: Any, wanted: Wanted, where: str) -> tuple[dict[str, Array], Any]:
    if not isinstance(record, dict):
        return {wanted.only("bare lists").name: _json_array(record, wanted.inputs[0], where)}, None
    others = [key for key in record if key not in wanted.labels or key in wanted.names]
    arrays = {}
    for inp in wanted.inputs:
        key = inp.array or inp.name
        if key not in record and inp.array is None and len(wanted.inputs) == 1 and len(others) == 1:
            key = others[0]
        if key not in record:
            raise fail(
                "D006",
                f"no key `{key}` for input `{inp.name}`; there are: {', '.join(record)}",
                where,
                "rename the key, or name it in `dataset.inputs`",
            )
        arrays[inp.name] = _json_array(record[key], inp, where)
    return arrays, _json_label(record, wanted)


def _json_array(value: Any, inp: Input, where: str) -> Array:
    try:
        array: Array = np.asarray(value)
    except (ValueError, OverflowError) as error:
        hint = "nested lists need equal lengths"
        raise fail("D004", f"input `{inp.name}`: the lists have different lengths", where, hint) from error
    if array.dtype.kind not in "biuf":
        raise fail("D005", f"input `{inp.name}`: not all values are numbers", where, "every value needs a number")
    if array.size == 0 and array.dtype == np.float64 and inp.dtype is not None:
        array = array.astype(inp.dtype)
    if inp.batched and inp.row is not None and array.ndim == len(inp.row) + 1 and array.shape[0] == 1:
        first: Array = array[0]
        return first
    return array


@contextmanager
def _lines(item: Item) -> Iterator[IO[str]]:
    with ExitStack() as stack:
        try:
            file = stack.enter_context(open(item.path, encoding="utf-8-sig", newline=""))
        except OSError as error:
            raise fail("D003", f"cannot be read: {error}", item.name, "check its permissions, or remove it") from error
        yield file


def _guarded(lines: Iterator[Any] | IO[str], item: Item) -> Iterator[Any]:
    try:
        yield from lines
    except BROKEN as error:
        raise fail("D003", f"cannot be read: {error}", item.name, "tables are UTF-8 text") from error


def _delimiter(item: Item) -> str:
    with _lines(item) as file:
        first = next((line for line in _guarded(file, item) if line.strip()), "")
    return max(",;\t", key=first.count)
