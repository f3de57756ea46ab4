"""Reading and writing ONNX files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import onnx
from google.protobuf.message import DecodeError

from ..errors import fail
from .model import Graph, TensorType
from .proto import from_proto, inside, to_proto
from .weights import Held, Mapped, Weight, onnx_dtype

MIN_OPSET = 7
EXTERNAL_ABOVE = 1_800_000_000  # protobuf ends at 2 GiB; leave room for the graph itself
_INSIDE_BELOW = 256  # bytes; parameters such as axes and scales are read with the graph
_ALIGNMENT = 65_536  # runtimes map weights into memory in such steps (64 KiB is the granularity of Windows)


def load(path: str | os.PathLike[str]) -> Graph:
    """Read a model; weights in external data stay memory-mapped.

    Raises:
        QConvertError: M001 to M005, M007 with the file and what to do.
    """
    path = Path(path)
    proto = _parse(path)
    opset = {o.domain: o.version for o in proto.opset_import}
    if opset.get("", opset.get("ai.onnx", MIN_OPSET)) < MIN_OPSET:
        raise fail(
            "M007",
            f"opset {opset.get('')}, at least {MIN_OPSET} is needed",
            path,
            "re-export the model with a newer opset",
        )
    _check_external(path, proto)
    _check(path, proto)
    try:
        return from_proto(proto, path.parent.resolve())
    except Exception as error:
        raise fail("M005", f"the graph cannot be read: {_first_line(error)}", path, "export the model again") from error


def save(
    graph: Graph,
    path: str | os.PathLike[str],
    progress: Callable[[int, int], None] | None = None,
    outside: bool | None = None,
) -> list[Path]:
    """Write a model; large ones put their weights into `<name>.data` beside it, each produced only while it is written.

    Args:
        graph: what to write.
        path: the `.onnx` file; the folder must exist.
        progress: called with (weights written, weights in all) for external data.
        outside: weights beside the model; None: only where they are too many for one file.

    Returns:
        The files written, the model first.
    """
    path = Path(path)
    if not outside and sum(w.nbytes for w in graph.weights.values()) < EXTERNAL_ABOVE:
        path.write_bytes(serialize(graph))
        return [path]
    data = path.with_name(path.name + ".data")
    count = sum(w.nbytes >= _INSIDE_BELOW for w in graph.weights.values())
    with data.open("wb") as file:
        store = _Outside(file, data.name, count, progress)
        proto = to_proto(_without_claims(graph), store)
    path.write_bytes(proto.SerializeToString(deterministic=True))
    return [path, data]


def referenced(graph: Graph, data: Path) -> tuple[bytes, Path]:
    """The model as bytes whose weights lie in files: mapped ones stay where they are, others are written, one after the other.

    Args:
        data: where weights are written that lie in no file yet.

    Returns:
        The model, and the folder that the places of its weights are relative to.
    """
    files = {w.path.resolve() for w in graph.weights.values() if isinstance(w, Mapped)}
    root = Path(os.path.commonpath([file.parent for file in (*files, data.resolve())]))
    with data.open("wb") as file:
        store = _Outside(file, data.resolve().relative_to(root).as_posix(), len(graph.weights), None)

        def place(name: str, value: Weight) -> onnx.TensorProto:
            if value.nbytes < _ALIGNMENT and isinstance(value, Held):
                return inside(name, value)
            if not isinstance(value, Mapped) or value.nbytes < _INSIDE_BELOW:
                return store(name, value)
            return _outside(name, value, value.path.resolve().relative_to(root).as_posix(), value.offset)

        return bytes(to_proto(_without_claims(graph), place).SerializeToString(deterministic=True)), root


def bytes_outside(path: Path) -> int:
    """Bytes of the weights that a model keeps outside of its file."""
    proto = onnx.load(path, load_external_data=False)
    entries = (e for t in _tensors(proto.graph) if t.data_location == t.EXTERNAL for e in t.external_data)
    return sum(int(e.value) for e in entries if e.key == "length")


class _Outside:
    """Writes weights into a file beside the model, one after the other."""

    def __init__(self, file: BinaryIO, location: str, total: int, progress: Callable[[int, int], None] | None) -> None:
        self._file, self._location, self._total, self._progress = file, location, total, progress
        self._done = 0

    def __call__(self, name: str, value: Weight) -> onnx.TensorProto:
        if value.nbytes < _INSIDE_BELOW or value.dtype == "string":
            return inside(name, value)
        self._file.write(bytes(-self._file.tell() % _ALIGNMENT))
        offset = self._file.tell()
        self._file.write(value.stored())
        self._done += 1
        if self._progress:
            self._progress(self._done, self._total)
        return _outside(name, value, self._location, offset)


def _outside(name: str, value: Weight, location: str, offset: int) -> onnx.TensorProto:
    """A weight as a message that says where its content lies."""
    place = {"location": location, "offset": offset, "length": value.nbytes}
    return onnx.TensorProto(
        name=name,
        dims=value.shape,
        data_type=onnx_dtype(value.dtype),
        data_location=onnx.TensorProto.EXTERNAL,
        external_data=[onnx.StringStringEntryProto(key=k, value=str(v)) for k, v in place.items()],
    )


def rename_data(path: Path, name: str) -> None:
    """Let a written model look for its external data in a file of another name beside it."""
    proto = onnx.load(path, load_external_data=False)
    for entry in (e for tensor in _tensors(proto.graph) for e in tensor.external_data if e.key == "location"):
        entry.value = name
    path.write_bytes(proto.SerializeToString(deterministic=True))


def serialize(graph: Graph) -> bytes:
    """The model as protobuf bytes, the same for the same graph in every process."""
    return bytes(to_proto(_without_claims(graph)).SerializeToString(deterministic=True))


def _without_claims(graph: Graph) -> Graph:
    """The graph without names for open sizes between its inputs and outputs.

    Exporters give one name to sizes that differ, mostly of outputs, and a runtime lets values of equal name and type share memory.
    It infers by itself what follows from the inputs.
    """
    ends = {*graph.inputs, *graph.outputs}
    return graph.with_(types={name: kind if name in ends else _unnamed(kind) for name, kind in graph.types.items()})


def _unnamed(kind: TensorType) -> TensorType:
    shape = kind.shape and tuple(dim if isinstance(dim, int) else None for dim in kind.shape)
    return TensorType(kind.dtype, shape)


def _parse(path: Path) -> onnx.ModelProto:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise fail(
            "M001", f"the model cannot be read: {error.strerror}", path, "check the path and its permissions"
        ) from error
    if content.startswith(b"version https://git-lfs"):
        raise fail("M002", "this is a pointer of Git LFS, not the model itself", path, "run `git lfs pull`")
    if content[4:8] == b"TFL3":
        text = "this is a .tflite file, not an ONNX model"
        raise fail(
            "M002", text, path, "`qconvert check`, `evaluate` and `compare` read it; convert from the ONNX model"
        )
    try:
        proto: onnx.ModelProto = onnx.ModelProto.FromString(content)
    except DecodeError as error:
        raise fail(
            "M002", f"not a readable ONNX protobuf ({len(content)} bytes)", path, "is it complete, and an .onnx file?"
        ) from error
    if not proto.opset_import or not (proto.graph.node or proto.graph.output):
        raise fail("M002", f"no graph in this file ({len(content)} bytes)", path, "is it complete, and an .onnx file?")
    if not proto.graph.output:
        raise fail("M005", "the graph has no outputs", path, "re-export the model with at least one output")
    return proto


def _check_external(path: Path, proto: onnx.ModelProto) -> None:
    """Refuse external data that is missing, too short or outside of the model's folder."""
    root = path.parent.resolve()
    for tensor in _tensors(proto.graph):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        info = {entry.key: entry.value for entry in tensor.external_data}
        location = info.get("location", "")
        file = (root / location).resolve()
        if not location or Path(location).is_absolute() or not file.is_relative_to(root):
            raise fail(
                "M004",
                f"weight `{tensor.name}` asks for `{location}`, outside of the model's folder",
                path,
                "re-save the model with its data beside it",
            )
        if not file.is_file():
            raise fail(
                "M003",
                f"weight `{tensor.name}` is in `{location}`, which does not exist",
                path,
                f"copy `{location}` into {path.parent}",
            )
        numbers = [info.get(key) or "0" for key in ("offset", "length")]
        if not all(number.isdecimal() for number in numbers):
            raise fail(
                "M002",
                f"weight `{tensor.name}` has no proper place in `{location}`: {' and '.join(numbers)}",
                path,
                "re-export the model",
            )
        wanted = sum(map(int, numbers))
        if file.stat().st_size < wanted:
            raise fail(
                "M003",
                f"`{location}` has {file.stat().st_size} bytes, weight `{tensor.name}` ends at {wanted}",
                path,
                "copy the file again",
            )


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Every tensor of a graph: weights, attributes, and those of bodies and sparse weights."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for attribute in (a for node in graph.node for a in node.attribute):
        yield from (t for t in (attribute.t, *attribute.tensors) if t.data_type)
        for body in (attribute.g, *attribute.graphs):
            yield from _tensors(body)


def _check(path: Path, proto: onnx.ModelProto) -> None:
    try:
        if proto.ByteSize() < EXTERNAL_ABOVE:
            onnx.checker.check_model(proto if not _has_external(proto) else str(path))
        else:
            onnx.checker.check_model(str(path))
    except onnx.checker.ValidationError as error:
        text = " ".join(str(error).partition("==>")[0].split())
        # Operators of other domains have no schema; whether the runtime knows them is asked later, with a better message.
        if "No Op registered" in text or "No opset import for domain" in text:
            return
        if text.startswith("Field 'shape' of 'type' is required"):
            raise fail(
                "M010",
                "an input or output has no shape, not even a rank",
                path,
                "re-export the model with shapes; dimensions may be symbolic",
            ) from error
        raise fail(
            "M005",
            f"the ONNX checker refuses the model: {text[:400]}",
            path,
            "export the model again, or mend that place",
        ) from error


def _has_external(proto: onnx.ModelProto) -> bool:
    return any(t.data_location == onnx.TensorProto.EXTERNAL for t in _tensors(proto.graph))


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
