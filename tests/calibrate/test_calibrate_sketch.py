"""A sketch is exact in its extremes, within a bucket elsewhere, and does not depend on how the data came."""

from functools import reduce

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quantize_support import EVERYWHERE, planned, text_model

from qconvert.calibrate import RANGE_METHODS, Sketch, Sketcher, activation_params, collect, fake_quantize, sketch_of
from qconvert.calibrate.sketch import THIN_ABOVE, thinned
from qconvert.data import Sample
from qconvert.errors import QConvertError
from qconvert.graph import Array
from qconvert.recipe.types import Calibration

PIXELS = np.random.default_rng(0).integers(0, 256, 3000).astype(np.float32)
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)
SAMPLES = st.lists(st.lists(FLOATS, min_size=1, max_size=40), min_size=1, max_size=6)


def equal(a: Sketch, b: Sketch) -> bool:
    return (a.low, a.high, a.size, a.step) == (b.low, b.high, b.size, b.step) and np.array_equal(a.counts, b.counts)


def arrays(samples: list[list[float]]) -> list[Array]:
    return [np.array(sample, np.float32) for sample in samples]


@settings(max_examples=40, deadline=None)
@given(SAMPLES, st.randoms(use_true_random=False))
def test_neither_order_nor_packaging_matters(samples: list[list[float]], shuffle: object) -> None:
    parts = arrays(samples)
    streamed = Sketcher()
    for part in parts:
        streamed.add(part)
    shuffled = list(parts)
    shuffle.shuffle(shuffled)  # type: ignore[attr-defined]
    merged = reduce(Sketch.merged, [sketch_of(part) for part in shuffled])
    assert equal(streamed.result(), merged)
    assert equal(merged, sketch_of(np.concatenate(parts)))


@settings(max_examples=40, deadline=None)
@given(SAMPLES)
def test_merging_is_associative(samples: list[list[float]]) -> None:
    parts = [sketch_of(a) for a in arrays(samples)]
    assert equal(reduce(Sketch.merged, parts), reduce(lambda a, b: b.merged(a), reversed(parts)))


@settings(max_examples=60, deadline=None)
@given(SAMPLES)
def test_extremes_and_sizes_are_exact_and_buckets_are_narrow(samples: list[list[float]]) -> None:
    values = np.concatenate(arrays(samples))
    sketch = sketch_of(values)
    assert (sketch.low, sketch.high, sketch.size) == (values.min(), values.max(), values.size)
    centres, counts = sketch.bins
    assert counts.sum() == values.size
    got, wanted = np.repeat(centres, counts), np.sort(values.astype(np.float64))
    tiny = float(np.finfo(np.float32).tiny)
    assert (np.abs(got - wanted) <= np.abs(wanted) / 128 + tiny / 128).all()


def test_extremes_see_what_the_histogram_skips() -> None:
    values = np.zeros(10 * THIN_ABOVE, np.float32)
    values[[12_345, 23_456]] = -7.125, 1e30
    sketch = sketch_of(values)
    assert (sketch.low, sketch.high, sketch.size) == (-7.125, np.float32(1e30), values.size)


@pytest.mark.parametrize("channels", [3, 16, 64, 96, 1000])
def test_thinning_visits_every_channel_equally_often(channels: int) -> None:
    """Interleaved channels and whole rows are both seen evenly, whatever their number."""
    rows = 200_000 // channels
    interleaved = thinned(np.tile(np.arange(channels), rows))
    planar = thinned(np.repeat(np.arange(channels), rows))
    assert interleaved.size <= THIN_ABOVE
    for seen in (interleaved, planar):
        counts = np.bincount(seen, minlength=channels)
        assert counts.max() - counts.min() <= 1 + (seen is planar)


@pytest.mark.parametrize("size", [THIN_ABOVE + 1, 30_030, 510_510, 200_003])
def test_thinning_keeps_the_distribution(size: int) -> None:
    """Kolmogorov-Smirnov distance of the thinned to the whole sample, at the level of 1 in a million (DKW inequality)."""
    values = np.random.default_rng(size).standard_normal(size).astype(np.float32)
    seen = np.sort(thinned(values))
    assert THIN_ABOVE / 16 < seen.size <= THIN_ABOVE
    share = np.searchsorted(np.sort(values), seen, side="right") / size
    distance = np.abs(share - np.arange(1, seen.size + 1) / seen.size).max()
    assert distance <= np.sqrt(np.log(2 / 1e-6) / (2 * seen.size))


def test_small_tensors_are_not_thinned() -> None:
    values = np.arange(THIN_ABOVE, dtype=np.float32)
    assert thinned(values) is values


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_no_value_that_is_not_finite_is_lost(bad: float, place: int) -> None:
    samples = [np.ones(5, np.float32) for _ in range(3)]
    samples[place][3] = bad
    sketcher = Sketcher()
    for sample in samples:
        sketcher.add(sample)
    merged = reduce(Sketch.merged, [sketch_of(s) for s in samples])
    for sketch in (sketcher.result(), merged):
        assert not np.isfinite([sketch.low, sketch.high]).all()


