"""Scales that are powers of two, through every algorithm to the file."""

import numpy as np
import pytest
from end_to_end_support import SAMPLES
from hypothesis import given
from hypothesis import strategies as st

import qconvert
from qconvert.calibrate import params_for_range
from qconvert.errors import QConvertError
from qconvert.graph import load
from qconvert.targets.formats import Format

SHIFTS = (-126, 127)


@given(st.floats(-1e6, 0), st.floats(0, 1e6), st.booleans())
def test_ranges_are_covered_by_the_next_power_of_two(low, high, symmetric):
    format_ = Format("int8" if symmetric else "uint8", symmetric, exponents=SHIFTS)
    free = params_for_range(Format(format_.dtype, symmetric), low, high)
    found = params_for_range(format_, low, high)
    assert np.log2(found.scale) == np.rint(np.log2(found.scale))
    if high - low > 1e-30:
        assert free.scale * 0.999 <= found.scale <= 2.001 * free.scale
        assert found.low <= low + found.scale
        assert found.high >= high - found.scale


@pytest.mark.parametrize("name", ["digits_resnet", "digits_mobilenet"])
def test_every_scale_of_the_file_is_a_power_of_two(tmp_path, name):
    folder, out = SAMPLES / name, tmp_path / "m.onnx"
    changes = {"calibration.scales": "power-of-two", "dataset.samples": 16, "evaluation.latency": False}
    model = folder / f"{name}.onnx"
    record = qconvert.convert(
        model, out, data=folder, recipe=folder / "recipe.yaml", target="x86-vnni", changes=changes
    )
    graph = load(out)
    scales = [n.input(1) for n in graph.nodes if n.op in ("QuantizeLinear", "DequantizeLinear")]
    values = np.concatenate([graph.weights[name].numpy().reshape(-1) for name in scales])
    assert values.size > 20
    assert np.array_equal(np.log2(values), np.rint(np.log2(values)))
    assert record.measurements.fidelity.sqnr_db > 15


def test_dynamic_scales_are_refused_before_data_are_read(tmp_path):
    changes = {"calibration.scales": "power-of-two", "mode": "dynamic"}
    with pytest.raises(QConvertError, match="R009") as caught:
        qconvert.convert(
            SAMPLES / "digits_transformer" / "digits_transformer.onnx",
            tmp_path / "m.onnx",
            data=tmp_path / "none",
            target="x86-vnni",
            changes=changes,
        )
    assert "static" in caught.value.diagnostics[0].hint
