"""onnxruntime's own quantizer, with the settings that suit x86 best; the yardstick of every benchmark.

`python -m tests.bench.peer static|dynamic MODEL SAMPLES OUTPUT` does it in a process of its own, from a folder of .npz files.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.shape_inference import quant_pre_process

PER_AXIS = 13  # first opset with scales along an axis
Feed = Mapping[str, Any]


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, feeds: Iterable[Feed]) -> None:
        self._feeds = iter(feeds)

    def get_next(self) -> Feed | None:
        return next(self._feeds, None)


def quantize(how: str, model: Path, feeds: Iterable[Feed], output: Path, method: str = "MinMax") -> None:
    """Quantize a model statically or dynamically; `feeds` and `method` are for the first."""
    logging.getLogger().setLevel(logging.ERROR)
    output.parent.mkdir(parents=True, exist_ok=True)
    if how == "dynamic":
        quantize_dynamic(model, output, per_channel=True)
        return
    with tempfile.TemporaryDirectory() as folder:
        quantize_static(
            fold(model, Path(folder)),
            output,
            _Reader(feeds),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            calibrate_method=CalibrationMethod[method],
        )


def fold(model: Path, folder: Path) -> Path:
    """The model with BatchNormalization folded and shapes inferred, its opset raised where scales along an axis need it."""
    loaded = onnx.load(model)
    opset = next(o.version for o in loaded.opset_import if o.domain in ("", "ai.onnx"))
    if opset < PER_AXIS:
        model = folder / "raised.onnx"
        onnx.save(onnx.version_converter.convert_version(loaded, PER_AXIS), model)
    folded = folder.resolve() / "folded.onnx"
    model = model.resolve()
    with contextlib.chdir(folder):  # it leaves temporary files in the working folder
        try:
            quant_pre_process(model, folded)
        except Exception as error:  # it raises Exception itself
            if "symbolic shape inference" not in str(error):
                raise
            quant_pre_process(model, folded, skip_symbolic_shape=True)
    return folded


def read_feeds(folder: Path) -> Iterator[Feed]:
    """The samples of a folder of .npz files."""
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as arrays:
            yield {name: arrays[name] for name in arrays.files}


if __name__ == "__main__":
    quantize(sys.argv[1], Path(sys.argv[2]), read_feeds(Path(sys.argv[3])), Path(sys.argv[4]), *sys.argv[5:])
