"""Fidelity against slow computations over all samples at once."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qconvert.evaluate import Comparison, sqnr_db
from qconvert.evaluate.fidelity import deviation

FLOATS = st.floats(-1e3, 1e3, width=32).filter(lambda v: v == 0 or abs(v) > 1e-3)


def compared(pairs, part="evaluation"):
    comparison = Comparison()
    for before, after in pairs:
        comparison.add({"y": before}, {"y": after})
    return comparison.result(part)


def slow(pairs):
    signal = noise = worst = 0.0
    cosines = []
    for before, after in pairs:
        dot = left = right = 0.0
        for r, v in zip(before.ravel().tolist(), after.ravel().tolist(), strict=True):
            signal += r * r
            noise += (r - v) ** 2
            worst = max(worst, abs(r - v))
            dot, left, right = dot + r * v, left + r * r, right + v * v
        cosines.append(dot / math.sqrt(left * right))
    return 10 * math.log10(signal / noise), sum(cosines) / len(cosines), worst


def test_equals_the_slow_computation():
    rng = np.random.default_rng(0)
    pairs = []
    for length in (5, 1, 9):  # shapes may differ from sample to sample
        r = rng.normal(size=(1, length, 3)).astype(np.float32)
        pairs.append((r, r + rng.normal(size=r.shape).astype(np.float32) * 0.01))
    found, (sqnr, cosine, worst) = compared(pairs), slow(pairs)
    assert found.sqnr_db == pytest.approx(sqnr, rel=1e-9)
    assert found.cosine == pytest.approx(cosine, rel=1e-9)
    assert found.outputs[0].max_abs == pytest.approx(worst)
    assert (found.samples, found.part, found.outputs[0].name) == (3, "evaluation", "y")
    assert found.agreement is None


@given(hnp.arrays(np.float32, (4, 6), elements=FLOATS), hnp.arrays(np.float32, (4, 6), elements=FLOATS))
def test_streaming_equals_the_whole(before, after):
    streamed = compared([(b[None], a[None]) for b, a in zip(before, after, strict=True)])
    whole = compared([(before, after)])
    assert streamed.sqnr_db == pytest.approx(whole.sqnr_db, rel=1e-9, abs=1e-9)
    assert streamed.outputs[0].max_abs == whole.outputs[0].max_abs
    assert streamed.agreement == whole.agreement
    assert streamed.agreement_interval == whole.agreement_interval


@given(
    hnp.arrays(np.float32, (2, 5), elements=FLOATS),
    hnp.arrays(np.float32, (2, 5), elements=FLOATS),
    st.integers(-20, 20),
)
def test_scale_does_not_matter(before, after, power):
    scale = np.float32(2.0**power)
    plain, scaled = compared([(before, after)]), compared([(before * scale, after * scale)])
    assert scaled.sqnr_db == pytest.approx(plain.sqnr_db, rel=1e-9, abs=1e-9)
    assert scaled.cosine == pytest.approx(plain.cosine, abs=1e-9)
    assert scaled.agreement == plain.agreement


@given(hnp.arrays(np.float32, (7, 3), elements=FLOATS), hnp.arrays(np.float32, (7, 3), elements=FLOATS))
def test_agreement_lies_in_its_interval(before, after):
    found = compared([(before, after)])
    assert 0 <= found.agreement_interval.low <= found.agreement <= found.agreement_interval.high <= 1
    assert found.agreement_interval.high - found.agreement_interval.low > 0.05  # seven rows never make certain
    assert -1 <= found.cosine <= 1


def test_agreement_counts_rows():
    before = np.array([[1, 2], [2, 1], [0, 5], [5, 5]], np.float32)
    after = np.array([[1, 2], [1, 2], [0, 1], [5, 5]], np.float32)
    assert compared([(before, after)]).agreement == 0.75


@pytest.mark.parametrize(
    ("shape", "meaningful"),
    [((2, 3), True), ((2, 3, 1, 1), True), ((2, 1), False), ((6,), False), ((1, 2, 3), False), ((1, 2, 3, 1), False)],
)
def test_agreement_needs_classes(shape, meaningful):
    array = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    assert (compared([(array, array)]).agreement is not None) == meaningful


def test_agreement_needs_them_in_every_sample():
    a, b = np.zeros((1, 3), np.float32), np.zeros((1, 1), np.float32)
    assert compared([(a, a), (b, b)]).agreement is None


@pytest.mark.parametrize(
    ("signal", "noise", "db"),
    [
        (1.0, 0.0, math.inf), (0.0, 0.0, math.inf), (0.0, 1.0, -math.inf), (1.0, math.inf, -math.inf),
        (100.0, 1.0, 20.0), (1e-300, 1e-320, 200.0), (1.0, math.nan, -math.inf),
    ],
)  # fmt: skip
def test_sqnr_of_edge_cases(signal, noise, db):
    assert sqnr_db(signal, noise) == pytest.approx(db, rel=1e-3)


def test_zero_tensors():
    zero, one = np.zeros((1, 4), np.float32), np.ones((1, 4), np.float32)
    same, grown, gone = compared([(zero, zero)]), compared([(zero, one)]), compared([(one, zero)])
    assert (same.sqnr_db, same.cosine) == (math.inf, 1)
    assert (grown.sqnr_db, grown.cosine) == (-math.inf, 0)
    assert (gone.sqnr_db, gone.cosine) == (0, 0)


def test_several_outputs_weigh_the_same():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 1, 50)).astype(np.float32)
    noise = rng.normal(size=(2, 1, 50)).astype(np.float32) * 0.1
    comparison = Comparison()
    comparison.add(
        {"a": a * 1000, "b": b, "i": np.array([1])}, {"a": (a + noise[0]) * 1000, "b": b + noise[1], "i": np.array([2])}
    )
    found = comparison.result("calibration")
    parts = [10 ** (-o.sqnr_db / 10) for o in found.outputs[:2]]
    assert found.sqnr_db == pytest.approx(-10 * math.log10(sum(parts) / 2))
    assert found.cosine == pytest.approx((found.outputs[0].cosine + found.outputs[1].cosine) / 2)
    assert [o.name for o in found.outputs] == ["a", "b", "i"]


@pytest.mark.parametrize(
    ("before", "after", "share", "largest"),
    [
        (np.array([1, 2, 3, 4]), np.array([1, 2, 3, 9]), 0.75, 5),
        (np.array([True, False]), np.array([True, True]), 0.5, 1),
        (np.array(["a", "b"], object), np.array(["a", "c"], object), 0.5, 1),
        (np.array([3, 0], np.uint8), np.array([3, 255], np.uint8), 0.5, 255),
        (np.array([3, 4]), np.array([3, 4]), 1.0, 0),
        (np.zeros((0,), np.int64), np.zeros((0,), np.int64), 1.0, 0),
    ],
)
def test_other_types_are_equal_or_not(before, after, share, largest):
    found = compared([(before, after)])
    assert found.cosine == share
    assert found.outputs[0].max_abs == largest
    assert found.sqnr_db == (math.inf if share == 1 else pytest.approx(-10 * math.log10(1 - share)))


def test_shapes_that_depend_on_the_data():
    boxes, fewer = np.full((3, 4), 2, np.float32), np.full((2, 4), 2, np.float32)
    assert compared([(boxes, fewer)]).sqnr_db == pytest.approx(10 * math.log10(3))  # one of three boxes is missing
    assert compared([(fewer, boxes)]).sqnr_db == pytest.approx(10 * math.log10(2))
    assert compared([(np.arange(3), np.arange(2))]).cosine == 0
    assert compared([(np.zeros((2, 3, 4), np.float32), np.zeros((6,), np.float32))]).sqnr_db == math.inf


def test_values_that_are_not_finite():
    inf, nan = np.inf, np.nan
    same = np.array([[inf, -inf, nan, 2]], np.float32)
    assert compared([(same, same)]).sqnr_db == math.inf
    for other in ([[inf, inf, nan, 2]], [[1, -inf, nan, 2]], [[inf, -inf, nan, nan]]):
        found = compared([(same, np.array(other, np.float32))])
        assert (found.sqnr_db, found.cosine, found.outputs[0].max_abs) == (-math.inf, 0, math.inf)
    shifted = compared([(same, same + np.float32(1))])
    assert shifted.sqnr_db == pytest.approx(10 * math.log10(4))


def test_other_float_types():
    half = deviation(np.array([1.0, 2.0], np.float16), np.array([1.0, 2.5], np.float16))
    brain = deviation(np.array([1.0, 2.0], ml_dtypes.bfloat16), np.array([1.0, 2.5], ml_dtypes.bfloat16))
    assert (half.noise, half.signal) == (brain.noise, brain.signal) == (0.25, 5)


def test_what_is_no_tensor_is_left_out():
    comparison = Comparison()
    comparison.add({"maps": [{"a": 1.0}]}, {"maps": [{"a": 1.0}]})
    found = comparison.result("evaluation")
    assert found.outputs == ()
    assert math.isnan(found.sqnr_db)
    assert found.samples == 1


def test_the_record_can_be_written_as_json():
    zero, one = np.zeros((1, 4), np.float32), np.ones((1, 4), np.float32)
    assert '"sqnr_db":"-inf"' in compared([(zero, one)]).model_dump_json()
