"""x86-64 with AVX-512 VNNI or AVX-VNNI, onnxruntime CPU."""

from __future__ import annotations

from dataclasses import replace

from .costs import Cost, CostModel
from .model import Rewrites
from .onnxruntime_cpu import ONNXRUNTIME_CPU

# Non-negative least squares over some 700 measured calls inside chains, on one core of an AMD Zen 4 (AVX-512 VNNI) with
# onnxruntime 1.31.1. Whole models come out within 6 % in float and 14 % in integers, their ratio within 6 %.
FLOAT = {
    "conv": Cost(896, mac=0.01675, read=0.0882, out_block=16, in_block=16),
    "conv-thin": Cost(500, mac=0.01792, write=0.059, out_block=16),
    "conv-unaligned": Cost(500, mac=0.01296, write=0.2853, weight=0.7318, column=0.2782, out_block=16),
    "conv-1x1": Cost(1548, mac=0.01736, read=0.0051, write=0.0238, weight=0.0388, out_block=16, in_block=16),
    "conv-1x1-thin": Cost(1250, mac=0.04999, read=0.0156, write=0.0062, out_block=16),
    "depthwise-4": Cost(946, mac=0.01785, read=0.0221, write=0.041, row=5.54, out_block=16, blocked=True),
    "depthwise-odd": Cost(16590, mac=0.14825),
    "grouped": Cost(21464, mac=0.02241, out_block=16),
    "grouped-16": Cost(1722, mac=0.0172, weight=0.0076),
    "conv-1d": Cost(2428, mac=0.01945, write=0.0447, out_block=16, in_block=4),
    "depthwise-1d": Cost(2955, mac=0.11835, write=0.024),
    "gemm": Cost(703, mac=0.01764, write=0.1013, weight=0.0057, out_block=16),
    "gemm-large": Cost(0, mac=0.01869, weight=0.0419, out_block=16),
    "gemm-few": Cost(879, mac=0.01754, write=0.0349, out_block=16),
    "gemm-few-large": Cost(879, mac=0.0205, write=0.0349, out_block=16),
    "lstm": Cost(3000, mac=0.0355),
    "gemm-row": Cost(690, mac=0.05003, read=0.3229, out_block=16),
    "gemm-row-large": Cost(690, mac=0.053, read=0.3229, out_block=16),
    "batched-matmul": Cost(1668, mac=0.0171, write=0.0345, read=0.06, out_block=16),
    "residual-add": Cost(write=0.06, out_block=16, blocked=True),
    "add": Cost(500, write=0.144),
    "mul": Cost(500, write=0.1646),
    "pair-broadcast": Cost(1288, write=0.1996),
    "pair-channel": Cost(1634, write=0.1089, out_block=16, blocked=True),
    "elementwise": Cost(500, write=0.2334),
    "silu-gate": Cost(),
    "silu-product": Cost(832, write=0.2788, out_block=16, blocked=True),
    "concat": Cost(810, write=0.0971),
    "maxpool": Cost(978, mac=0.01972, read=0.0281, out_block=16, blocked=True),
    "averagepool": Cost(500, mac=0.01996, read=0.0447, out_block=16, blocked=True),
    "globalaveragepool": Cost(885, read=0.0642),
    "reducemean": Cost(500, read=0.096),
    "sigmoid": Cost(500, write=0.3),
    "tanh": Cost(500, write=0.2704),
    "leakyrelu": Cost(500, write=0.1723),
    "hardswish": Cost(500, write=0.155),
    "hardsigmoid": Cost(500, write=0.14),
    "relu": Cost(),
    "clip": Cost(write=0.095, out_block=16, blocked=True),
    "gelu": Cost(723, write=0.6204),
    "erf": Cost(723, write=0.6204),
    "softmax": Cost(500, write=0.3297),
    "layernormalization": Cost(984, write=0.5354),
    "prelu": Cost(500, write=3.8798),
    "sqrt": Cost(500, write=0.3616),
    "resize": Cost(500, write=0.0704),
    "transpose": Cost(1561, write=0.2485),
    "transpose-nd": Cost(967, write=0.1186),
    "view": Cost(500, write=0.005),
    "slice": Cost(1509, write=0.1299),
    "split": Cost(1423, write=0.1052),
    "gather": Cost(500, write=0.1125),
    "pad": Cost(1500, write=0.107),
    "other": Cost(1000, write=0.15),
}  # fmt: skip

