"""Intervals against textbook values and SciPy-free simulations."""

from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qconvert.evaluate.statistics import Running, mean_interval, paired_proportions, wilson


def running(values):
    found = Running()
    for value in values:
        found.add(value)
    return found


@pytest.mark.parametrize(
    ("hits", "total", "low", "high"),
    [  # Newcombe 1998, Statistics in Medicine 17, table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_of_a_published_table(hits, total, low, high):
    found = wilson(hits, total)
    assert (found.low, found.high) == (pytest.approx(low, abs=5e-5), pytest.approx(high, abs=5e-5))


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_holds_the_share_and_is_symmetric(case):
    hits, total = case
    found, mirrored = wilson(hits, total), wilson(total - hits, total)
    assert 0 <= found.low <= hits / total <= found.high <= 1
    assert found.low == pytest.approx(1 - mirrored.high, abs=1e-12)


def test_wilson_of_nothing():
    assert (wilson(0, 0).low, wilson(0, 0).high) == (0, 1)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=50))
def test_running_equals_two_passes(values):
    found = running(values)
    assert found.mean == pytest.approx(statistics.fmean(values), rel=1e-9, abs=1e-6)
    assert found.variance == pytest.approx(statistics.variance(values), rel=1e-6, abs=1e-6)


def test_mean_interval():
    values = [0.1, 0.4, 0.2, 0.9, 0.3]
    half = 1.959963984540054 * statistics.stdev(values) / math.sqrt(5)
    found = mean_interval(running(values))
    assert found.low == pytest.approx(statistics.fmean(values) - half)
    assert found.high == pytest.approx(statistics.fmean(values) + half)


@given(st.floats(-1e6, 1e6), st.integers(2, 40))
def test_equal_values_have_a_point_interval(value, count):
    found = mean_interval(running([value] * count))
    assert (found.low, found.high) == (value, value)


def test_one_value_has_no_interval():
    assert mean_interval(running([3.0])) is None
    assert mean_interval(Running()) is None


def test_paired_proportions_by_hand():
    # 100 pairs, 8 lost and 3 won: half a pair in each cell makes 102 pairs, 8.5 lost and 3.5 won
    p, q = 8.5 / 102, 3.5 / 102
    half = 1.959963984540054 * math.sqrt((p + q - (p - q) ** 2) / 102)
    found = paired_proportions(8, 3, 100)
    assert (found.low, found.high) == (pytest.approx(p - q - half), pytest.approx(p - q + half))


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.integers(0, n), st.just(n))))
def test_paired_proportions_hold_the_drop(case):
    lost, won, total = case
    if lost + won > total:
        return
    found = paired_proportions(lost, won, total)
    assert -1 <= found.low <= (lost - won) / total + 1e-12
    assert (lost - won) / total - 1e-12 <= found.high <= 1
    mirrored = paired_proportions(won, lost, total)
    assert (found.low, found.high) == (pytest.approx(-mirrored.high), pytest.approx(-mirrored.low))


def test_agreement_of_all_samples_is_not_certainty():
    found = paired_proportions(0, 0, 500)
    assert found.low == -found.high
    assert 1 / 500 < found.high < 3 / 500
    assert paired_proportions(0, 0, 0) is None
