"""Ranges from and to the files of TensorRT and AIMET."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import pytest
from end_to_end_support import Cli, Place
from hypothesis import given, settings
from hypothesis import strategies as st

from qconvert.calibrate import RANGE_TABLES, params_fixed, params_for_span, read_ranges
from qconvert.errors import QConvertError
from qconvert.targets.formats import Format

U8, S8 = Format("uint8", symmetric=False), Format("int8", symmetric=True)
OLD = {
    "version": "0.6.1",
    "activation_encodings": {
        "x": [{"bitwidth": 8, "dtype": "int", "is_symmetric": "False", "max": 3.06, "min": -2.04, "offset": -102, "scale": 0.02}],
        "f": [{"bitwidth": 16, "dtype": "float"}],
    },
    "param_encodings": {},
}  # fmt: skip
NEW = {
    "version": "1.0.0",
    "activation_encodings": [{"name": "x", "bw": 8, "dtype": "INT", "enc_type": "PER_TENSOR", "is_sym": False, "offset": [-102], "scale": [0.02]}],
    "param_encodings": [],
}  # fmt: skip


def hex_of(value: float) -> str:
    return struct.pack(">f", value).hex()


def written(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_scales_of_a_tensorrt_cache_are_bits_of_floats(tmp_path: Path) -> None:
    cache = f"TRT-8601-EntropyCalibration2\nx: {hex_of(0.05)}\nmodel/conv:0: 3c010a14\n\n"
    spans = read_ranges(written(tmp_path / "c.cache", cache))
    assert spans["x"].high == pytest.approx(6.35)
    assert spans["model/conv:0"].high == pytest.approx(127 * struct.unpack(">f", bytes.fromhex("3c010a14"))[0])
    params = params_for_span(spans["x"], S8)
    assert (float(params.scale), int(params.zero_point)) == (float(np.float32(0.05)), 0)


@pytest.mark.parametrize("content", [OLD, NEW], ids=["0.6.1", "1.0.0"])
def test_encodings_of_aimet(tmp_path: Path, content: object) -> None:
    spans = read_ranges(written(tmp_path / "m.encodings", content))
    assert list(spans) == ["x"]
    assert (spans["x"].low, spans["x"].high) == pytest.approx((-2.04, 3.06))
    params = params_for_span(spans["x"], U8)
    assert (float(params.scale), int(params.zero_point)) == (float(np.float32(0.02)), 102)


@settings(max_examples=30, deadline=None)
@given(st.floats(2.0**-20, 1024, width=32), st.integers(0, 255))
def test_aimet_round_trip_is_exact(tmp_path_factory: pytest.TempPathFactory, scale: float, zero: int) -> None:
    params = params_fixed(U8, scale, zero)
    text = RANGE_TABLES["aimet"][1]({"x": params}, {})
    again = params_for_span(read_ranges(written(tmp_path_factory.mktemp("a") / "e", text))["x"], U8)
    assert (float(again.scale), int(again.zero_point)) == (float(params.scale), zero)


@settings(max_examples=30, deadline=None)
@given(st.floats(2.0**-20, 1024, width=32))
def test_tensorrt_round_trip_is_exact(tmp_path_factory: pytest.TempPathFactory, scale: float) -> None:
    params = params_fixed(S8, scale, 0)
    text = RANGE_TABLES["tensorrt"][1]({"x": params}, {})
    again = params_for_span(read_ranges(written(tmp_path_factory.mktemp("t") / "c", text))["x"], S8)
    assert float(again.scale) == float(params.scale)


@pytest.mark.parametrize(
    "content", ["", "TRT-1\nx: zz", "TRT-1\nx: 7fc00000", "{}", '{"activation_encodings": 3}', "[1]"]
)
def test_damaged_tables(tmp_path: Path, content: str) -> None:
    with pytest.raises(QConvertError) as error:
        read_ranges(written(tmp_path / "t", content))
    (found,) = error.value.diagnostics
    assert (found.code, found.where) == ("R015", str(tmp_path / "t"))


# --- in a conversion -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["tensorrt", "aimet"])
def test_what_one_run_writes_another_reads(cli: Cli, place: Place, form: str) -> None:
    """With the table of a calibrated run, a run without data gives the same file."""
    target, name = {"tensorrt": ("tensorrt", "m.calibration.cache"), "aimet": ("x86-vnni", "m.encodings")}[form]
    assert cli(*place.convert("-t", target, "--no-evaluate", "--write-ranges", form)).code == 0
    table = place.output.parent / name
    again = place.root / "again" / "m.onnx"
    common = ("--set", "placement=everywhere", "--set", "algorithms=none")
    ran = cli("convert", place.model, "-t", target, "-o", again, "--ranges", table, *common)
    assert ran.code == 0, ran.err
    assert scales(place.output) == scales(again)


def scales(path: Path) -> list[bytes]:
    import onnx
    from onnx import numpy_helper

    tensors = {t.name: numpy_helper.to_array(t) for t in onnx.load(path).graph.initializer}
    return [tensors[name].tobytes() for name in sorted(tensors) if tensors[name].dtype.kind in "iuf"]


def test_unknown_tensors_are_named(cli: Cli, place: Place) -> None:
    table = written(place.root / "t.cache", f"TRT-1\nx: {hex_of(0.02)}\nc11: {hex_of(0.5)}\n")
    ran = cli(*place.convert("-t", "tensorrt", "--no-evaluate", "--ranges", table))
    assert ran.code == 0, ran.err
    assert "1 of 2 tensors are not in the model: `c11`" in ran.err + ran.out
    assert "is `c1` meant?" in ran.err + ran.out
    written(table, f"TRT-1\nnothing: {hex_of(0.02)}\n")
    ran = cli(*place.convert("-t", "tensorrt", "--ranges", table, output=place.root / "other"))
    assert (ran.code, "R015" in ran.err) == (2, True)
