"""Range methods against the same definitions computed slowly and exactly on the raw values."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qconvert.calibrate import RANGE_METHODS, MethodOptions, fake_quantize, params_for_range, sketch_of
from qconvert.calibrate.methods import _GRID, _LEVELS, _divergence
from qconvert.graph import Array
from qconvert.targets import Format

UINT8 = Format("uint8", symmetric=False)
INT8 = Format("int8", symmetric=True, narrow=True)
FORMATS = [
    UINT8,
    INT8,
    Format("int8", symmetric=False),
    Format("uint8", symmetric=True),
    Format("uint16", symmetric=False, bits=16),
]
OPTIONS = MethodOptions()
BUCKET = 1 / 128  # relative width of a bucket


def _samples() -> dict[str, Array]:
    rng = np.random.default_rng(11)
    normal = rng.standard_normal(4000)
    return {
        "normal": normal,
        "rectified": np.maximum(normal, 0),
        "shifted": normal * 0.3 + 4,
        "heavy tails": rng.standard_t(2, 4000),
        "one outlier": np.append(normal, 60.0),
        "uniform": rng.uniform(-1, 3, 4000),
        "negative": -np.exp(normal),
        "two values": np.where(normal > 1, 5.0, -0.25),
    }


SAMPLES = {name: values.astype(np.float32) for name, values in _samples().items()}
EVERY_SAMPLE = pytest.mark.parametrize("name", SAMPLES)


def _error(values: Array, low: float, high: float, format_: Format) -> float:
    return float(
        np.square(fake_quantize(values.astype(np.float64), params_for_range(format_, low, high)) - values).sum()
    )


@EVERY_SAMPLE
def test_min_max_is_exact(name: str) -> None:
    values = SAMPLES[name]
    assert RANGE_METHODS["min-max"](sketch_of(values), UINT8, OPTIONS) == (values.min(), values.max())


@EVERY_SAMPLE
@pytest.mark.parametrize("share", [100.0, 99.9, 99.0, 90.0])
def test_percentile_is_that_of_the_sorted_values_within_a_bucket(name: str, share: float) -> None:
    values = np.sort(SAMPLES[name].astype(np.float64))
    tail = (1 - share / 100) / 2 * values.size * (2 if values[0] >= 0 or values[-1] <= 0 else 1)
    low = values[0] if values[0] >= 0 else min(values[min(int(np.floor(tail)), values.size - 1)], 0.0)
    high = values[-1] if values[-1] <= 0 else max(values[int(np.ceil(values.size - tail)) - 1], 0.0)
    got = RANGE_METHODS["percentile"](sketch_of(SAMPLES[name]), UINT8, MethodOptions(percentile=share))
    assert got == pytest.approx((low, high), rel=BUCKET, abs=1e-30)


def test_percentile_of_everything_is_min_max() -> None:
    for values in SAMPLES.values():
        assert RANGE_METHODS["percentile"](sketch_of(values), UINT8, MethodOptions(percentile=100.0)) == pytest.approx(
            (values.min(), values.max()), rel=BUCKET
        )


@EVERY_SAMPLE
@pytest.mark.parametrize("format_", [UINT8, INT8], ids=str)
def test_mse_is_near_the_best_interval_there_is(name: str, format_: Format) -> None:
    values = SAMPLES[name]
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    cuts = np.linspace(0.02, 1.0, 50)
    if format_.symmetric:
        best = min(_error(values, cut * low, cut * high, format_) for cut in cuts)
    else:
        best = min(
            _error(values, a * low, b * high, format_)
            for a in (cuts[9::3] if low else [1.0])
            for b in (cuts[9::3] if high else [1.0])
        )
    found = _error(values, *RANGE_METHODS["mse"](sketch_of(values), format_, OPTIONS), format_)
    # Buckets and cells displace each value by up to 1/256 of itself, the grid of candidates is 0.25 % of the range.
    displaced = float(np.square(values / 256).sum())
    assert np.sqrt(found) <= 1.1 * np.sqrt(best) + np.sqrt(displaced) * 0.2
    assert found <= 1.05 * _error(values, low, high, format_) + 1e-12


@EVERY_SAMPLE
def test_entropy_finds_the_least_divergence_of_the_raw_histogram(name: str) -> None:
    values = SAMPLES[name]
    reach = float(np.abs(values).max())
    cells = (np.abs(values[values != 0].astype(np.float64)) * (_GRID / reach)).astype(int).clip(0, _GRID - 1)
    exact = np.bincount(cells, minlength=_GRID).astype(np.float64)
    ends = range(_LEVELS, _GRID + 1, _LEVELS // 8)
    low, high = RANGE_METHODS["entropy"](sketch_of(values), UINT8, OPTIONS)
    clip = max(-low, high)
    end = min(ends, key=lambda e: abs(reach * e / _GRID - clip))
    assert abs(reach * end / _GRID - clip) <= reach / _GRID
    divergences = {e: _divergence(exact, e) for e in ends}
    assert divergences[end] <= min(divergences.values()) + 0.05


METHODS = pytest.mark.parametrize("method", RANGE_METHODS)


@METHODS
@pytest.mark.parametrize("format_", FORMATS, ids=str)
@EVERY_SAMPLE
def test_no_method_leaves_the_values(method: str, format_: Format, name: str) -> None:
    sketch = sketch_of(SAMPLES[name])
    low, high = RANGE_METHODS[method](sketch, format_, OPTIONS)
    assert min(sketch.low, 0.0) <= low <= high <= max(sketch.high, 0.0)


@METHODS
@pytest.mark.parametrize("value", [0.0, 3.25, -3.25, 1e-42, -1e-42, 1e30])
@pytest.mark.parametrize("format_", FORMATS, ids=str)
def test_constant_tensors(method: str, value: float, format_: Format) -> None:
    values = np.full(100, value, np.float32)
    params = params_for_range(format_, *RANGE_METHODS[method](sketch_of(values), format_, OPTIONS))
    assert np.isfinite(params.scale)
    assert params.scale >= np.finfo(np.float32).tiny
    error = np.abs(fake_quantize(values, params) - values).max()
    assert error <= 0.5001 * params.scale


@METHODS
def test_one_sided_tensors_use_all_codes(method: str) -> None:
    for values, zero in ((np.linspace(0, 5, 999), 0), (np.linspace(-5, 0, 999), 255)):
        params = params_for_range(UINT8, *RANGE_METHODS[method](sketch_of(values.astype(np.float32)), UINT8, OPTIONS))
        assert params.zero_point == zero


@METHODS
@settings(max_examples=25, deadline=None)
@given(values=st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=1, max_size=50))
def test_any_values_give_usable_parameters(method: str, values: list[float]) -> None:
    for format_ in (UINT8, INT8):
        params = params_for_range(
            format_, *RANGE_METHODS[method](sketch_of(np.array(values, np.float32)), format_, OPTIONS)
        )
        assert np.isfinite(params.scale)
        assert params.scale >= np.finfo(np.float32).tiny
        assert format_.qmin <= int(params.zero_point) <= format_.qmax
