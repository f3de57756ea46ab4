"""What the two onnxruntime CPU targets share: which operators have integer kernels after the runtime's Q/DQ fusion.

Sources: onnxruntime 1.31.1, `core/optimizer/qdq_transformer/selectors_actions` (which Q/DQ groups fuse) and
`core/mlas/lib` (which kernels exist), confirmed by reading back optimized graphs.
"""

from __future__ import annotations

from .formats import Format, Formats, LeastScale
from .kernels import Kernel, Kernels, Limit, WeightForm
from .model import Artefact, Floats, Placement, Runtime, SessionConfig, Target

_FUSED = "qdq_selectors.cc, optimized graphs of onnxruntime 1.31.1"
_DROPPED = "qdq_selectors.cc DropQDQ: the operator runs on the integers themselves"
_WEIGHT = Limit("weight-constant")
_ONE = Limit("one-output")

KERNELS: tuple[Kernel, ...] = (
    Kernel("Conv", limits=(_WEIGHT, Limit("rank", (3, 4)), Limit("group-channels", 16)), source="QLinearConv, NHWC; small groups 0.31x of FP32"),
    Kernel("Gemm", "free", (_WEIGHT, Limit("attribute", "transA=0"), Limit("attribute", "alpha=1"), Limit("attribute", "beta=1")), "com.microsoft.QGemm, float output where nobody reads integers"),
    Kernel("MatMul", "free", (Limit("not-attention"), _WEIGHT, Limit("weight-rank", 2)), "QLinearMatMul, or MatMulIntegerToFloat; per-channel weights of rank 3 fail at the first run"),
    Kernel("Add", source="com.microsoft.QLinearAdd", limits=(Limit("two-inputs"),)),
    Kernel("Mul", source="com.microsoft.QLinearMul", limits=(Limit("two-inputs"),)),
    Kernel("Concat", source="com.microsoft.QLinearConcat, every input with its own scale", limits=(Limit("two-inputs"),)),
    Kernel("GlobalAveragePool", source="com.microsoft.QLinearGlobalAveragePool", limits=(Limit("rank", (4,)),)),
    Kernel("AveragePool", source="com.microsoft.QLinearAveragePool", limits=(Limit("rank", (4,)), Limit("attribute", "ceil_mode=0"))),
    Kernel("Sigmoid", source="com.microsoft.QLinearSigmoid, a table of 256 values"),
    Kernel("LeakyRelu", source="com.microsoft.QLinearLeakyRelu, a table of 256 values"),
    Kernel("MaxPool", source=_DROPPED, limits=(Limit("rank", (4,)), _ONE)),
    Kernel("Reshape", source=_DROPPED),
    Kernel("Flatten", source=_DROPPED),
    Kernel("Squeeze", source=_DROPPED),
    Kernel("Unsqueeze", source=_DROPPED),
    Kernel("Transpose", source=_DROPPED, limits=(Limit("max-rank", 4),)),
    Kernel("Slice", source=_DROPPED),
    Kernel("Split", source=_FUSED),
    Kernel("Gather", source=_DROPPED),
    Kernel("Resize", source=_DROPPED, limits=(Limit("mode", "nearest"),)),
)  # fmt: skip

# Ranges measured at run time: uint8 activations, int8 weights with a scale a channel, float results.
_MEASURED = "DynamicQuantizeLinear in front of"
DYNAMIC: tuple[Kernel, ...] = (
    Kernel("MatMul", "raw", (_WEIGHT, Limit("weight-matrix")), f"{_MEASURED} MatMulIntegerToFloat"),
    Kernel("Gemm", "raw", (_WEIGHT, Limit("weight-matrix"), Limit("attribute", "transA=0"), Limit("attribute", "alpha=1"), Limit("attribute", "beta=1")), f"{_MEASURED} MatMulIntegerToFloat"),
    Kernel("LSTM", "raw", (_WEIGHT, Limit("attribute", "layout=0")), "DynamicQuantizeLSTM (dynamic_quantize_lstm.cc)"),
    Kernel("com.microsoft.Attention", "raw", (_WEIGHT, Limit("weight-matrix"), Limit("plain-attention")), f"{_MEASURED} QAttention (attention_quant.cc)"),
)  # fmt: skip

