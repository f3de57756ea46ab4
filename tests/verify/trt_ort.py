"""A small net with a residual Add, SiLU and a depthwise convolution, quantized by onnxruntime's own tool."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from trt_build import Net

from qconvert.graph import Graph, infer_types, load, save, weight

OPTIONS: dict[str, dict[str, Any]] = {
    "default": {},
    "uint8": {"activation_type": QuantType.QUInt8, "weight_type": QuantType.QUInt8},
    "symmetric": {
        "per_channel": True,
        "activation_type": QuantType.QInt8,
        "extra_options": {"ActivationSymmetric": True, "WeightSymmetric": True},
    },
    "tensorrt": {
        "per_channel": True,
        "activation_type": QuantType.QInt8,
        "op_types_to_quantize": ["Conv", "Add"],
        "extra_options": {
            "ActivationSymmetric": True,
            "WeightSymmetric": True,
            "QuantizeBias": False,
            "AddQDQPairToWeight": True,
            "OpTypesToExcludeOutputQuantization": ["Conv", "Add"],
        },
    },
}


class _Random(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self._samples: Iterator[dict[str, Any]] = iter(
            [{"x": rng.standard_normal((1, 3, 16, 16)).astype(np.float32)} for _ in range(3)]
        )

    def get_next(self) -> dict[str, Any] | None:
        return next(self._samples, None)


def float_net() -> Graph:
    net = Net(17)
    x = net.input(1, 3, 16, 16)
    a = net.op("Relu", net.conv(x, 3, 32, int8=False, name="stem"))
    b = net.op("Relu", net.conv(a, 32, 32, int8=False, name="res1"))
    c = net.conv(b, 32, 32, int8=False, name="res2")
    d = net.op("Relu", net.op("Add", c, a, name="add"), name="after_add")
    e = net.conv(d, 32, 32, int8=False, name="silu_conv")
    e = net.op("Mul", e, net.op("Sigmoid", e, name="gate"), name="silu")
    f = net.op("Relu", net.conv(e, 32, 32, 3, 32, int8=False, name="depthwise"))
    graph = net.graph(net.conv(f, 32, 32, 1, int8=False, name="head"))
    rng = np.random.default_rng(1)
    weights = {n: weight((rng.standard_normal(w.shape) * 0.1).astype(np.float32)) for n, w in graph.weights.items()}
    return graph.with_(weights=weights)


def quantized_by_onnxruntime(folder: Path, kind: str) -> Graph:
    source, target = folder / "float.onnx", folder / f"{kind}.onnx"
    save(float_net(), source)
    quantize_static(str(source), str(target), _Random(), quant_format=QuantFormat.QDQ, **OPTIONS[kind])
    return infer_types(load(target))
