"""An estimate of the tensor arena, for reports without the interpreter and for choices under a memory limit.

Source: TFLM's GreedyMemoryPlanner (largest buffers first, each at the lowest free offset, aligned to 16 bytes); sizes of the
persistent structures are rough figures for x86-64. An estimate: where the interpreter is installed, its own count is used.
"""

from __future__ import annotations

from math import prod

from ...graph import Array
from .model import File, Op, Tensor

_BYTES = {"float32": 4, "int32": 4, "int64": 8, "int16": 2}
_PER_TENSOR, _PER_OP, _BASE = 24, 264, 1400  # TfLiteEvalTensor; node, registration and operator data; interpreter
_PER_CHANNEL = 8  # multiplier and shift of each output channel
_CHANNELS = {"CONV_2D": 1, "DEPTHWISE_CONV_2D": 1, "TRANSPOSE_CONV": 1, "FULLY_CONNECTED": 1}


def size_of(tensor: Tensor) -> int:
    """Bytes of a tensor, rounded up to the arena's alignment."""
    return -(-prod(tensor.shape) * _BYTES.get(tensor.dtype, 1) // 16) * 16


def arena_estimate(file: File) -> int:
    """Bytes of head and tail together."""
    return peak(file) + persistent(file)


def persistent(file: File) -> int:
    """Bytes that live as long as the interpreter."""
    channels = sum(
        scale.size
        for op in file.ops
        if (scale := _scales(file, op)) is not None and (scale.size > 1 or op.name != "FULLY_CONNECTED")
    )
    states = sum(size_of(t) for t in file.tensors if t.variable)
    return _BASE + _PER_TENSOR * len(file.tensors) + _PER_OP * len(file.ops) + _PER_CHANNEL * channels + states


def _scales(file: File, op: Op) -> Array | None:
    index = _CHANNELS.get(op.name)
    return None if index is None else file.tensors[op.inputs[index]].scale


def peak(file: File) -> int:
    """Bytes of the planned activations."""
    first, last = _lifetimes(file)
    placed: list[tuple[int, int, int, int]] = []  # offset, size, first, last
    for number in sorted(first, key=lambda n: (-size_of(file.tensors[n]), first[n], n)):
        size, offset = size_of(file.tensors[number]), 0
        for start, length, born, dies in sorted(placed):
            if born <= last[number] and first[number] <= dies and offset + size > start:
                offset = max(offset, start + length)
        placed.append((offset, size, first[number], last[number]))
    return max((offset + size for offset, size, _, _ in placed), default=0)


def _lifetimes(file: File) -> tuple[dict[int, int], dict[int, int]]:
    first: dict[int, int] = dict.fromkeys(file.inputs, 0)
    last: dict[int, int] = dict.fromkeys(file.inputs, 0)
    for step, op in enumerate(file.ops):
        for number in (o for o in op.outputs if not file.tensors[o].variable):
            first.setdefault(number, step)
            last[number] = step
        for number in op.inputs:
            if number >= 0 and file.tensors[number].data is None and not file.tensors[number].variable:
                last[number] = step
    last.update(dict.fromkeys(file.outputs, len(file.ops)))
    return first, last