# Weights of layers that compute in float. A DequantizeLinear of a constant in front of MatMul or Gemm becomes MatMulNBits when the
# file is loaded; in front of any other operator it runs again at every inference, while Cast and Mul of constants are folded.
# The operators of com.microsoft come first: they read codes without help of the optimizer, and larger blocks make them faster.
_BLOCKS = (16, 32, 64, 128, 256)
_ANY = (0, *_BLOCKS)
_FINE = (
    (8, 32),
    (4, 32),
    (2, 16),
)  # activations are rounded in the same blocks: 128 costs 4 dB on transformers and saves 15 % of the time
_PRODUCTS = ("MatMul", "Gemm")
_LAYERS = ("Conv", "ConvTranspose", "MatMul", "Gemm", "Gather", "LSTM", "GRU", "RNN", "com.microsoft.Attention")
_FACTORS = (Limit("weight-rank", 2), *(Limit("attribute", key) for key in ("transA=0", "alpha=1", "beta=1")))
_MATRIX = (*_FACTORS, Limit("bias-vector"))
_FUSES = "DQMatMulToMatMulNBits, optimized graphs of onnxruntime 1.31.1"
_FOLDS = "constant_folding.cc, optimized graphs of onnxruntime 1.31.1"
LEVELS = ("k-means", "quantile", "matched", "logarithmic", "power-of-two", "binary", "ternary")
WEIGHT_FORMS: tuple[WeightForm, ...] = (
    WeightForm("nbits", _PRODUCTS, "qoperator", (2, 4, 8), _ANY, _FINE, packed=True, limits=_FACTORS, source="matmul_nbits.cc: blocks of 16 to 256, accuracy level 4"),
    WeightForm("gather-blocks", ("Gather",), "qoperator", (2, 4, 8), _ANY, _FINE, packed=True, source="gather_block_quantized.cc"),
    WeightForm("dequantize", _PRODUCTS, "qdq", (8,), (0,), limits=_MATRIX, source=_FUSES),
    WeightForm("dequantize", _PRODUCTS, "qdq", (4, 8), _ANY, ((4, 32),), opset=21, limits=_MATRIX, source=_FUSES),
    WeightForm("dequantize", _PRODUCTS, "qdq", (2,), _ANY, ((2, 16),), opset=25, limits=_MATRIX, source=_FUSES),
    WeightForm("codebook", _LAYERS, "", tuple(range(1, 9)), _ANY, tuple((bits, 32 if bits < 4 else 64) for bits in range(1, 9)), levels=LEVELS, opset=18, source=_FOLDS),
    WeightForm("rows", ("Gather",), "", (8,), _ANY, source="standard operators: Gather, Cast, Mul"),
    WeightForm("fold", _LAYERS, "", (8,), _ANY, source=_FOLDS),
    WeightForm("fold", _LAYERS, "", (4,), _ANY, ((4, 32),), opset=21, source=_FOLDS),
    WeightForm("fold", _LAYERS, "", (2,), _ANY, ((2, 16),), opset=25, source=_FOLDS),
)  # fmt: skip

# matmul_add_fusion.cc and gemm_transpose_fusion.cc run before Q/DQ groups are matched; the Gemm dequantizes its weight at every run.
_FLOAT_PAIRS = (("MatMul", "Add"), ("Gemm", "Transpose"))

# The runtime makes QLinearSoftmax of a Softmax between Q/DQ pairs, planned or not: its largest entry, e^-5 of the largest float over
# the axis' size, times 1 / scale overflows. Rows whose largest share is below 1.72 / size cannot fill their codes.
LEAST = (LeastScale("Softmax", 1 / 148, "qlinear_softmax.cc"),)

ONNXRUNTIME_CPU = Target(
    name="onnxruntime-cpu",  # no target by itself: the targets replace what differs
    title="onnxruntime CPU",
    source="qdq_selectors.cc and MLAS of onnxruntime 1.31.1",
    formats=Formats(
        activation=Format("uint8", symmetric=False),
        weight=Format("int8", symmetric=True, narrow=True),
        wide_activation=Format("uint16", symmetric=False, bits=16),
        small_weight=Format("int4", symmetric=True, bits=4),
        least=LEAST,
    ),
    kernels=Kernels(KERNELS, dynamic=DYNAMIC, absorbed=("Relu", "Clip")),
    placement=Placement(attention="dynamic", float_anchor=True, float_pairs=_FLOAT_PAIRS),
    weight_forms=WEIGHT_FORMS,
    floats=Floats(
        whole_model=("float16",),
        not_gained="onnxruntime's x86 kernels compute in float32: the file is half as large, the time is at best that of FP32",
    ),
    artefact=Artefact(formats=("qdq", "qoperator"), io=("float",)),
    runtime=Runtime(
        sessions=(SessionConfig("default options", deployed=True), SessionConfig("optimizations off", optimize=False)),
    ),
)
