"""An estimate of the tensor arena, for reports without the interpreter and for choices under a memory limit.

Source of the plan: TFLM's GreedyMemoryPlanner (largest buffers first, of equal ones the last, each at the lowest free offset, aligned
to 16 bytes) and the scratch that its reference kernels ask for. Sizes of persistent structures are fitted to what TFLM counts on
x86-64 for networks and single operators, rounded up: the estimate is not below the count, and
a quarter above it at most, for files of many small operators.
"""

from __future__ import annotations

from math import prod

from ...graph import Array
from .model import File, Op, Tensor

_BYTES = {"float32": 4, "int32": 4, "int64": 8, "int16": 2}
_BASE, _PER_TENSOR, _PER_CHANNEL = (
    776,
    24,
    8,
)  # interpreter; TfLiteEvalTensor; multiplier and shift of an output channel
_PER_OP = 112  # node, registration and what the kernel keeps
_PER_OP_OF = {
    "CONV_2D": 192,
    "DEPTHWISE_CONV_2D": 192,
    "TRANSPOSE_CONV": 192,
    "UNIDIRECTIONAL_SEQUENCE_LSTM": 784,
    "ELU": 304,  # a table of 256 entries
    "QUANTIZE": 184,
    "LOGISTIC": 72,
    "TANH": 88,
    "RESHAPE": 72,
    "MAXIMUM": 48,
    "MINIMUM": 48,
    "ADD": 184,
    "SUB": 168,
    "MUL": 152,
    "FULLY_CONNECTED": 128,
    "CONCATENATION": 200,
    "SPLIT_V": 216,
    "STRIDED_SLICE": 152,
    "MAX_POOL_2D": 152,
    "SOFTMAX": 152,
}
_CHANNELS = {"CONV_2D": 1, "DEPTHWISE_CONV_2D": 1, "TRANSPOSE_CONV": 1, "FULLY_CONNECTED": 1}
_REDUCTIONS = {"MEAN", "REDUCE_MAX", "REDUCE_MIN"}
_AXES = 32  # bytes for a list of axes


def size_of(tensor: Tensor) -> int:
    """Bytes of a tensor, rounded up to the arena's alignment."""
    return _aligned(prod(tensor.shape) * _BYTES.get(tensor.dtype, 1))


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
    ops = sum(_PER_OP_OF.get(op.name, _PER_OP) for op in file.ops)
    return _BASE + _PER_TENSOR * len(file.tensors) + ops + _PER_CHANNEL * channels + states


def _scales(file: File, op: Op) -> Array | None:
    index = _CHANNELS.get(op.name)
    return None if index is None else file.tensors[op.inputs[index]].scale


def peak(file: File) -> int:
    """Bytes of the planned activations and scratch."""
    first, last = _lifetimes(file)
    buffers = [(size_of(file.tensors[n]), first[n], last[n]) for n in sorted(first)]
    buffers += [(size, step, step) for step, op in enumerate(file.ops) for size in _scratch(file, op)]
    placed: list[tuple[int, int, int, int]] = []  # offset, size, first, last
    for n in sorted(range(len(buffers)), key=lambda n: (-buffers[n][0], -n)):
        (size, born, dies), offset = buffers[n], 0
        for start, length, first_use, last_use in sorted(placed):
            if first_use <= dies and born <= last_use and offset + size > start:
                offset = max(offset, start + length)
        placed.append((offset, size, born, dies))
    return max((offset + size for offset, size, _, _ in placed), default=0)


def _scratch(file: File, op: Op) -> list[int]:
    """Bytes of buffers that a kernel of TFLM needs while it runs."""
    out = file.tensors[op.outputs[0]]
    elements = prod(out.shape)
    if op.name == "TRANSPOSE_CONV":
        return [_aligned(elements * (8 if out.dtype == "int16" else 4))]  # sums
    if op.name in _REDUCTIONS:
        return [_AXES, *([_aligned(4 * elements)] if op.name == "MEAN" else [])]
    if op.name == "UNIDIRECTIONAL_SEQUENCE_LSTM":
        return [_aligned(2 * prod(file.tensors[op.inputs[18]].shape))] * 4  # gates
    return []


def _aligned(size: int) -> int:
    return -(-size // 16) * 16


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