def test_a_tensor_without_elements_says_nothing() -> None:
    empty = sketch_of(np.zeros((0, 4), np.float32))
    full = sketch_of(np.array([2.0, 3.0], np.float32))
    assert (empty.low, empty.high, empty.size) == (0, 0, 0)
    assert equal(empty.merged(full), full)
    assert equal(full.merged(empty), full)


def test_integers_and_halves_are_taken_as_floats() -> None:
    assert equal(sketch_of(np.array([1, -2, 3], np.int64)), sketch_of(np.array([1, -2, 3], np.float16)))


def test_only_observed_tensors_are_shown_and_inputs_too() -> None:
    graph = text_model("(float[1,4] x) => (float[1,4] z) { y = Relu(x) z = Exp(y) }")
    sketchers = {"x": (Sketcher(),), "y": (Sketcher(),)}
    seen: list[int] = []
    samples = [Sample(str(n), {"x": np.float32([[-n, n, 0, 1]])}) for n in range(1, 4)]
    assert collect(graph, samples, sketchers, progress=seen.append) == 3
    assert seen == [1, 2, 3]
    assert (sketchers["x"][0].result().low, sketchers["y"][0].result().low, sketchers["y"][0].result().high) == (
        -3,
        0,
        3,
    )


def test_a_model_that_overflows_is_refused_by_name() -> None:
    graph = text_model("(float[1,4] x) => (float[1,4] z) { y = Exp(x) z = Sigmoid(y) }")
    made, sketcher = planned(graph), Sketcher()
    collect(
        graph,
        [Sample("0", {"x": np.float32([[1, 2, 3, 4]])}), Sample("1", {"x": np.float32([[1, 2, 300, 4]])})],
        {"y": (sketcher,), "z": (Sketcher(),)},
    )
    with pytest.raises(QConvertError) as caught:
        activation_params(made, {"y": sketcher.result(), "z": sketcher.result()}, EVERYWHERE.calibration)
    assert caught.value.diagnostics[0].code == "M013"
    assert caught.value.diagnostics[0].where == "tensor `y`"


@pytest.mark.parametrize(
    ("values", "step"),
    [
        (PIXELS, 1.0),
        (PIXELS - 128, 1.0),
        (PIXELS / 255, 1 / 255),
        (PIXELS / 127.5 - 1, None),  # zero lies between two of them
        (PIXELS / 255 - np.float32(0.456), None),
        (PIXELS // 32, None),  # too few to mean anything
        (np.random.default_rng(0).standard_normal(3000), None),
        (np.maximum(np.random.default_rng(0).standard_normal(3000), 0), None),
    ],
)
def test_values_made_of_8_bits_are_recognized(values: np.ndarray, step: float | None) -> None:  # type: ignore[type-arg]
    whole = sketch_of(values.astype(np.float32))
    parts = [sketch_of(part) for part in np.array_split(values.astype(np.float32), 4)]
    merged = parts[0].merged(parts[1]).merged(parts[2].merged(parts[3]))
    for found in (whole, merged):
        assert found.step == (None if step is None else pytest.approx(step, rel=1e-5))


def test_an_input_of_pixels_is_exact_whatever_the_method() -> None:
    graph = text_model(
        "(float[1,1,40,40] x) => (float[1,1,40,40] y) { y = Conv <pads = [0, 0, 0, 0]> (x, w) }",
        w=np.ones((1, 1, 1, 1), np.float32),
    )
    pixels = np.clip(PIXELS[:1600], 3, 250).reshape(1, 1, 40, 40) / np.float32(255)
    chosen = planned(graph)
    sketches = {name: sketch_of(pixels) for name in chosen.taps}
    for method in RANGE_METHODS:
        found = activation_params(chosen, sketches, Calibration(method=method))["x"]
        assert np.abs(fake_quantize(pixels, found) - pixels).max() < 1e-6
        assert float(found.scale) == pytest.approx(1 / 255, rel=1e-5)


def test_a_cell_state_that_is_read_stays_what_it_is() -> None:
    weights = {"w": np.ones((1, 8, 3), np.float32), "r": np.ones((1, 8, 2), np.float32)}
    graph = text_model(
        "(float[5,1,3] x) => (float[1,1,2] z) { y, h, c = LSTM <hidden_size=2> (x, w, r)  z = Relu (c) }", **weights
    )
    watching = {name: Sketcher() for name in ("c", "z")}
    samples = [Sample("s", {"x": np.ones((5, 1, 3), np.float32)})]
    collect(graph, samples, {name: (sketcher,) for name, sketcher in watching.items()})
    assert {name: sketcher.result().size for name, sketcher in watching.items()} == {"c": 2, "z": 2}
