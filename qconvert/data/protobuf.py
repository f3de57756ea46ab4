"""ONNX test data: folders of input_N.pb files, one TensorProto an input in graph order; output_N.pb is ignored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import Diagnostic, QConvertError, Severity, fail
from .arrays import ArrayFile, array_file
from .inputs import Wanted
from .rows import Header
from .source import Item

if TYPE_CHECKING:
    from ..graph import Array


def open_protobuf(item: Item, wanted: Wanted) -> ArrayFile:
    """Describe a folder of input_N.pb files; they are parsed one after the other, their data is not kept.

    Raises:
        QConvertError: D003 (not a tensor), D004 (row counts differ), D006 (input missing).
    """
    files, mistakes = _files(item, wanted)
    headers = {}
    for name, path in files.items():
        try:
            array = read_tensor(path, f"{item.name}/{path.name}")
            headers[name] = Header(array.shape, array.dtype)
        except QConvertError as error:
            mistakes.extend(error.diagnostics)
    if mistakes:
        raise QConvertError(mistakes)

    @contextmanager
    def load(_: Item, names: tuple[str, ...]) -> Iterator[Mapping[str, Array]]:
        yield {name: read_tensor(files[name], f"{item.name}/{files[name].name}") for name in names}

    source = array_file(item, wanted, headers, load, tuple(files.values()))
    return source if len(_numbers(item.path)) <= len(wanted.inputs) else _with_note(source, item)


def read_tensor(path: Path, where: str) -> Array:
    """The array of a serialized TensorProto.

    Raises:
        QConvertError: D003.
    """
    import onnx
    from google.protobuf.message import DecodeError

    tensor = onnx.TensorProto()
    try:
        tensor.ParseFromString(path.read_bytes())
        if not tensor.data_type:
            raise ValueError("not a tensor")
        return onnx.numpy_helper.to_array(tensor)
    except (OSError, DecodeError, ValueError, TypeError, KeyError) as error:
        raise fail("D003", f"cannot be read: {error}", where, "it should be a serialized ONNX TensorProto") from error


def _files(item: Item, wanted: Wanted) -> tuple[dict[str, Path], list[Diagnostic]]:
    present = _numbers(item.path)
    names = [inp.array or inp.name for inp in wanted.inputs]
    missing = [
        Diagnostic("D006", f"no input_{n}.pb for input `{name}`", item.name, "the files are numbered in graph order")
        for n, name in enumerate(names)
        if n not in present
    ]
    return {name: present[n] for n, name in enumerate(names) if n in present}, missing


def _numbers(folder: Path) -> dict[int, Path]:
    return {int(p.stem.removeprefix("input_")): p for p in sorted(folder.glob("input_[0-9]*.pb"))}


def _with_note(source: ArrayFile, item: Item) -> ArrayFile:
    from dataclasses import replace

    text = f"more input files than the model's {len(source.wanted.inputs)} inputs; the rest is ignored"
    return replace(source, notes=(*source.notes, Diagnostic("D105", text, severity=Severity.NOTE)))
