"""Reads a .tflite file of any origin back into values, by the same table of the schema by which files are written."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import flatbuffers.number_types as kinds
import numpy as np
from flatbuffers.table import Table

from ..emit.tflite.schema import IDENTIFIER, OPERATOR_NAMES, OPERATORS, TENSOR_TYPES, Slot, slots
from ..errors import fail
from ..graph import Array

_FLAGS = {
    "bool": kinds.BoolFlags,
    "int8": kinds.Int8Flags,
    "uint8": kinds.Uint8Flags,
    "int32": kinds.Int32Flags,
    "uint32": kinds.Uint32Flags,
    "int64": kinds.Int64Flags,
    "float32": kinds.Float32Flags,
}
_TYPES = {number: name for name, number in TENSOR_TYPES.items()}


@dataclass(frozen=True, eq=False)
class ReadTensor:
    """A tensor of a file: its data as the dtype says (int4: raw bytes), None for what is computed or fed.

    Attributes:
        variable: it keeps its content from one run to the next.
    """

    number: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: Array
    zero_point: Array
    axis: int
    data: Array | None
    variable: bool = False

    def __str__(self) -> str:
        return f"tensor {self.number}" + (f" `{self.name}`" if self.name else "")


@dataclass(frozen=True, eq=False)
class ReadOp:
    """An operator call of a file; `name` is "operator N" for one that is not in our table."""

    number: int
    name: str
    version: int
    inputs: tuple[ReadTensor | None, ...]
    outputs: tuple[ReadTensor, ...]
    options: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.name} {self.number}"


@dataclass(frozen=True, eq=False)
class ReadFile:
    """A file as far as the checks look at it; `misaligned` buffers do not start at a multiple of 16 bytes."""

    tensors: tuple[ReadTensor, ...]
    ops: tuple[ReadOp, ...]
    inputs: tuple[ReadTensor, ...]
    outputs: tuple[ReadTensor, ...]
    misaligned: tuple[int, ...]


def read_tflite(data: bytes, where: object = None) -> ReadFile:
    """Parse a file.

    Raises:
        QConvertError: M002 where it is no readable .tflite file.
    """
    if data[4:8] != IDENTIFIER:
        raise fail("M002", "no TFL3 identifier: not a .tflite file", where, "copy it or write it again")
    try:
        root = struct.unpack_from("<I", data)[0]
        return _file(_table(Table(data, root), "Model"), len(data))
    except (struct.error, IndexError, ValueError, KeyError, TypeError, UnicodeDecodeError, RecursionError) as error:
        raise fail(
            "M002", f"the .tflite file is damaged: {type(error).__name__}", where, "copy it or write it again"
        ) from error


def _table(table: Table, name: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for n, slot in enumerate(slots(name)):
        offset = table.Offset(4 + 2 * n)
        if slot is None:
            continue
        if not offset:
            found[slot.name] = [] if slot.vector else None if slot.kind not in _FLAGS else slot.default
        elif slot.kind != "union":
            found[slot.name] = _field(table, slot, offset)
        else:
            found[slot.name] = offset and Table(table.Bytes, table.Indirect(table.Pos + offset))
    return found


def _field(table: Table, slot: Slot, offset: int) -> Any:
    if slot.kind in _FLAGS and not slot.vector:
        return table.Get(_FLAGS[slot.kind], table.Pos + offset)
    if slot.kind == "string":
        return table.String(table.Pos + offset).decode()
    if slot.kind == "bytes":
        start, length = table.Vector(offset), table.VectorLen(offset)
        return (start, bytes(table.Bytes[start : start + length]))
    if slot.vector and slot.kind in _FLAGS:
        return np.frombuffer(table.Bytes, slot.kind, table.VectorLen(offset), table.Vector(offset))
    if slot.vector:
        start = table.Vector(offset)
        return [
            _table(Table(table.Bytes, table.Indirect(start + 4 * i)), slot.kind) for i in range(table.VectorLen(offset))
        ]
    return _table(Table(table.Bytes, table.Indirect(table.Pos + offset)), slot.kind)


def _file(model: dict[str, Any], size: int) -> ReadFile:
    graph = model["subgraphs"][0]
    buffers = [b["data"] for b in model["buffers"]]
    tensors = tuple(_tensor(n, t, buffers) for n, t in enumerate(graph["tensors"]))
    ops = tuple(_op(n, op, model["operator_codes"], tensors) for n, op in enumerate(graph["operators"]))
    wrong = tuple(n for n, b in enumerate(buffers) if b is not None and b[0] % 16)
    return ReadFile(tensors, ops, _chosen(graph["inputs"], tensors), _chosen(graph["outputs"], tensors), wrong)


def _chosen(numbers: Sequence[int], tensors: tuple[ReadTensor, ...]) -> tuple[ReadTensor, ...]:
    return tuple(tensors[n] for n in numbers)


def _tensor(number: int, row: dict[str, Any], buffers: list[Any]) -> ReadTensor:
    dtype, params = (
        _TYPES.get(int(row["type"]), f"type {row['type']}"),
        row["quantization"] or {"scale": [], "zero_point": [], "axis": 0},
    )
    stored = buffers[int(row["buffer"])]
    shape = tuple(int(d) for d in row["shape"])
    return ReadTensor(
        number,
        row["name"] or "",
        shape,
        dtype,
        np.asarray(params["scale"], np.float32),
        np.asarray(params["zero_point"], np.int64),
        int(params["axis"]),
        None if stored is None or not stored[1] else _array(stored[1], dtype, shape),
        bool(row["is_variable"]),
    )


def _array(data: bytes, dtype: str, shape: tuple[int, ...]) -> Array:
    if dtype == "int4" or dtype.startswith("type"):
        return np.frombuffer(data, np.uint8)
    return np.frombuffer(data, dtype).reshape(shape)


def _op(number: int, row: dict[str, Any], codes: list[dict[str, Any]], tensors: tuple[ReadTensor, ...]) -> ReadOp:
    code = codes[int(row["opcode"])]
    builtin = max(int(code["code"]), int(code["deprecated"]))  # older writers fill only the narrow field
    name = OPERATOR_NAMES.get(builtin, f"operator {builtin}")
    options = row["options"]
    known = OPERATORS.get(name)
    fields = _table(options, known.options) if known and known.options and options is not None else {}
    inputs = tuple(tensors[i] if i >= 0 else None for i in row["inputs"])
    return ReadOp(number, name, int(code["version"]), inputs, _chosen(row["outputs"], tensors), fields)
