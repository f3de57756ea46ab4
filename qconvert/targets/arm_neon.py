"""64-bit ARM with NEON dot products (Cortex-A76, Neoverse-N1 and newer), onnxruntime CPU."""

from __future__ import annotations

from dataclasses import replace

from .costs import Cost, CostModel
from .model import Rewrites
from .onnxruntime_cpu import ONNXRUNTIME_CPU
from .x86_vnni import COST as X86_COST

# Instructions of the aarch64 wheel of onnxruntime 1.31.1, counted under emulation of a Cortex-A76, at 0.17 ns each
# (2.4 GHz, 2.5 a cycle); elementwise figures are estimates. Only ratios matter for placement.
_NS = 0.17

FLOAT = {
    **dict.fromkeys(("conv", "conv-1d"), Cost(500, mac=0.42 * _NS)),
    "conv-1x1": Cost(500, mac=0.375 * _NS),
    "conv-stem": Cost(500, mac=0.74 * _NS),
    **dict.fromkeys(("depthwise-4", "depthwise-1d"), Cost(500, mac=2.95 * _NS)),
    "grouped": Cost(500, mac=0.6 * _NS),
    "gemm": Cost(500, mac=0.322 * _NS),
    "gemm-row": Cost(500, mac=0.61 * _NS),
    "lstm": Cost(2000, mac=0.61 * _NS),
    "batched-matmul": Cost(500, mac=0.35 * _NS),
    **dict.fromkeys(("silu-gate", "relu"), Cost()),
    "silu-product": Cost(500, write=6 * _NS),
    **dict.fromkeys(("elementwise", "leakyrelu"), Cost(500, write=1.0 * _NS)),
    **dict.fromkeys(("clip", "concat", "slice", "split", "gather"), Cost(500, write=0.6 * _NS)),
    **dict.fromkeys(("maxpool", "averagepool"), Cost(500, mac=0.5 * _NS)),
    "globalaveragepool": Cost(500, read=0.4 * _NS),
    **dict.fromkeys(("sigmoid", "tanh"), Cost(500, write=5 * _NS)),
    "softmax": Cost(500, write=8 * _NS),
    "layernormalization": Cost(500, write=4.0 * _NS),
    "view": Cost(300),
    **dict.fromkeys(("resize", "transpose", "transpose-nd", "other"), Cost(500, write=2.0 * _NS)),
}

INTEGER = {
    **dict.fromkeys(("conv", "conv-1x1", "conv-1d"), Cost(1000, mac=0.103 * _NS, write=7.7 * _NS)),
    "conv-stem": Cost(1000, mac=0.3 * _NS, write=15 * _NS),
    **dict.fromkeys(("depthwise-8", "depthwise-1d"), Cost(1000, mac=0.75 * _NS, write=4 * _NS)),
    "depthwise-4": Cost(1000, mac=2.0 * _NS, write=4 * _NS),
    "grouped": Cost(1000, mac=0.4 * _NS, write=10 * _NS),
    "gemm": Cost(1000, mac=0.115 * _NS, write=3 * _NS),
    "gemm-row": Cost(1000, mac=0.576 * _NS),
    "batched-matmul": Cost(1000, mac=0.2 * _NS, write=3 * _NS),
    "elementwise": Cost(1000, write=2.5 * _NS),
    "concat": Cost(1000, write=1.0 * _NS),
    "maxpool": Cost(800, mac=0.15 * _NS),
    "averagepool": Cost(1000, mac=1.5 * _NS, write=10 * _NS),
    "globalaveragepool": replace(FLOAT["globalaveragepool"], fixed=800),
    **dict.fromkeys(("sigmoid", "leakyrelu", "transpose"), Cost(800, write=1.0 * _NS)),
    "softmax": Cost(800, write=20 * _NS),
    "resize": Cost(800, write=2.0 * _NS),
    "transpose-nd": Cost(800, write=8.0 * _NS),
    "view": FLOAT["view"],
    **dict.fromkeys(("slice", "split", "gather"), Cost(500, write=0.3 * _NS)),
}

DYNAMIC = {
    "gemm": Cost(1500, mac=0.12 * _NS, read=3 * _NS, write=3 * _NS),
    "gemm-row": Cost(1500, mac=0.5 * _NS),
    "lstm": Cost(4000, mac=0.5 * _NS),
}

ARM_NEON = replace(
    ONNXRUNTIME_CPU,
    name="arm-neon",
    title="ARM NEON (onnxruntime)",
    source="uint8 activations with int8 weights are within 7 % of the best format on every ARM class and give the same integers as on x86",
    cost=CostModel(
        real=FLOAT,
        integer=INTEGER,
        dynamic=DYNAMIC,
        quantize=Cost(500, write=1.6 * _NS),
        dequantize=Cost(500, write=1.2 * _NS),
        relayout=Cost(300, write=1.0 * _NS),
        source="instruction counts of onnxruntime 1.31.1 on an emulated Cortex-A76, elementwise operators estimated",
    ),
    rewrites=Rewrites(
        if_faster=("matmul-add-to-gemm", "stem-channels", "average-pool-to-conv", "hard-swish"),
        # A fourth channel of zeros makes MobileNetV2 1 to 1.5 % slower under emulation (millions of instructions, padded and not:
        # Cortex-A76 67.8 and 67.1, Cortex-A53 127.4 and 125.5, armv8-i8mm 60.7 and 60.0; FP32 185.3). Where x86 gains from it,
        # one graph for both CPUs is worth that: calibration and the accuracy algorithms are shared.
        priced_by=(("stem-channels", X86_COST),),
    ),
    floats=replace(
        ONNXRUNTIME_CPU.floats,
        not_gained="float16 kernels of onnxruntime on Arm need FEAT_FP16 and exist for some operators only; their gain was not measured",
    ),
    runtime=replace(
        ONNXRUNTIME_CPU.runtime,
        checks=("onnxruntime-arm",),
        hosts=("aarch64", "arm64"),
        agreement=(
            "the file is fully integer between its edges: onnxruntime on ARM gives the same integers as here",
            "integer parts give the same integers on ARM as here, float parts agree to about 137 dB (another order of summation)",
        ),
        cores=("cortex-a53", "cortex-a76", "armv8-i8mm"),
    ),
)
