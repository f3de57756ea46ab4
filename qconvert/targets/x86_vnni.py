"""x86-64 with AVX-512 VNNI or AVX-VNNI, onnxruntime CPU."""

from __future__ import annotations

from .model import Cost, CostModel, CostRow, Format, Target
from .onnxruntime_cpu import KERNELS, SESSIONS

COST = CostModel(
    rows={
        "conv": CostRow(Cost(800, 1 / 53), Cost(1500, 1 / 190, read=0.05, write=0.15), pad_out=16, pad_in=4),
        "conv-1x1": CostRow(Cost(800, 1 / 45), Cost(1500, 1 / 160, write=0.2), pad_out=16, pad_in=4),
        "conv-stem": CostRow(Cost(800, 1 / 35), Cost(1500, 1 / 60, read=0.2, write=0.3), pad_out=16, pad_in=4),
        "conv-depthwise": CostRow(Cost(800, 1 / 14), Cost(1500, 1 / 12)),
        "conv-depthwise-odd": CostRow(Cost(800, 1 / 14), Cost(1500, 1 / 6)),
        "conv-grouped": CostRow(Cost(800, 1 / 40), Cost(1500, 1 / 13)),
        "gemm": CostRow(Cost(600, 1 / 50, weight=0.02), Cost(1200, 1 / 180, read=0.1, write=0.2, weight=0.005), Cost(1500, 1 / 180, read=0.3, write=0.2, weight=0.005), pad_out=16, pad_in=4),
        "batched-matmul": CostRow(Cost(800, 1 / 45), Cost(1500, 1 / 120)),
        "elementwise": CostRow(Cost(600, read=0.05, write=0.1), Cost(900, read=0.08, write=0.1)),
        "broadcast": CostRow(Cost(600, write=0.25), Cost(900, write=0.3)),
        "concat": CostRow(Cost(800, write=0.15), Cost(1200, write=0.12)),
        "max-pool": CostRow(Cost(800, read=0.2, write=0.5), Cost(900, read=0.06, write=0.15)),
        "average-pool": CostRow(Cost(800, read=0.2, write=0.5), Cost(1200, read=1.0, write=4.0)),
        "global-pool": CostRow(Cost(800, read=0.1), Cost(1000, read=0.06)),
        "table": CostRow(Cost(600, write=0.35), Cost(900, write=0.25)),
        "softmax": CostRow(Cost(800, write=0.8), None),
        "clamp": CostRow(Cost(0, write=0.0), None),
        "resize": CostRow(Cost(1000, write=0.8), Cost(1000, write=0.8)),
        "transpose": CostRow(Cost(800, write=0.3), Cost(800, write=0.25)),
        "transpose-nd": CostRow(Cost(800, write=0.6), Cost(800, write=2.5)),
        "view": CostRow(Cost(200), Cost(200)),
        "copy": CostRow(Cost(700, write=0.15), Cost(700, write=0.08)),
        "function": CostRow(Cost(600, write=0.6)),
        "normalization": CostRow(Cost(800, write=0.5)),
        "other": CostRow(Cost(600, write=0.2)),
    },
    quantize=0.15,
    dequantize=0.14,
    relayout=0.15,
    min_gain=0.002,
    source="measured on one core of an AMD Zen 4 with AVX-512 VNNI, onnxruntime 1.31.1",
)  # fmt: skip

X86_VNNI = Target(
    name="x86-vnni",
    title="x86 VNNI (onnxruntime)",
    activation=Format("uint8", symmetric=False),
    weight=Format("int8", symmetric=True, narrow=True),
    wide=Format("uint16", symmetric=False, bits=16),
    kernels=KERNELS,
    sessions=SESSIONS,
    checks=("onnxruntime-x86",),
    formats=("qdq", "qoperator"),
    absorbs=("Relu", "Clip"),
    dynamic=("MatMul", "Gemm"),
    attention_mode="dynamic",
    lookup=True,
    float_anchor=True,
    rewrites=(),
    cost=COST,
    hosts=("x86_64", "AMD64"),
    source="only uint8 activations with int8 weights reach vpdpbusd (MLAS platform.cpp); S8S8 is slower than FP32",
)
