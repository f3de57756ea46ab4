"""Bytes of a .tflite file: a small generic writer over the tables of `schema`; equal values give equal bytes.

The vectors of `Buffer.data` start at multiples of 16 bytes (`force_align: 16` in schema.fbs), as kernels read them in place.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import flatbuffers
import numpy as np

from ...graph import Array
from .model import File, Tensor
from .schema import IDENTIFIER, OPERATORS, TENSOR_TYPES, VERSION, Slot, slots

_ALIGNMENT = 16
_MAX_INT8 = 127  # operator codes above it stand in the wider field alone


def pack(file: File) -> bytes:
    """The file as bytes."""
    writer = _Writer()
    root = writer.table("Model", _model(file))
    writer.builder.Finish(root, IDENTIFIER)
    return bytes(writer.builder.Output())


def _model(file: File) -> dict[str, Any]:
    codes = sorted({(OPERATORS[op.name].code, op.version) for op in file.ops})
    buffers: dict[bytes, int] = {b"": 0}
    tensors = [_tensor(t, buffers) for t in file.tensors]
    metadata = [
        {"name": key, "buffer": _buffer(value.encode(), buffers)} for key, value in sorted(file.metadata.items())
    ]
    graph = {
        "tensors": tensors,
        "inputs": np.array(file.inputs, np.int32),
        "outputs": np.array(file.outputs, np.int32),
        "operators": [_operator(op, codes) for op in file.ops],
    }
    return {
        "version": VERSION,
        "operator_codes": [
            {"deprecated": min(code, _MAX_INT8), "version": version, "code": code} for code, version in codes
        ],
        "subgraphs": [graph],
        "description": file.description,
        "buffers": [{"data": data} if data else {} for data in buffers],
        **({"metadata": metadata} if metadata else {}),
    }


def _operator(op: Any, codes: list[tuple[int, int]]) -> dict[str, Any]:
    row = OPERATORS[op.name]
    found: dict[str, Any] = {
        "opcode": codes.index((row.code, op.version)),
        "inputs": np.array(op.inputs, np.int32),
        "outputs": np.array(op.outputs, np.int32),
    }
    if row.options:
        found |= {"options_type": row.union, "options": (row.options, op.options)}
    if op.intermediates:
        found["intermediates"] = np.array(op.intermediates, np.int32)
    return found


def _tensor(tensor: Tensor, buffers: dict[bytes, int]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "shape": np.array(tensor.shape, np.int32),
        "type": TENSOR_TYPES[tensor.dtype],
        "buffer": 0 if tensor.data is None else _buffer(_content(tensor), buffers),
        "is_variable": tensor.variable,
    }
    if tensor.name:
        found["name"] = tensor.name
    if tensor.scale is not None and tensor.zero_point is not None:
        found["quantization"] = {
            "scale": tensor.scale.reshape(-1).astype(np.float32),
            "zero_point": tensor.zero_point.reshape(-1).astype(np.int64),
            "axis": tensor.axis,
        }
    return found


def _buffer(data: bytes, buffers: dict[bytes, int]) -> int:
    """Number of a buffer with this content; equal contents share one."""
    return buffers.setdefault(data, len(buffers))


def _content(tensor: Tensor) -> bytes:
    assert tensor.data is not None
    return packed_int4(tensor.data) if tensor.dtype == "int4" else np.ascontiguousarray(tensor.data).tobytes()


def packed_int4(values: Array) -> bytes:
    """Two values a byte, the first in the low half (schema.fbs, INT4)."""
    flat = values.reshape(-1).astype(np.int8)
    pairs = np.concatenate([flat, np.zeros(flat.size % 2, np.int8)]).reshape(-1, 2).astype(np.uint8) & 0xF
    return bytes((pairs[:, 0] | (pairs[:, 1] << 4)).astype(np.uint8).tobytes())


class _Writer:
    """Writes tables from dictionaries; equal vectors, strings and quantization parameters are stored once."""

    def __init__(self) -> None:
        self.builder = flatbuffers.Builder(1 << 16)
        self._vectors: dict[tuple[str, bytes], int] = {}

    def table(self, name: str, values: Mapping[str, Any]) -> int:
        fields = [(n, slot) for n, slot in enumerate(slots(name)) if slot is not None and slot.name in values]
        ready = {slot.name: self._child(slot, values[slot.name]) for _, slot in fields if _is_offset(slot)}
        key = (
            name,
            repr(sorted(ready.items())).encode()
            + repr([(s.name, values[s.name]) for _, s in fields if s.name not in ready]).encode(),
        )
        if name in _SHARED and key in self._vectors:
            return self._vectors[key]
        self.builder.StartObject(len(slots(name)))
        for n, slot in fields:
            self._add(n, slot, ready.get(slot.name, values[slot.name]))
        found = self._vectors[key] = int(self.builder.EndObject())
        return found

    def _add(self, number: int, slot: Slot, value: Any) -> None:
        if _is_offset(slot):
            self.builder.PrependUOffsetTRelativeSlot(number, value, 0)
            return
        prepend = getattr(self.builder, f"Prepend{_SCALARS[slot.kind]}Slot")
        whole = slot.kind != "float32"
        prepend(number, int(value) if whole else float(value), int(slot.default) if whole else slot.default)

    def _child(self, slot: Slot, value: Any) -> int:
        if slot.kind == "union":
            return self.table(*value)
        if slot.kind == "bytes":
            return self._aligned(value)
        if slot.kind == "string":
            return self._once("string", value.encode(), self.builder.CreateString)
        if not slot.vector:
            return self.table(slot.kind, value)
        if slot.kind in _SCALARS:
            array = np.ascontiguousarray(value, dtype=slot.kind)
            return self._once(slot.kind, array.tobytes(), lambda _: self.builder.CreateNumpyVector(array))
        return self._tables([self.table(slot.kind, v) for v in value])

    def _once(self, kind: str, data: bytes, make: Any) -> int:
        if (kind, data) not in self._vectors:
            self._vectors[kind, data] = int(make(data))
        return self._vectors[kind, data]

    def _tables(self, offsets: list[int]) -> int:
        self.builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self.builder.PrependUOffsetTRelative(offset)
        return int(self.builder.EndVector())

    def _aligned(self, data: bytes) -> int:
        builder = self.builder
        builder.StartVector(1, len(data), _ALIGNMENT)
        builder.head = builder.Head() - len(data)
        builder.Bytes[builder.Head() : builder.Head() + len(data)] = data
        return int(builder.EndVector())


_SHARED = {"QuantizationParameters"}
_SCALARS = {
    "bool": "Bool",
    "int8": "Int8",
    "uint8": "Uint8",
    "int32": "Int32",
    "uint32": "Uint32",
    "int64": "Int64",
    "float32": "Float32",
}


def _is_offset(slot: Slot) -> bool:
    return slot.vector or slot.kind not in _SCALARS
