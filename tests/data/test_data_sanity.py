"""Does the data look like what the model expects?"""

from __future__ import annotations

import numpy as np
import pytest

from qconvert.data import Hints, sanity, scan
from qconvert.errors import QConvertError, Severity

X = {"x": "float32[N,2]"}
IMG = {"x": "float32[N,3,8,8]"}


def random(*shape) -> np.ndarray:
    return np.random.RandomState(0).rand(*shape).astype("f4")


def test_usual_data_is_silent(make, data):
    make.npy("a.npy", random(9, 2))
    assert scan(data(X).calibration) == ()
    make.npy("a.npy", (random(9, 3, 8, 8) * 255).astype("u1"))
    assert scan(data(IMG).calibration) == ()


@pytest.mark.parametrize(("dtype", "severity"), [("float32", Severity.WARNING), ("int64", Severity.NOTE)])
def test_constant_input(make, data, dtype, severity):
    make.npy("a.npy", np.ones((9, 2), dtype))
    (found,) = scan(data({"x": f"{dtype}[N,2]"}).calibration)
    assert (found.code, found.severity) == ("D102", severity)
    assert "1 in every sample" in found.message


def test_equal_samples(make, data):
    make.npy("a.npy", np.tile(random(1, 2), (9, 1)))
    (found,) = scan(data(X).calibration)
    assert found.code == "D102"
    assert "all 9 samples" in found.message
    assert scan(data(X).calibration.take(1)) == ()


def test_zero_channel(make, data):
    array = random(9, 3, 8, 8)
    array[:, 1] = 0
    make.npy("a.npy", array)
    (found,) = scan(data(IMG).calibration)
    assert found.code == "D102"
    assert "channel 1" in found.message


def test_huge(make, data):
    make.npy("a.npy", random(9, 2) * 1e6)
    (found,) = scan(data(X).calibration)
    assert (found.code, found.severity) == ("D101", Severity.WARNING)
    assert "scale" in found.hint


def test_images_rounded_after_scaling(make, data):
    make.npy("a.npy", np.round(random(9, 3, 8, 8)))
    (found,) = scan(data(IMG).calibration)
    assert found.code == "D101"
    assert "2 different values" in found.message


def test_what_the_first_layer_expects(make, data):
    make.npy("a.npy", random(9, 2))
    expected = {"x": Hints(expected_mean=0.5, expected_var=0.08)}
    assert scan(data(X).calibration, expected) == ()
    (found,) = scan(data(X, preprocess={"scale": 255.0}).calibration, expected)
    assert found.code == "D101"
    assert sanity("x", 0, 1, 0.5, 0.01, expected["x"])[0].code == "D101"


def test_scan_gathers_the_mistakes_of_all_samples(make, data):
    array = random(9, 2)
    array[[2, 5], 0] = np.nan
    make.npy("a.npy", array)
    make.image("b/1.png")
    with pytest.raises(QConvertError) as caught:
        scan(data(X, kind="arrays").calibration)
    assert [(d.code, d.where) for d in caught.value.diagnostics] == [("D007", "a.npy[2]"), ("D007", "a.npy[5]")]
