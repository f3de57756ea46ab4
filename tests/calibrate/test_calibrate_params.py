"""Properties of quantization that everything else rests on, and of the parameters of weights and biases."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quantize_support import EVERYWHERE, X86, feeds_of, planned, quantized, random, run, text_model

from qconvert.calibrate import (
    activation_params,
    constant_params,
    dequantize,
    fake_quantize,
    params_for_range,
    params_for_scale,
    quantize,
    sketch_of,
)
from qconvert.graph import Array
from qconvert.plan import WeightPlan
from qconvert.targets import Format

FORMATS = [
    Format("uint8", symmetric=False),
    Format("uint8", symmetric=True),
    Format("int8", symmetric=False),
    Format("int8", symmetric=True, narrow=True),
    Format("int8", symmetric=True, narrow=True, bits=7),
    Format("uint16", symmetric=False, bits=16),
]
TINY = np.finfo(np.float32).tiny
ENDS = st.floats(-(2.0**60), 2.0**60, width=32)
RANGES = st.tuples(ENDS, ENDS).map(sorted)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(FORMATS), RANGES)
def test_zero_is_exact_and_every_value_is_within_half_a_step(format_: Format, ends: list[float]) -> None:
    low, high = ends
    params = params_for_range(format_, low, high)
    assert fake_quantize(np.zeros(1, np.float32), params)[0] == 0
    values = np.linspace(low, high, 257).astype(np.float32).clip(low, high)
    error = np.abs(fake_quantize(values, params).astype(np.float64) - values)
    rounding = np.abs(values.astype(np.float64)) * 2e-7  # of the float32 arithmetic, which 16-bit codes come near to
    assert (error <= 0.501 * float(params.scale) + rounding).all()


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(FORMATS), RANGES, st.lists(ENDS, min_size=1, max_size=20))
def test_a_second_round_trip_changes_nothing(format_: Format, ends: list[float], values: list[float]) -> None:
    params = params_for_range(format_, *ends)
    once = fake_quantize(np.array(values, np.float32), params)
    assert np.array_equal(fake_quantize(once, params), once)
    assert once.min() >= float(params.low)
    assert once.max() <= float(params.high)


@settings(max_examples=50, deadline=None)
@given(st.sampled_from(FORMATS), RANGES)
def test_every_code_survives(format_: Format, ends: list[float]) -> None:
    params = params_for_range(format_, *ends)
    codes = np.unique(np.linspace(format_.qmin, format_.qmax, 300).astype(format_.dtype))
    assert np.array_equal(quantize(dequantize(codes, params), params), codes)


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from([f for f in FORMATS if f.bits == 8 and not f.narrow]),
    RANGES,
    st.lists(ENDS, min_size=1, max_size=30),
)
def test_the_arithmetic_is_that_of_the_runtime(format_: Format, ends: list[float], values: list[float]) -> None:
    params, array = params_for_range(format_, *ends), np.array(values, np.float32)
    graph = text_model(
        f"(float[{array.size}] x) => ({format_.dtype}[{array.size}] q, float[{array.size}] y) {{ q = QuantizeLinear (x, s, z) y = DequantizeLinear (q, s, z) }}",
        s=params.scale, z=params.zero_point,
    )  # fmt: skip
    got = run(graph, [{"x": array}], optimize=False)[0]
    assert np.array_equal(got["q"], quantize(array, params))
    assert np.array_equal(got["y"], fake_quantize(array, params))


@pytest.mark.parametrize("format_", FORMATS, ids=str)
@pytest.mark.parametrize("reach", [0.0, 1e-45, 1e-40, 1e-38, 1.0, 1e38])
def test_no_scale_is_subnormal_or_zero(format_: Format, reach: float) -> None:
    for low, high in ((-reach, reach), (0.0, reach), (-reach, 0.0)):
        params = params_for_range(format_, low, high)
        assert np.isfinite(params.scale)
        assert params.scale >= TINY


# --- weights -----------------------------------------------------------------------------------------------------------

INT8 = X86.formats.weight


@pytest.mark.parametrize("method", ["mse", "min-max"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_channel_has_the_scale_that_it_would_have_alone(method: str, axis: int) -> None:
    weight = random(4, 5, 6) * np.geomspace(1e-3, 1e3, 5, dtype=np.float32)[:, None]
    params = constant_params(weight, WeightPlan(INT8, axis), method)
    assert params.scale.shape == params.zero_point.shape == (weight.shape[axis],)
    alone = [constant_params(np.take(weight, n, axis), WeightPlan(INT8), method) for n in range(weight.shape[axis])]
    assert params.scale == pytest.approx([float(a.scale) for a in alone], rel=1e-6)
    assert np.array_equal(
        np.stack([np.take(fake_quantize(weight, params), n, axis) for n in range(weight.shape[axis])]),
        np.stack([fake_quantize(np.take(weight, n, axis), a) for n, a in enumerate(alone)]),
    )


@pytest.mark.parametrize("axis", [None, 0])
def test_mse_weights_are_no_worse_than_min_max(axis: int | None) -> None:
    weight = np.random.default_rng(1).standard_t(3, (8, 500)).astype(np.float32)
    errors = [
        np.square(fake_quantize(weight, constant_params(weight, WeightPlan(INT8, axis), m)) - weight).sum()
        for m in ("mse", "min-max")
    ]
    assert errors[0] <= errors[1]


@pytest.mark.parametrize("method", ["mse", "min-max"])
def test_dead_channels_stay_dead(method: str) -> None:
    weight = random(4, 9)
    weight[[1, 3]] = 0
    params = constant_params(weight, WeightPlan(INT8, 0), method)
    assert (fake_quantize(weight, params)[[1, 3]] == 0).all()
    assert np.isfinite(params.scale).all()
    assert (params.scale >= TINY).all()


def test_asymmetric_constants_cover_their_range() -> None:
    constant = np.array([[0.5, 2.0, 9.75]], np.float32)
    params = constant_params(constant, WeightPlan(X86.formats.activation))
    assert np.abs(fake_quantize(constant, params) - constant).max() <= 0.501 * params.scale


@pytest.mark.parametrize("granularity", ["per-channel", "per-tensor"])
@pytest.mark.parametrize("size", [0.0, 1e-40, 1e-9, 1.0])
@pytest.mark.parametrize("offset", [0.0, 1.0, 1e9])
def test_a_bias_fits_into_32_bits(granularity: str, size: float, offset: float) -> None:
    weight, bias = (random(6, 4, 1, 1) * size).astype(np.float32), np.linspace(-offset, offset, 6).astype(np.float32)
    graph = text_model("(float[1,4,5,5] x) => (float[1,6,5,5] y) { y = Conv (x, w, b) }", w=weight, b=bias)
    made = quantized(graph, feeds_of(graph), nodes={"n_y": {"granularity": granularity}})
    params = made.weights["n_y", 1]
    assert isinstance(params.scale, np.ndarray)
    assert params.scale.shape == ((6,) if granularity == "per-channel" else ())
    scale = np.asarray(made.activations["x"].scale * params.scale)
    assert (scale >= TINY).all()
    assert (np.abs(bias / scale.astype(np.float64)) < 2**31 - 1).all()
    exact = run(graph, feeds_of(graph), optimize=False)
    for form in ("qdq", "qoperator"):
        for a, b in zip(exact, run(made.emit(form), feeds_of(graph)), strict=True):
            step = float(made.activations["y"].scale)
            assert np.abs(a["y"] - b["y"]).max() <= step + 0.1 * size


def test_only_a_bias_widens_a_scale() -> None:
    """The third operand of a Concat or Where is none."""
    graph = text_model(
        "(float[1,2,4] x) => (float[1,6,4] y) { y = Concat <axis=1> (x, small, big) }",
        small=np.full((1, 2, 4), 1e-3, np.float32), big=np.full((1, 2, 4), 1e30, np.float32),
    )  # fmt: skip
    made = quantized(graph, feeds_of(graph))
    assert made.weights["n_y", 1].scale == pytest.approx(1e-3 / 255)


# --- groups ------------------------------------------------------------------------------------------------------------


def _params_of(sketches: dict[str, Array], text: str, join_concat: bool = False) -> dict[str, object]:
    from dataclasses import replace

    target = replace(X86, placement=replace(X86.placement, join_concat=join_concat))
    plan = planned(text_model(text), target)
    found = activation_params(
        plan, {n: sketch_of(v.astype(np.float32)) for n, v in sketches.items()}, EVERYWHERE.calibration
    )
    return {name: (round(float(p.low), 2), round(float(p.high), 2)) for name, p in found.items()}


def test_the_bounds_of_one_tensor_do_not_cut_another_of_its_group() -> None:
    text = "(float[1,2,4] x, float[1,2,4] z) => (float[1,4,4] y) { s = Sigmoid(x) y = Concat <axis=1> (s, z) }"
    values = {
        "x": np.array([-1.0, 1.0]),
        "s": np.array([0.2, 0.8]),
        "z": np.array([-6.0, 3.0]),
        "y": np.array([-6.0, 3.0]),
    }
    found = _params_of(values, text, join_concat=True)
    assert found["s"] == found["z"] == found["y"]
    low, high = found["z"]  # type: ignore[misc]
    assert low <= -5.95
    assert high >= 2.95


def test_scales_of_symmetric_weights_have_no_zero_point() -> None:
    params = params_for_scale(INT8, np.array([0.5, 0.25], np.float32), 0)
    assert not params.zero_point.any()
    assert params.zero_point.dtype == np.int8


@pytest.mark.parametrize("symmetric", [True, False])
def test_hqq_lowers_the_error_under_a_norm_that_forgives_outliers(symmetric):
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((24, 64)).astype(np.float32)
    weight[:, ::21] *= 6
    plan = WeightPlan(Format("int4" if symmetric else "uint4", symmetric, bits=4), 0, 32)
    errors = []
    for method in ("mse", "hqq"):
        rest = np.abs(fake_quantize(weight, constant_params(weight, plan, method)) - weight)
        errors.append((rest**0.7).reshape(24, 2, 32).sum(axis=2))
    assert (errors[1] <= errors[0] * 1.0001).all()
    assert errors[1].sum() < 0.995 * errors[0].sum()


@given(st.floats(-1.0, 0.0), st.floats(0.0, 1.0), st.booleans())
def test_scales_stay_above_the_least_of_their_format(low: float, high: float, symmetric: bool) -> None:
    params = params_for_range(Format("int8", symmetric, least_scale=1 / 148), low, high)
    assert params.scale == 1 or params.scale >= np.float32(1 / 148)
    assert params.low <= low + params.scale / 2
    assert params.high >= high - params.scale / 2
