"""TensorFlow Lite for Microcontrollers: one full-integer .tflite file.

Sources: the int8 quantization specification of TensorFlow Lite; the kernels of TFLM (`tensorflow/lite/micro/kernels`), tried one by
one in the PyPI package `tflite-micro` 0.dev20261023. A kernel that only LiteRT has is no kernel here.
"""

from __future__ import annotations

from .formats import FixedScale, Format, Formats, InnerFormat
from .kernels import Kernel, Kernels, Limit
from .model import Artefact, Placement, Rewrites, Runtime, SessionConfig, Target

_WEIGHT = Limit("weight-constant")
_STATIC = Limit("static-params")
_ONE = Limit("one-output")
_PLANE = Limit("rank", (3, 4))
_FOUR = Limit("rank", (4,))
_SMALL = Limit("max-rank", 5)
_PADS = Limit("explicit-pads")
_BINARY = (Limit("two-inputs"), Limit("broadcast-rank", 5))
_VIEW = "changes the layout only"

KERNELS: tuple[Kernel, ...] = (
    Kernel("Conv", limits=(_PADS, _WEIGHT, _PLANE), source="CONV_2D and DEPTHWISE_CONV_2D, one scale an output channel"),
    Kernel("ConvTranspose", limits=(_PADS, _WEIGHT, _PLANE, Limit("attribute", "group=1"), Limit("plain-transpose")), source="TRANSPOSE_CONV"),
    Kernel("Gemm", limits=(_WEIGHT, Limit("attribute", "transA=0"), Limit("attribute", "alpha=1"), Limit("attribute", "beta=1")), source="FULLY_CONNECTED"),
    Kernel("MatMul", limits=(Limit("matrix"),), source="FULLY_CONNECTED, BATCH_MATMUL"),
    Kernel("LSTM", limits=(Limit("fused-lstm"),), source="UNIDIRECTIONAL_SEQUENCE_LSTM: 8-bit weights, 16-bit cell state"),
    Kernel("Add", limits=_BINARY, source="ADD"),
    Kernel("Sub", limits=_BINARY, source="SUB"),
    Kernel("Mul", limits=_BINARY, source="MUL"),
    Kernel("Div", limits=_BINARY, source="DIV"),
    Kernel("Max", limits=(Limit("broadcast-rank", 5),), source="MAXIMUM"),
    Kernel("Min", limits=(Limit("broadcast-rank", 5),), source="MINIMUM"),
    Kernel("Pow", limits=(Limit("exponent"),), source="MUL for 2, RSQRT for -0.5"),
    Kernel("Neg", source="SUB from a constant 0; NEG is float only"),
    Kernel("Reciprocal", source="DIV of a constant 1"),
    Kernel("Abs", source="ABS"),
    Kernel("Relu", source="RELU"),
    Kernel("Clip", limits=(_STATIC,), source="RELU, RELU6, MINIMUM and MAXIMUM"),
    Kernel("LeakyRelu", source="LEAKY_RELU"),
    Kernel("PRelu", limits=(_WEIGHT, Limit("broadcast-rank", 4)), source="PRELU"),
    Kernel("Elu", limits=(Limit("attribute", "alpha=1"),), source="ELU"),
    Kernel("HardSwish", source="HARD_SWISH"),
    Kernel("Sigmoid", source="LOGISTIC"),
    Kernel("Tanh", source="TANH"),
    Kernel("Softmax", source="SOFTMAX"),
    Kernel("LogSoftmax", source="LOG_SOFTMAX"),
    Kernel("MaxPool", limits=(_PADS, _PLANE, _ONE, Limit("not-dilated")), source="MAX_POOL_2D"),
    Kernel("AveragePool", limits=(_PADS, _PLANE, Limit("not-dilated")), source="AVERAGE_POOL_2D"),
    Kernel("GlobalAveragePool", source="MEAN"),
    Kernel("GlobalMaxPool", source="REDUCE_MAX"),
    Kernel("ReduceMean", limits=(Limit("attribute", "noop_with_empty_axes=0"), _STATIC, _SMALL), source="MEAN"),
    Kernel("ReduceSum", limits=(Limit("attribute", "noop_with_empty_axes=0"), _STATIC, _SMALL), source="MEAN and MUL; int8 SUM of LiteRT's reference kernels ignores zero points"),
    Kernel("ReduceMax", limits=(Limit("attribute", "noop_with_empty_axes=0"), _STATIC, _SMALL), source="REDUCE_MAX"),
    Kernel("ReduceMin", limits=(Limit("attribute", "noop_with_empty_axes=0"), _STATIC, _SMALL), source="REDUCE_MIN"),
    Kernel("Reshape", source=_VIEW),
    Kernel("Flatten", source=_VIEW),
    Kernel("Squeeze", source=_VIEW),
    Kernel("Unsqueeze", source=_VIEW),
    Kernel("Transpose", source="changes the layout; TRANSPOSE where an operator needs another one"),
    Kernel("Concat", source="CONCATENATION of up to 10 inputs, in stages"),
    Kernel("Split", limits=(_STATIC,), source="SPLIT_V"),
    Kernel("Slice", limits=(_STATIC, Limit("forward-slice"), _SMALL), source="STRIDED_SLICE"),
    Kernel("Gather", limits=(Limit("indices"),), source="GATHER"),
    Kernel("ArgMax", "raw", limits=(Limit("attribute", "select_last_index=0"),), source="ARG_MAX, int32"),
    Kernel("ArgMin", "raw", limits=(Limit("attribute", "select_last_index=0"),), source="ARG_MIN, int32"),
    Kernel("Pad", limits=(_STATIC, Limit("pad-mode"), Limit("max-rank", 4)), source="PAD, PADV2, MIRROR_PAD"),
    Kernel("Expand", limits=(_STATIC, _SMALL), source="BROADCAST_TO"),
    Kernel("DepthToSpace", limits=(_FOUR, Limit("attribute", "mode=DCR")), source="DEPTH_TO_SPACE"),
    Kernel("SpaceToDepth", limits=(_FOUR,), source="SPACE_TO_DEPTH"),
    Kernel("Resize", limits=(_FOUR, Limit("resize-kernel")), source="RESIZE_NEAREST_NEIGHBOR, RESIZE_BILINEAR"),
)  # fmt: skip

