"""TensorRT with explicit quantization (Q/DQ), TensorRT 10 and 11.

Source: TensorRT developer guide, "Explicit Quantization" and "Q/DQ Layer-Placement Recommendations"; onnx-tensorrt
`docs/operators.md`; the shape exclusions are those of NVIDIA ModelOpt 0.46.
"""

from __future__ import annotations

from .formats import Format, Formats
from .kernels import Kernel, Kernels, Limit, WeightForm
from .model import Artefact, Float8, Floats, Placement, Runtime, SessionConfig, Target

_WEIGHT = Limit("weight-constant")

KERNELS: tuple[Kernel, ...] = (
    Kernel("Conv", "raw", (_WEIGHT, Limit("rank", (4, 5)), Limit("tensor-core-conv", 16)), "guide: quantize all inputs of weighted layers, not their outputs"),
    Kernel("ConvTranspose", "raw", (_WEIGHT, Limit("rank", (4, 5)), Limit("tensor-core-conv", 16)), "guide: quantize all inputs of weighted layers"),
    Kernel("Gemm", "raw", (_WEIGHT, Limit("attribute", "transA=0"), Limit("tensor-core-matmul", 16)), "guide; GEMV and tiny products are left out by ModelOpt"),
    Kernel("MatMul", "raw", (Limit("not-attention"), _WEIGHT, Limit("weight-rank", 2), Limit("tensor-core-matmul", 16)), "guide; products of two activations stay in the fused FP16 attention kernel"),
)  # fmt: skip

FLOAT8 = Format("float8_e4m3fn", symmetric=True)
FLOAT8_KERNELS: tuple[Kernel, ...] = (
    Kernel("Conv", "raw", (_WEIGHT, Limit("rank", (4, 5)), Limit("float8-conv", 16)), "guide; more than 16 channels and kernels of up to 32 positions, by ModelOpt"),
    *(kernel for kernel in KERNELS if kernel.op in ("Gemm", "MatMul")),
)  # fmt: skip

_PRODUCT = (Limit("weight-rank", 2), Limit("attribute", "transA=0"))
WEIGHT_FORMS = (
    WeightForm("floats", ("MatMul", "Gemm"), "qdq", (4,), (16,), ((4, 16),), levels=("nvfp4",), divides=True, opset=23, limits=_PRODUCT, source="guide: FP4 in blocks of 16 with FP8 scales and one float32 scale, two DequantizeLinear"),
    WeightForm("floats", ("MatMul", "Gemm"), "qdq", (8,), (32,), ((8, 32),), levels=("mxfp8",), divides=True, opset=21, limits=_PRODUCT, source="guide: FP8 in blocks of 32 with E8M0 scales; onnx-tensorrt TRT_MXFP8DequantizeLinear"),
    WeightForm("dequantize", ("MatMul", "Gemm"), "qdq", (4,), (64, 128), ((4, 128),), asymmetric=False, divides=True, opset=21, limits=_PRODUCT, source="guide: INT4 is weight-only, in symmetric blocks of 64 or 128 along the inputs of matrix products"),
)  # fmt: skip

TENSORRT = Target(
    name="tensorrt",
    title="TensorRT (explicit Q/DQ)",
    source="symmetric int8 only, zero points 0, float bias, Q/DQ on every input of weighted layers and on the skip input of a residual Add",
    formats=Formats(
        activation=Format("int8", symmetric=True), weight=Format("int8", symmetric=True, narrow=True), bias="float"
    ),
    kernels=Kernels(KERNELS),
    placement=Placement(residual_skip=True),
    weight_forms=WEIGHT_FORMS,
    floats=Floats(
        beside_integers=("float32", "float16", "bfloat16"),
        whole_model=("float16", "bfloat16"),
        float8=Float8(
            FLOAT8,
            FLOAT8,
            FLOAT8_KERNELS,
            refused=(("e5m2", "its QuantizeLinear and DequantizeLinear take E4M3 only"),),
        ),
    ),
    artefact=Artefact(io=("float", "half")),
    runtime=Runtime(
        sessions=(
            SessionConfig(
                "optimizations off, Q/DQ kept",
                optimize=False,
                config=(("session.disable_quant_qdq", "1"),),
                deployed=True,
            ),
        ),
        checks=("tensorrt",),
        at_hand=False,
        try_with="trtexec --onnx={model} --stronglyTyped --profilingVerbosity=detailed --dumpLayerInfo",
    ),
    sparsity=(
        ("unstructured", "no time, the kernels multiply zeros like any number; `pattern: 2:4` is the one that gains"),
        (
            "2:4",
            "sparse tensor cores (Ampere and later) skip half of the products; build with `trtexec --sparsity=enable`",
        ),
    ),
)
