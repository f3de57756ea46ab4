"""C++ sources beside a .tflite file: the model as an array, the resolver with exactly its operators, and golden vectors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from io import BytesIO
from typing import Any

import numpy as np

from ...graph import Array
from .model import Artefact, Binding
from .schema import OPERATORS

_LINE = 12  # bytes a line of the array
_BYTES = tuple(f"0x{byte:02x}" for byte in range(256))
_CTYPES = {
    "int8": "int8_t",
    "int16": "int16_t",
    "int32": "int32_t",
    "int64": "int64_t",
    "float32": "float",
    "bool": "bool",
    "uint8": "uint8_t",
}


def identifier(stem: str) -> str:
    """A file's stem as a C++ name."""
    name = re.sub(r"\W", "_", stem)
    return f"_{name}" if not name or name[0].isdigit() else name


def data_header(stem: str) -> str:
    """`<stem>_data.h`."""
    name = identifier(stem)
    return f"""// The model as an array, for firmware that links it. Written by qconvert.
#pragma once

extern const unsigned char {name}_data[];
extern const unsigned int {name}_data_size;
"""


def data_source(stem: str, data: bytes) -> str:
    """`<stem>_data.cc`: the bytes of the file; 16-byte aligned, as TFLM reads constants in place."""
    name = identifier(stem)
    texts = [_BYTES[byte] for byte in data]
    rows = (", ".join(texts[n : n + _LINE]) for n in range(0, len(texts), _LINE))
    body = ",\n".join(f"    {row}" for row in rows)
    return f"""// The bytes of {stem}.tflite. Written by qconvert.
#include "{stem}_data.h"

alignas(16) const unsigned char {name}_data[] = {{
{body}}};
const unsigned int {name}_data_size = sizeof({name}_data);
"""


def ops_header(stem: str, artefact: Artefact, arena: int, arena_source: str) -> str:
    """`<stem>_ops.h`: resolver, arena size, and what the inputs and outputs mean.

    Args:
        arena: recommended bytes; arena_source: how that figure came about, for the comment.
    """
    name = identifier(stem)
    calls = "\n".join(f"  TF_LITE_ENSURE_STATUS(resolver.{OPERATORS[op].method}());" for op in artefact.ops)
    ends = "\n".join(
        _end(kind, n, b)
        for kind, found in (("input", artefact.inputs), ("output", artefact.outputs))
        for n, b in enumerate(found)
    )
    return f"""// What {stem}.tflite needs to run in TensorFlow Lite Micro. Written by qconvert.
#pragma once

#include <cstdint>

#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"

namespace {name} {{

// {arena_source}
constexpr int kArenaSize = {arena};

constexpr int kOperators = {len(artefact.ops)};
using Resolver = tflite::MicroMutableOpResolver<kOperators>;

inline TfLiteStatus RegisterOps(Resolver& resolver) {{
{calls}
  return kTfLiteOk;
}}

{ends}
}}  // namespace {name}
"""


def _end(kind: str, number: int, end: Binding) -> str:
    title = f"k{kind.capitalize()}{number}"
    shape = ", ".join(map(str, end.stored))
    lines = [
        f"// {kind} {number}: `{end.name}`, {layout_text(end)}",
        f"constexpr int {title}Shape[] = {{{shape or 1}}};",
        f"constexpr int {title}Size = {int(np.prod(end.stored))};",
    ]
    if end.scale:
        lines += [
            f"// real = (code - {title}ZeroPoint) * {title}Scale",
            f"constexpr float {title}Scale = {_float(end.scale)};",
            f"constexpr int {title}ZeroPoint = {end.zero_point};",
        ]
    return "\n".join(lines) + "\n"


def _float(value: float) -> str:
    return (
        f"{np.float32(value):.9g}".replace("inf", "INFINITY")
        + ("" if "." in f"{np.float32(value):.9g}" or "e" in f"{np.float32(value):.9g}" else ".0")
        + "f"
    )


def layout_text(end: Binding) -> str:
    """Type and axes of an input or output, in words."""
    stored = "x".join(map(str, end.stored)) or "scalar"
    wanted = "x".join(map(str, end.shape)) or "scalar"
    moved = [o for o in end.order if end.shape[o] != 1]
    same = moved == sorted(moved)
    if end.stored == end.shape and same:
        return f"{end.stored_dtype} {stored}"
    named = [] if same and end.stored != tuple(end.shape[o] for o in end.order) else [f"axes {_axes(end)}"]
    return f"{end.stored_dtype} {stored} for ONNX {wanted}, " + ", ".join(
        [*named, *(["the same bytes as in ONNX's order"] if same else [])]
    )


def _axes(end: Binding) -> str:
    letters = {4: "NCHW", 3: "NCW"}.get(len(end.order), "")
    return "".join(letters[o] for o in end.order) if letters else " ".join(map(str, end.order))


# --- golden vectors ------------------------------------------------------------------------------------------------------

Vector = tuple[Sequence[Array], Sequence[Array]]  # inputs and outputs of one run, as the file has them


def golden_header(stem: str, artefact: Artefact, vectors: Sequence[Vector], source: str) -> str:
    """`<stem>_golden.h`: real inputs with the outputs that are expected bit for bit."""
    name = identifier(stem)
    arrays = "\n".join(_vector(n, ins, outs) for n, (ins, outs) in enumerate(vectors))
    return f"""// Inputs and expected outputs for a self test on the device. {source}
#pragma once

#include <cstdint>

namespace {name} {{

constexpr int kGoldenCount = {len(vectors)};
{arrays}
{_tables(vectors)}
}}  // namespace {name}
"""


def _vector(number: int, inputs: Iterable[Array], outputs: Iterable[Array]) -> str:
    parts = [(f"kGoldenInput{i}_{number}", a) for i, a in enumerate(inputs)] + [
        (f"kGoldenOutput{i}_{number}", a) for i, a in enumerate(outputs)
    ]
    return "\n".join(
        f"constexpr {_CTYPES[str(a.dtype)]} {title}[] = {{{', '.join(_number(v) for v in a.reshape(-1))}}};"
        for title, a in parts
    )


def _tables(vectors: Sequence[Vector]) -> str:
    """For each input and output a pointer to each vector, so that a self test can loop over them."""
    if not vectors:
        return ""
    ends = [
        (f"kGolden{kind}{i}", a)
        for kind, arrays in zip(("Input", "Output"), vectors[0], strict=True)
        for i, a in enumerate(arrays)
    ]
    return "\n".join(
        f"constexpr const {_CTYPES[str(a.dtype)]}* {title}[] = {{{', '.join(f'{title}_{n}' for n in range(len(vectors)))}}};"
        for title, a in ends
    )


def _number(value: Array) -> str:
    return _float(float(value)) if value.dtype.kind == "f" else str(int(value))


def golden_npz(artefact: Artefact, vectors: Sequence[Vector]) -> bytes:
    """The same vectors as an npz: `input0`, `output0`, ... with one row a vector; equal vectors give equal bytes."""
    stream = BytesIO()
    columns: dict[str, Any] = {f"input{i}": np.stack([v[0][i] for v in vectors]) for i in range(len(artefact.inputs))}
    columns |= {f"output{i}": np.stack([v[1][i] for v in vectors]) for i in range(len(artefact.outputs))}
    np.savez(stream, **columns)
    return stream.getvalue()