FIXED: tuple[FixedScale, ...] = (
    FixedScale("Softmax", 8, 1 / 256, -128),
    FixedScale("Sigmoid", 8, 1 / 256, -128),
    FixedScale("Tanh", 8, 1 / 128, 0),
    FixedScale("LogSoftmax", 8, 16 / 256, 127),
    FixedScale("Softmax", 16, 1 / 32768, 0),
    FixedScale("Sigmoid", 16, 1 / 32768, 0),
    FixedScale("Tanh", 16, 1 / 32768, 0),
)

# The cell state: int16, a power of two as scale (the kernel shifts), at most 2^-9 (LiteRT refuses more).
INNER = (InnerFormat("LSTM", 2, Format("int16", symmetric=True, bits=16, exponents=(-15, -9))),)

# Kernels that take int8 only (TFLM matrix of types); all others take int16 as well.
NARROW = (
    "LSTM",
    "Div",
    "Reciprocal",
    "Pow",
    "ReduceMax",
    "ReduceMin",
    "GlobalMaxPool",
    "LogSoftmax",
    "HardSwish",
    "Elu",
    "Gather",
    "ArgMax",
    "ArgMin",
    "DepthToSpace",
    "SpaceToDepth",
)

_ON_HOST = "cut the model before it and compute the rest on the host"
ADVICE: tuple[tuple[str, str], ...] = (  # by operator, or by the code of the reason
    ("P007", "export the model for one fixed length, without a padding mask"),
    ("Cast", "feed the result of the cast: an input of float32 becomes int8 in the file"),
    ("Where", "multiply by a mask of 0 and 1, fed as float32"),
    ("TopK", _ON_HOST),
    ("NonMaxSuppression", _ON_HOST),
    ("Tile", "use Expand where only axes of length 1 are repeated, or Concat"),
    ("Loop", "unroll the loop at export"),
    ("If", "export the branch that is used"),
    ("Scan", "unroll the scan at export"),
    ("Exp", "exponentials run inside Softmax, LogSoftmax, Sigmoid, Tanh and Elu only"),
    ("Erf", "use the sigmoid or tanh form of Gelu"),
    ("Log", "LogSoftmax has a kernel; " + _ON_HOST),
    ("Sqrt", "an integer kernel exists for 1/sqrt(x) only (Pow with exponent -0.5)"),
    ("Einsum", "export it as MatMul and Transpose"),
    ("LSTM", "run it step by step with the state as graph inputs and outputs, or use a convolutional model"),
    ("GRU", "run it step by step with the state as graph inputs and outputs, or use a convolutional model"),
    ("RNN", "unroll it at export"),
)

TFLITE_MICRO = Target(
    name="tflite-micro",
    title="TensorFlow Lite Micro",
    source="full-integer int8 by the TensorFlow Lite quantization specification; every operator must have an integer kernel in TFLM",
    formats=Formats(
        activation=Format("int8", symmetric=False),
        weight=Format("int8", symmetric=True, narrow=True),
        wide_activation=Format("int16", symmetric=True, narrow=True, bits=16),
        small_weight=Format("int4", symmetric=True, narrow=True, bits=4),
        per_tensor=("Gemm", "MatMul"),
        fixed=FIXED,
        inner=INNER,
    ),
    kernels=Kernels(
        KERNELS,
        absorbed=("Relu", "Clip"),
        same_scale=("AveragePool",),
        without_wide=NARROW,
        with_small=("Conv", "Gemm", "MatMul"),
    ),
    placement=Placement(whole=True, join_concat=True),
    rewrites=Rewrites(always=("forward-lstm", "unroll", "decompose", "whole-pool", "matmul-add-to-gemm")),
    artefact=Artefact(formats=("tflite",), extension=".tflite", io=("integer", "float"), static_shapes=True),
    runtime=Runtime(
        sessions=(SessionConfig("simulation of the integers in onnxruntime", deployed=True),),
        checks=("tflite",),
        simulation="qdq",
        packages=("flatbuffers", "tflite-micro", "ai-edge-litert"),
        at_hand=False,
    ),
    recipe_keys=("keep_layout", "limits"),
    advice=ADVICE,
)
