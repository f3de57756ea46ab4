"""Checks a .tflite file against the int8 specification and the limits of TFLM's kernels.

Neither runtime does this: a bias whose scale is ten times off, or a Pad, Transpose or Resize that changes the scale, loads and
runs with wrong results. Source of the rules: the quantization specification of TensorFlow Lite, the kernels of TFLM, and what
LiteRT 2.3 refuses, each tried with a file that breaks the rule on purpose.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from ..errors import Diagnostic, Severity
from .tflite_read import ReadFile, ReadOp, ReadTensor, read_tflite

Findings = Iterator[Diagnostic]

_SAME_SCALE = {
    "CONCATENATION", "AVERAGE_POOL_2D", "MAX_POOL_2D", "RESHAPE", "PAD", "PADV2", "MIRROR_PAD", "GATHER", "STRIDED_SLICE", "SPLIT_V", "TRANSPOSE", "RESIZE_BILINEAR",
    "RESIZE_NEAREST_NEIGHBOR", "REDUCE_MAX", "REDUCE_MIN", "MAXIMUM", "MINIMUM", "DEPTH_TO_SPACE", "SPACE_TO_DEPTH", "BROADCAST_TO", "REVERSE_V2", "SPLIT", "SLICE", "SQUEEZE", "EXPAND_DIMS", "PACK", "UNPACK",
    "SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND",
}  # fmt: skip
_FIXED = {
    ("SOFTMAX", "int8"): (1 / 256, -128),
    ("LOGISTIC", "int8"): (1 / 256, -128),
    ("TANH", "int8"): (1 / 128, 0),
    ("L2_NORMALIZATION", "int8"): (1 / 128, 0),
    ("LOG_SOFTMAX", "int8"): (16 / 256, 127),
    ("SOFTMAX", "int16"): (1 / 32768, 0),
    ("LOGISTIC", "int16"): (1 / 32768, 0),
    ("TANH", "int16"): (1 / 32768, 0),
}
_WEIGHTED = {
    "CONV_2D": (0, 1, 2),
    "DEPTHWISE_CONV_2D": (0, 1, 2),
    "FULLY_CONNECTED": (0, 1, 2),
    "TRANSPOSE_CONV": (2, 1, 3),
}
_CHANNEL_AXIS = {"DEPTHWISE_CONV_2D": 3}
_CONSTANT_INPUTS = {
    "TRANSPOSE": 1,
    "PAD": 1,
    "PADV2": 1,
    "MIRROR_PAD": 1,
    "RESIZE_BILINEAR": 1,
    "RESIZE_NEAREST_NEIGHBOR": 1,
    "MEAN": 1,
    "SUM": 1,
    "REDUCE_MAX": 1,
    "REDUCE_MIN": 1,
}
_ENDS = {"QUANTIZE", "DEQUANTIZE"}
_BIAS_TOLERANCE = 1e-5  # float32 products


def audit(data: bytes) -> tuple[Diagnostic, ...]:
    """Every finding about a file.

    Raises:
        QConvertError: M002 where it cannot be read.
    """
    file = read_tflite(data)
    return tuple(finding for check in _CHECKS for finding in check(file))


def _alignment(file: ReadFile) -> Findings:
    for number in file.misaligned:
        yield Diagnostic(
            "C310",
            "the data does not start at a multiple of 16 bytes, as kernels expect that read it in place",
            f"buffer {number}",
            "write the file with aligned buffers",
            Severity.WARNING,
        )


def _float_tensors(file: ReadFile) -> Findings:
    ends = {id(t) for op in file.ops if op.name in _ENDS for t in (*op.inputs, *op.outputs)}
    for tensor in file.tensors:
        if tensor.dtype in ("float32", "float16", "float64") and id(tensor) not in ends:
            yield Diagnostic(
                "C302",
                f"it is {tensor.dtype}, so the operators around it do not run in integers",
                str(tensor),
                "quantize the model in full",
            )


def _scales(file: ReadFile) -> Findings:
    for tensor in file.tensors:
        if tensor.dtype in ("int8", "int16", "int4") and not tensor.scale.size:
            yield Diagnostic("C303", "it has no scale", str(tensor))
        elif tensor.scale.size and not (np.isfinite(tensor.scale) & (tensor.scale > 0)).all():
            yield Diagnostic("C303", "a scale is zero, negative or not finite", str(tensor))
        if tensor.zero_point.size:
            yield from _zero_points(tensor)


def _zero_points(tensor: ReadTensor) -> Findings:
    low, high = {"int8": (-128, 127), "uint8": (0, 255)}.get(tensor.dtype, (0, 0))
    if tensor.zero_point.min() < low or tensor.zero_point.max() > high:
        yield Diagnostic(
            "C304", f"the zero point is {tensor.zero_point.min()}, {tensor.dtype} allows {low} to {high}", str(tensor)
        )


def _weights(file: ReadFile) -> Findings:
    for op in file.ops:
        if op.name not in _WEIGHTED:
            continue
        _, weight, _ = _parts(op)
        if weight is None or weight.data is None:
            continue
        if weight.zero_point.any():
            yield Diagnostic("C304", "a weight's zero point is not 0", f"{op}, {weight}")
        if weight.dtype == "int8" and weight.data.size and weight.data.min() == -128:
            yield Diagnostic(
                "C311",
                "a weight has the code -128, outside the symmetric range of the specification",
                f"{op}, {weight}",
            )
        axis = _CHANNEL_AXIS.get(op.name, 0)
        if weight.scale.size > 1 and (weight.axis != axis or weight.scale.size != weight.shape[axis]):
            yield Diagnostic(
                "C306",
                f"{weight.scale.size} scales along axis {weight.axis}, wanted are {weight.shape[axis]} along axis {axis}",
                f"{op}, {weight}",
            )


def _parts(op: ReadOp) -> tuple[ReadTensor | None, ReadTensor | None, ReadTensor | None]:
    data, weight, bias = (op.inputs[i] if i < len(op.inputs) else None for i in _WEIGHTED[op.name])
    return data, weight, bias


def _biases(file: ReadFile) -> Findings:
    for op in file.ops:
        data, weight, bias = _parts(op) if op.name in _WEIGHTED else (None, None, None)
        if data is None or weight is None or bias is None or not data.scale.size or not weight.scale.size:
            continue
        wanted = "int64" if data.dtype == "int16" else "int32"
        if bias.dtype not in (wanted, "int32"):
            yield Diagnostic("C305", f"the bias is {bias.dtype}, wanted is {wanted}", f"{op}, {bias}")
        if bias.zero_point.any():
            yield Diagnostic("C305", "the bias has a zero point other than 0", f"{op}, {bias}")
        if bias.axis != 0 and bias.scale.size > 1:
            yield Diagnostic(
                "C306", f"the bias names axis {bias.axis}, it has only axis 0; LiteRT refuses that", f"{op}, {bias}"
            )
        product = data.scale[0] * weight.scale
        if bias.scale.size and (
            bias.scale.size != product.size or not np.allclose(bias.scale, product, rtol=_BIAS_TOLERANCE, atol=0)
        ):
            yield Diagnostic(
                "C305",
                f"the bias scale is {bias.scale.flat[0]:g}, input scale times weight scale is {product.flat[0]:g}",
                f"{op}, {bias}",
                "the kernels ignore the bias scale, so its codes must be in that product",
            )


def _same_scales(file: ReadFile) -> Findings:
    for op in file.ops:
        if op.name not in _SAME_SCALE:
            continue
        carried = [t for t in (*op.inputs, *op.outputs) if t is not None and t.dtype in ("int8", "int16")]
        if any(not _equal(carried[0], t) for t in carried[1:]):
            yield Diagnostic(
                "C307",
                "its inputs and outputs differ in scale or zero point, but the kernel only moves codes",
                str(op),
                "put QUANTIZE in front",
            )


def _equal(a: ReadTensor, b: ReadTensor) -> bool:
    return np.array_equal(a.scale, b.scale) and np.array_equal(a.zero_point, b.zero_point)


def _fixed(file: ReadFile) -> Findings:
    for op in file.ops:
        wanted = _FIXED.get((op.name, op.outputs[0].dtype)) if op.outputs else None
        if wanted is None or not op.outputs[0].scale.size:
            continue
        got = (float(op.outputs[0].scale[0]), int(op.outputs[0].zero_point[0]))
        if not np.isclose(got[0], wanted[0], rtol=1e-6) or got[1] != wanted[1]:
            yield Diagnostic(
                "C308",
                f"the output has scale {got[0]:g} and zero point {got[1]}, the kernel computes {wanted[0]:g} and {wanted[1]}",
                str(op),
            )


_GATES = 4
_UNUSED_OF_LSTM = {**dict.fromkeys((9, 10, 11), "peepholes"), **dict.fromkeys((16, 17), "a projection"), **dict.fromkeys((20, 21, 22, 23), "normalized gates")}  # fmt: skip
_LARGEST_CELL_SCALE = 2.0**-9


def _recurrent(file: ReadFile) -> Findings:
    """UNIDIRECTIONAL_SEQUENCE_LSTM in 8 bits with a cell state of 16."""
    written = {id(t) for op in file.ops for t in op.outputs}
    for op in file.ops:
        if op.name != "UNIDIRECTIONAL_SEQUENCE_LSTM" or len(op.inputs) != 24:
            continue
        for extra in dict.fromkeys(text for n, text in _UNUSED_OF_LSTM.items() if op.inputs[n] is not None):
            yield Diagnostic("C312", f"it has {extra}, TFLM has no kernel for them", str(op))
        needed = [op.inputs[n] for n in (0, *range(1, 9), *range(12, 16), 18, 19)]
        if any(t is None for t in needed):
            yield Diagnostic("C312", "a matrix, bias or state is missing, TFLM needs them all", str(op))
            continue
        data, *matrices = (t for t in needed[:9] if t is not None)
        *biases, hidden, cell = (t for t in needed[9:] if t is not None)
        yield from _matrices(op, data, matrices, biases)
        yield from _states(op, hidden, cell, written)


def _matrices(op: ReadOp, data: ReadTensor, matrices: list[ReadTensor], biases: list[ReadTensor]) -> Findings:
    for matrix in matrices:
        if matrix.scale.size != 1 or matrix.zero_point.any():
            yield Diagnostic("C304", "the matrix of a gate needs one scale and the zero point 0", f"{op}, {matrix}")
        if matrix.data is not None and matrix.dtype == "int8" and matrix.data.min(initial=0) == -128:
            yield Diagnostic("C311", "a weight has the code -128, outside the symmetric range", f"{op}, {matrix}")
    for bias, matrix in zip(biases, matrices[:_GATES], strict=True):
        product = data.scale[:1] * matrix.scale[:1]
        if not np.allclose(bias.scale, product, rtol=_BIAS_TOLERANCE, atol=0) or bias.zero_point.any():
            yield Diagnostic(
                "C305",
                "the bias is not in input scale times weight scale with zero point 0",
                f"{op}, {bias}",
                "the kernels ignore the bias scale, so its codes must be in that product",
            )


def _states(op: ReadOp, hidden: ReadTensor, cell: ReadTensor, written: set[int]) -> Findings:
    for state in (hidden, cell):
        if not state.variable:
            yield Diagnostic("C312", "a state is no variable tensor, TFLM refuses that", f"{op}, {state}")
        elif id(state) not in written:
            yield Diagnostic(
                "C314",
                "nothing sets this state: TFLM's own kernel goes on from the run before, that of CMSIS-NN starts from zeros",
                f"{op}, {state}",
                "call `MicroInterpreter::Reset()` before each sequence, or set it with a QUANTIZE in front",
                Severity.WARNING,
            )
    if not _equal(hidden, op.outputs[0]):
        yield Diagnostic("C307", "the hidden state and the output differ in scale or zero point", f"{op}, {hidden}")
    scale = float(cell.scale[0]) if cell.scale.size == 1 else 0.0
    exact = scale > 0 and np.frexp(scale)[0] == 0.5 and scale <= _LARGEST_CELL_SCALE
    if cell.dtype != "int16" or cell.zero_point.any() or not exact:
        yield Diagnostic(
            "C308",
            f"the cell state is {cell.dtype} with scale {scale:g}; wanted are int16, a power of two of at most 2^-9, zero point 0",
            f"{op}, {cell}",
        )


def _kernels(file: ReadFile) -> Findings:
    for op in file.ops:
        if op.name.startswith("operator"):
            yield Diagnostic(
                "C309",
                "this operator is none of those known to run in TFLM in integers",
                str(op),
                "replace it, or cut the model before it",
            )
        if op.name == "CONCATENATION" and len(op.inputs) > 10:
            yield Diagnostic("C312", f"{len(op.inputs)} inputs, TFLM takes 10", str(op), "join them in stages")
        if op.name == "TRANSPOSE" and len(op.outputs[0].shape) > 5:
            yield Diagnostic("C312", f"rank {len(op.outputs[0].shape)}, TFLM takes 5", str(op))
        index = _CONSTANT_INPUTS.get(op.name)
        table = op.inputs[index] if index is not None and index < len(op.inputs) else None
        if table is not None and table.data is None:
            yield Diagnostic("C312", f"input {index} is computed, TFLM needs a constant", str(op))


_CHECKS: tuple[Callable[[ReadFile], Findings], ...] = (
    _alignment,
    _float_tensors,
    _scales,
    _weights,
    _biases,
    _same_scales,
    _fixed,
    _recurrent,
    _kernels,
)
