""".npy and .npz files: headers tell rows, shapes and types; data is read only while iterating."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from ..errors import Diagnostic, QConvertError, fail
from .inputs import Wanted
from .rows import Header, RowPlan, check_plan, plan_notes, plan_rows, row_arrays, row_label
from .source import Item, Row, Source

if TYPE_CHECKING:
    from ..graph import Array

BROKEN = (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, NotImplementedError)


@dataclass(frozen=True)
class ArrayFile(Source):
    """A file of named arrays; `plan` says how its arrays become rows, `load` opens them."""

    plan: RowPlan = field(default_factory=RowPlan)
    load: Callable[[Item, tuple[str, ...]], Any] | None = None

    def check(self, rows: Sequence[int]) -> list[Diagnostic]:
        """Compare the headers with the inputs; all rows of a file have the same shape."""
        return check_plan(self.plan, self.wanted, self.name)

    def read(self, rows: Sequence[int]) -> Iterator[Row]:
        """Slice the rows out of the arrays, which are opened once."""
        assert self.load is not None
        with self.load(self.item, self.plan.names) as arrays:
            for index in rows:
                yield Row(index, row_arrays(self.plan, arrays, index), row_label(self.plan, arrays, index))


def open_arrays(item: Item, wanted: Wanted) -> ArrayFile:
    """Describe a .npy or .npz file from its headers.

    Raises:
        QConvertError: D003 (unreadable), D004 (row counts differ), D006 (input missing), D009 (labels of another length).
    """
    single = item.path.suffix.lower() == ".npy"
    if single:
        headers = {wanted.only("files of one array").array or wanted.inputs[0].name: _npy_header(item)}
    else:
        headers = _npz_headers(item)
    return array_file(item, wanted, headers, load_npy if single else load_npz, (item.path,))


def array_file(
    item: Item,
    wanted: Wanted,
    headers: Mapping[str, Header],
    load: Callable[[Item, tuple[str, ...]], Any],
    files: tuple[Path, ...],
) -> ArrayFile:
    """A source for arrays with these headers, wherever they come from."""
    plan = plan_rows(headers, wanted, item.name)
    notes = plan_notes(plan, headers, wanted)
    labelled = plan.label is not None
    return ArrayFile(item, files, wanted, plan.rows, plan.numbered, labelled, frozenset(), notes, plan, load)


@contextmanager
def load_npy(item: Item, names: tuple[str, ...]) -> Iterator[Mapping[str, Array]]:
    """The one array of a .npy file, memory-mapped where it is not empty."""
    try:
        array = np.load(item.path, mmap_mode="r", allow_pickle=False)
    except BROKEN as error:
        raise unreadable(item, error) from error
    yield {names[0]: array.view(np.ndarray)}


@contextmanager
def load_npz(item: Item, names: tuple[str, ...]) -> Iterator[Mapping[str, Array]]:
    """The named arrays of a .npz file, in memory."""
    with ExitStack() as stack:
        try:
            archive = stack.enter_context(np.load(item.path, allow_pickle=False))
            arrays = {name: archive[name] for name in names}
        except BROKEN as error:
            raise unreadable(item, error) from error
        yield arrays


def unreadable(item: Item, error: Exception, where: str | None = None) -> QConvertError:
    """D003 for a file that is not what its name says."""
    text = str(error).split("\n")[0] or type(error).__name__
    hint = "mend or remove the file"
    if "pickle" in text.lower() or "Object" in text:
        text, hint = "it holds Python objects instead of numbers", "save arrays of one numeric type and one shape"
    return fail("D003", f"cannot be read: {text}", where or item.name, hint)


def _npy_header(item: Item) -> Header:
    try:
        with open(item.path, "rb") as file:
            header = _read_header(file)
            left = item.path.stat().st_size - file.tell()
    except BROKEN as error:
        raise unreadable(item, error) from error
    if left < header.nbytes:
        raise unreadable(item, ValueError(f"{header.nbytes} bytes of data announced, {left} there"))
    return header


def _npz_headers(item: Item) -> dict[str, Header]:
    headers = {}
    try:
        with zipfile.ZipFile(item.path) as archive:
            for name in archive.namelist():
                with archive.open(name) as file:
                    headers[name.removesuffix(".npy")] = _read_header(file)
    except BROKEN as error:
        raise unreadable(item, error) from error
    return headers


def _read_header(file: IO[bytes]) -> Header:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    if dtype.hasobject:
        raise ValueError("Object arrays")
    return Header(tuple(shape), dtype)
