"""How named arrays become rows: which array feeds which input, which axis counts rows, where the label is.

A row of an input is what one sample holds without the batch axis. An array with one axis more than a row is many rows, an
array of the same rank is one. An input without a batch axis may share one array among all rows of its file.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import Diagnostic, QConvertError, Severity
from .check import Shape, check_shapes, transposed
from .inputs import Input, Wanted
from .preprocess import Style, cast_error, castable, final_shape

if TYPE_CHECKING:
    from ..graph import Array


@dataclass(frozen=True)
class Header:
    """Shape and type of an array that was not read."""

    shape: Shape
    dtype: np.dtype[Any]

    @property
    def nbytes(self) -> int:
        """Size of the data in bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class Binding:
    """How one array feeds one input.

    Attributes:
        indexed: the first axis counts rows.
        keep: an indexed row keeps an axis of size 1 (an input of rank 1 that follows the rows of the others).
        shape: shape of a row as it lies in the file.
        axes: transposition of a row to the model's layout, None for none.
    """

    input: str
    array: str
    dtype: np.dtype[Any]
    indexed: bool
    keep: bool
    shape: Shape
    axes: tuple[int, int, int] | None = None


@dataclass(frozen=True)
class RowPlan:
    """How one file's arrays become rows; `numbered` is False where the file is one sample without a row axis."""

    feeds: tuple[Binding, ...] = ()
    rows: int = 1
    numbered: bool = False
    label: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The arrays that are needed."""
        return tuple(dict.fromkeys([*(f.array for f in self.feeds), *([self.label] if self.label else [])]))


def plan_rows(headers: Mapping[str, Header], wanted: Wanted, where: str) -> RowPlan:
    """Decide how the arrays of a file become rows.

    Raises:
        QConvertError: D004 (row counts differ), D006 (input missing), D009 (labels do not fit).
    """
    label = next((n for n in wanted.labels if n in headers and n not in wanted.names), None)
    arrays = _match(headers, wanted, label, where)
    indexed = {i.name: _is_indexed(headers[arrays[i.name]], i) for i in wanted.inputs}
    counts = {name: headers[arrays[name]].shape[0] for name, many in indexed.items() if many}
    rows = _row_count(counts, wanted, headers, arrays, where)
    feeds = [_feed(i, arrays[i.name], headers[arrays[i.name]], indexed[i.name], rows) for i in wanted.inputs]
    numbered = any(f.indexed for f in feeds)
    if label is None or not wanted.use_labels:
        return RowPlan(tuple(feeds), rows, numbered)
    _check_label(headers[label], label, rows, numbered, where)
    return RowPlan(tuple(feeds), rows, numbered, label)


def plan_notes(plan: RowPlan, headers: Mapping[str, Header], wanted: Wanted) -> tuple[Diagnostic, ...]:
    """What a person should know: casts, an array taken for an input of another name, arrays that are ignored."""
    by_name = {i.name: i for i in wanted.inputs}
    found = []
    for feed in plan.feeds:
        inp = by_name[feed.input]
        if castable(feed.dtype, inp.dtype, inp.pre) in ("safe", "value"):
            text = f"input `{inp.name}`: {feed.dtype} values are cast to {inp.dtype} without loss"
            found.append(Diagnostic("D104", text, severity=Severity.NOTE))
        if feed.array not in (inp.name, inp.array):
            text = f"array `{feed.array}` is taken for the only input `{inp.name}`"
            found.append(Diagnostic("D105", text, severity=Severity.NOTE))
    extra = sorted(headers.keys() - set(plan.names))
    if extra:
        text = f"arrays that are no input of the model are ignored: {', '.join(extra)}"
        found.append(Diagnostic("D105", text, severity=Severity.NOTE))
    return tuple(found)


def check_plan(plan: RowPlan, wanted: Wanted, where: str, style: Style | None = None) -> list[Diagnostic]:
    """D004 and D005 for every input that the arrays of a file do not fit."""
    by_name = {i.name: i for i in wanted.inputs}
    found, shapes = [], {}
    for feed in plan.feeds:
        inp = by_name[feed.input]
        if castable(feed.dtype, inp.dtype, inp.pre) == "no":
            found.append(cast_error(feed.dtype, inp, where))
        shape = feed.shape if feed.axes is None else tuple(feed.shape[a] for a in feed.axes)
        shapes[inp.name] = final_shape(shape, inp, style or Style())
    return found + check_shapes(shapes, wanted, where)


def row_arrays(plan: RowPlan, arrays: Mapping[str, Array], index: int) -> dict[str, Array]:
    """The arrays of one row, in the model's layout and the file's type."""
    return {f.input: _slice(f, arrays[f.array], index) for f in plan.feeds}


def row_label(plan: RowPlan, arrays: Mapping[str, Array], index: int) -> Any | None:
    """The label of one row: a number, or an array if there are several a row; None without labels."""
    if plan.label is None:
        return None
    label = arrays[plan.label]
    value = label[index] if plan.numbered and label.ndim else label
    return value.item() if value.size == 1 else value.copy()


def _match(headers: Mapping[str, Header], wanted: Wanted, label: str | None, where: str) -> dict[str, str]:
    others = [n for n in headers if n != label]
    found, missing = {}, []
    for inp in wanted.inputs:
        name = inp.array or inp.name
        if name not in headers and inp.array is None and len(wanted.inputs) == 1 and len(others) == 1:
            name = others[0]
        found[inp.name] = name
        if name not in headers:
            missing.append(_missing(inp, name, headers, where))
    if missing:
        raise QConvertError(missing)
    return found


def _missing(inp: Input, name: str, names: Iterable[str], where: str) -> Diagnostic:
    hint = f"`dataset.inputs.{inp.name}.array` says which array feeds it, or save one of that name"
    return Diagnostic(
        "D006", f"no array `{name}` for input `{inp.name}`; there are: {', '.join(names) or 'none'}", where, hint
    )


def _is_indexed(header: Header, inp: Input) -> bool:
    if inp.row is None:
        return bool(header.shape)
    return len(header.shape) == len(inp.row) + 1


def _row_count(
    counts: dict[str, int], wanted: Wanted, headers: Mapping[str, Header], arrays: Mapping[str, str], where: str
) -> int:
    if not counts:
        return 1
    whole = {i.name: 1 for i in wanted.inputs if i.batched and i.name not in counts and i.row is not None}
    rank_right = {n: c for n, c in whole.items() if _rank_fits(headers[arrays[n]], n, wanted)}
    seen = {**counts, **rank_right}
    shareable = {i.name for i in wanted.inputs if i.shape is not None and len(i.shape) == 1}
    rows = max((c for n, c in counts.items() if n not in shareable), default=max(counts.values()))
    wrong = {n: c for n, c in seen.items() if c != rows and not (n in shareable and c == 1)}
    if wrong:
        text = ", ".join(f"`{n}` {c}" for n, c in seen.items())
        raise QConvertError([Diagnostic("D004", f"the inputs have different numbers of rows: {text}", where)])
    return rows


def _rank_fits(header: Header, name: str, wanted: Wanted) -> bool:
    row = next(i.row for i in wanted.inputs if i.name == name)
    return row is not None and len(header.shape) == len(row)


def _feed(inp: Input, array: str, header: Header, indexed: bool, rows: int) -> Binding:
    shape, keep = header.shape, False
    if indexed and shape[0] == 1 != rows:
        indexed, shape = False, shape[1:]
        return Binding(inp.name, array, header.dtype, indexed, True, shape)
    if not indexed and rows > 1 and shape == (rows,) and inp.row is not None and len(inp.row) == 1:
        keep = indexed = not isinstance(inp.row[0], int)
        return Binding(inp.name, array, header.dtype, indexed, keep, (1,) if keep else shape)
    shape = shape[1:] if indexed else shape
    axes = transposed(shape, inp.row or ()) if inp.pre.layout is not None else None
    return Binding(inp.name, array, header.dtype, indexed, keep, shape, axes)


def _slice(feed: Binding, array: Array, index: int) -> Array:
    if feed.keep:
        return array[index : index + 1] if feed.indexed else array[0]
    row = array[index] if feed.indexed else array
    return row.transpose(feed.axes) if feed.axes is not None else row


def _check_label(header: Header, name: str, rows: int, numbered: bool, where: str) -> None:
    if numbered and header.shape[:1] != (rows,) and not (rows == 1 and not header.shape):
        came = header.shape[0] if header.shape else 1
        raise QConvertError([Diagnostic("D009", f"`{name}` has {came} labels for {rows} rows", where)])
    if header.dtype.kind not in "biuf":
        hint = "save class numbers"
        raise QConvertError([Diagnostic("D009", f"`{name}` holds {header.dtype}, not numbers", where, hint)])