INTEGER = {
    "conv": Cost(1753, mac=0.00426, read=0.0011, write=0.044, weight=0.0158, tap=0.888, out_block=16),
    "conv-stem": Cost(1120, write=0.3331, weight=1.0089, tap=0.727, column=0.4873),
    "conv-odd": Cost(2645, mac=0.00469, write=0.1267, tap=2.142, column=0.0267, out_block=16, in_block=4),
    "conv-1x1": Cost(2008, mac=0.0044, write=0.0692, weight=0.0299, pixel=0.959, out_block=16, in_block=4),
    "conv-1x1-odd": Cost(4262, mac=0.00403, read=0.0119, write=0.2521, pixel=3.246, out_block=16, in_block=4),
    "depthwise-16": Cost(2261, mac=0.02585, write=0.1044, tap=0.762),
    "depthwise-8": Cost(2049, mac=0.05133, write=0.2336, tap=1.202),
    "depthwise-4": Cost(1427, mac=0.08225, tap=3.606),
    "grouped": Cost(1865, mac=0.00491, write=0.1173, tap=16.0, out_block=16, in_block=4),
    "conv-1d": Cost(2724, mac=0.00455, out_block=16, in_block=4),
    "depthwise-1d": Cost(1307, mac=0.03029, write=0.1158),
    "gemm": Cost(1764, mac=0.00451, write=0.3135, weight=0.008, out_block=16, in_block=4),
    "gemm-few": Cost(1827, mac=0.00553, write=1.0923, out_block=16, in_block=4),
    "gemm-row": Cost(1726, mac=0.01505, read=0.2593, write=3.6753, out_block=16, in_block=4),
    "batched-matmul": Cost(1846, mac=0.01095, read=0.05, write=0.1914, out_block=16, in_block=4),
    "add": Cost(921, write=0.1495),
    "mul": Cost(770, write=0.2217),
    "pair-broadcast": Cost(1077, write=0.2514),
    "pair-channel": Cost(3977, write=0.1445, pixel=11.75),
    "concat": Cost(2184, write=0.2355, pixel=1.375),
    "maxpool": Cost(500, mac=0.00953, write=0.0576, tap=0.889),
    "averagepool": Cost(500, mac=0.09845, write=3.9023, tap=3.962),
    "globalaveragepool": Cost(500, read=0.0515, write=0.5096),
    "sigmoid": Cost(971, write=0.2384),
    "leakyrelu": Cost(718, write=0.2452),
    "softmax": Cost(507, write=2.4296),
    "resize": Cost(1324, write=0.5681),
    "transpose": Cost(885, write=0.186),
    "transpose-nd": Cost(6459, write=3.2653),
    "view": Cost(500, write=0.003),
    "slice": Cost(1161, write=0.0118, pixel=4.147),
    "split": Cost(906, write=0.0262, pixel=3.035),
    "gather": Cost(500, write=0.0463),
}  # fmt: skip

DYNAMIC = {
    "gemm": Cost(2126, mac=0.00459, read=0.1296, write=0.1789, weight=0.0023, out_block=16, in_block=4),
    "gemm-few": Cost(2159, mac=0.00533, write=0.5115, out_block=16, in_block=4),
    "lstm": Cost(6000, mac=0.0185),
    "gemm-row": Cost(1749, mac=0.01438, write=1.8099, out_block=16, in_block=4),
}

COST = CostModel(
    real=FLOAT,
    integer=INTEGER,
    dynamic=DYNAMIC,
    quantize=Cost(670, write=0.119),
    dequantize=Cost(500, write=0.111),
    relayout=Cost(1350, write=0.15),
    source="measured on one core of an AMD Zen 4 with AVX-512 VNNI, onnxruntime 1.31.1",
)

X86_VNNI = replace(
    ONNXRUNTIME_CPU,
    name="x86-vnni",
    title="x86 VNNI (onnxruntime)",
    source="only uint8 activations with int8 weights reach vpdpbusd (MLAS platform.cpp); S8S8 is slower than FP32",
    cost=COST,
    rewrites=Rewrites(
        if_faster=("matmul-add-to-gemm", "stem-channels", "depthwise-channels", "average-pool-to-conv", "hard-swish"),
    ),
    artefact=replace(ONNXRUNTIME_CPU.artefact, sum_before_norm=True),
    runtime=replace(
        ONNXRUNTIME_CPU.runtime, checks=("onnxruntime-x86",), hosts=("x86_64", "AMD64"), cores=("haswell",)
    ),
    recipe_keys=("reduce_range",),
)
