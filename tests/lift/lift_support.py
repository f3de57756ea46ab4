"""Quantized models that other tools made, small."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from end_to_end_support import conv_model
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from qconvert.graph import Array, Graph
from qconvert.runtime import Feed, Options, opened


class Reader(CalibrationDataReader):
    def __init__(self, feeds: list[Feed]) -> None:
        self._feeds: Iterator[Feed] = iter(feeds)

    def get_next(self) -> Mapping[str, Array] | None:
        return next(self._feeds, None)


def images(count: int, side: int = 8, name: str = "x") -> list[Feed]:
    rng = np.random.default_rng(3)
    return [{name: rng.standard_normal((1, 3, side, side)).astype(np.float32)} for _ in range(count)]


def by_onnxruntime(folder: Path, form: str, activation: str = "QUInt8", per_channel: bool = True) -> Path:
    """A small convolutional model as onnxruntime's own quantizer writes it."""
    plain, prepared, path = folder / "float.onnx", folder / "prepared.onnx", folder / f"{form}.onnx"
    plain.write_bytes(conv_model(batch=1).SerializeToString())
    quant_pre_process(str(plain), str(prepared), skip_symbolic_shape=True)
    if form == "dynamic":
        quantize_dynamic(str(prepared), str(path), per_channel=per_channel, weight_type=QuantType.QInt8)
        return path
    quantize_static(
        str(prepared),
        str(path),
        Reader(images(8)),
        quant_format=QuantFormat[form],
        per_channel=per_channel,
        activation_type=QuantType[activation],
        weight_type=QuantType.QInt8,
    )
    return path


def outputs(graph: Graph, feeds: list[Feed]) -> list[dict[str, Array]]:
    with opened(graph, Options(optimize=False)) as session:
        return [session.run(feed) for feed in feeds]


def sqnr(wanted: list[dict[str, Array]], got: list[dict[str, Array]]) -> float:
    pairs = [(w[n].astype(np.float64), g[n]) for w, g in zip(wanted, got, strict=True) for n in w]
    noise = sum(float(((w - g) ** 2).sum()) for w, g in pairs)
    return float(10 * np.log10(sum(float((w**2).sum()) for w, _ in pairs) / max(noise, 1e-30)))
