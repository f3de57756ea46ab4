"""What `tune` measures of the recipe as given is what `convert` makes of it, in every precision and for every kind of file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from end_to_end_support import Cli, model, weight
from onnx import helper
from tune_support import make_case

from qconvert.runtime.tflite import available

PRECISIONS = [
    ("x86-vnni", "static"),
    ("x86-vnni", "dynamic"),
    ("x86-vnni", "float16"),
    ("tensorrt", "static"),
    ("tensorrt", "float16"),
    ("tensorrt", "bfloat16"),
    ("tensorrt", "float8"),
    ("tflite-micro", "static"),
]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(capsys)


def compared(cli: Cli, folder: Path, file: Path, data: Path, target: str, **changes: object) -> tuple[float, float]:
    """SQNR in dB of the recipe as given in `tune`, and of the conversion with it."""
    settings = {"evaluation.latency": False, "evaluation.layers": False, **changes}
    sets = [part for key, value in settings.items() for part in ("--set", f"{key}={value}".replace("False", "false"))]
    given = ("-t", target, "-d", data, *sets)
    tuned = cli("tune", file, *given, "--min-sqnr", 1, "--time", "0s", "-o", folder / "tuned", "--json", "-q")
    assert tuned.code == 0, tuned.err
    done = cli("convert", file, *given, "-o", folder / "converted", "--json", "-q")
    assert done.code == 0, done.err
    first = tuned.json["trials"][0]["outcome"]["sqnr_db"]
    return first, done.json["measurements"]["fidelity"]["sqnr_db"]


@pytest.mark.parametrize(("target", "mode"), PRECISIONS)
def test_the_recipe_as_given_measures_as_it_converts(cli: Cli, tmp_path: Path, target: str, mode: str) -> None:
    if target == "tflite-micro" and not available("tflm"):
        pytest.skip("needs the extra `tflite`")
    file, _, data = make_case(tmp_path)
    first, converted = compared(cli, tmp_path, file, data, target, mode=mode, placement="everywhere")
    assert first == pytest.approx(converted, abs=1e-6)


def test_activations_beyond_16_bits_stay_in_float32_here_too(cli: Cli, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    tensors = {"big": weight(rng, 8, 8) * 1e6, "w": weight(rng, 8, 4)}
    nodes = [
        helper.make_node("MatMul", ["x", "big"], ["a"], name="wide"),
        helper.make_node("Tanh", ["a"], ["b"], name="bounded"),
        helper.make_node("MatMul", ["b", "w"], ["y"], name="last"),
    ]
    onnx.save(model(nodes, {"x": ("batch", 8)}, {"y": ("batch", 4)}, tensors), tmp_path / "wild.onnx")
    for part in ("calib", "eval"):
        (tmp_path / "data" / part).mkdir(parents=True)
        np.savez(tmp_path / "data" / part / "samples.npz", x=rng.standard_normal((8, 8)).astype(np.float32))
    first, converted = compared(cli, tmp_path, tmp_path / "wild.onnx", tmp_path / "data", "x86-vnni", mode="float16")
    assert first == pytest.approx(converted, abs=1e-6)
