"""Networks that nobody drew: whatever is chained, a conversion finishes and stays as close as 8 bits are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from random_models import random_model

import qconvert

_PLAIN = {"algorithms": "none", "evaluation.latency": False}
_EVERYWHERE = {"mode": "static", "placement": "everywhere"}
_WORST_DB = 15.0  # of a dozen layers and more that were rounded to nearest


def _cases() -> Iterator[tuple[str, Mapping[str, object], int]]:
    for seed in range(10):
        yield "x86-vnni", _PLAIN | _EVERYWHERE, seed
    for seed in range(8):
        yield "tflite-micro", _PLAIN, seed
    for seed in range(30, 34):
        yield "arm-neon", _PLAIN | _EVERYWHERE | {"format": "qoperator"}, seed
        yield "tensorrt", _PLAIN | _EVERYWHERE, seed
        yield "x86-vnni", _PLAIN | {"mode": "weight-only"}, seed
        yield "x86-vnni", _PLAIN | {"mode": "float16"}, seed
    for seed in (200, 201):
        yield "x86-vnni", {"evaluation.latency": False} | _EVERYWHERE, seed
    for seed in (80, 95):  # operators of a newer opset for 16-bit tensors; a group that only ConvTranspose reads
        yield "tflite-micro", {"evaluation.latency": False}, seed


@pytest.mark.parametrize(("target", "changes", "seed"), list(_cases()))
def test_random_networks_are_converted(tmp_path: Path, target: str, changes: Mapping[str, object], seed: int) -> None:
    model, data = random_model(seed)
    onnx.save(model, tmp_path / "model.onnx")
    (tmp_path / "data").mkdir()
    np.savez(tmp_path / "data" / "samples.npz", **data)  # type: ignore[arg-type]
    record = qconvert.convert(
        tmp_path / "model.onnx", tmp_path / "out", data=tmp_path / "data", target=target, changes=changes
    )
    assert record.measurements.fidelity is not None
    assert record.measurements.fidelity.sqnr_db > _WORST_DB
