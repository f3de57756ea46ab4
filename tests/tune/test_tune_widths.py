"""Where every node must be integer, the worst tensors get 16 bits instead of floats, and the interpreter agrees."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from end_to_end_support import Cli, strict_json
from tune_support import make_case, poisoned_model

from qconvert.runtime.tflite import available


@pytest.mark.skipif(not available("tflm"), reason="tflite-micro is not installed")
def test_a_poisoned_tensor_gets_16_bits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cli = Cli(capsys)
    model, _, data = make_case(tmp_path)
    onnx.save(poisoned_model(3000.0), model)
    common = ("convert", model, "-t", "tflite-micro", "-d", data, "--set", "evaluation.layers=false")
    assert cli(*common, "--set", "algorithms=none", "-o", tmp_path / "plain").code == 6
    ran = cli(*common, "--set", "algorithms=[mixed]", "-o", tmp_path / "mixed")
    assert ran.code == 0, ran.err
    report = strict_json((tmp_path / "mixed" / "model.report.json").read_text())
    assert report["measurements"]["fidelity"]["sqnr_db"] > 20
