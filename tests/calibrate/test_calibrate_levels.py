"""Tables of levels against slow, independent searches."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qconvert.calibrate import constant_params, dequantize, fake_quantize, quantize
from qconvert.calibrate.levels import FIXED, LEARNED, LEVELS, fitted, fixed, nearest
from qconvert.plan import WeightPlan
from qconvert.targets.formats import Format


def plan(kind, bits, axis=0, block=0):
    return WeightPlan(Format("uint8", symmetric=False, bits=bits), axis, block, levels=kind)


def weights(seed, rows=6, columns=64):
    rng = np.random.default_rng(seed)
    return (rng.standard_t(4, (rows, columns)) * rng.uniform(0.1, 3, (rows, 1))).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from((*LEARNED, *FIXED)), st.integers(2, 5), st.sampled_from([0, 16, 24]))
def test_rounding_is_to_the_nearest_level_and_stays_there(seed, kind, bits, block):
    array = weights(seed)
    params = constant_params(array, plan(kind, bits, block=block))
    assert params.table.size <= 2**bits
    assert np.all(np.diff(params.table) >= 0)
    codes = quantize(array, params)
    once = dequantize(codes, params)
    assert np.array_equal(quantize(once, params), codes)
    assert np.array_equal(fake_quantize(array, params), once)
    steps = np.repeat(params.scale.reshape(6, -1), block or 64, axis=1)[:, :64]
    distance = np.abs(array[:, :, None] - params.table * steps[:, :, None]).min(axis=2)
    assert np.allclose(np.abs(array - once), distance, atol=1e-6 * np.abs(array).max())


def best_in_one_dimension(values, mass, count):
    """The least weighted squared error of a table, over all ways to cut the sorted values into groups."""
    order = np.argsort(values)
    values, mass = values[order], mass[order]
    best = np.inf
    for cuts in itertools.combinations(range(1, values.size), count - 1):
        parts = np.split(np.arange(values.size), cuts)
        means = [np.average(values[p], weights=mass[p]) for p in parts]
        best = min(best, sum((mass[p] * (values[p] - m) ** 2).sum() for p, m in zip(parts, means, strict=True)))
    return best


def test_k_means_comes_close_to_the_best_table_there_is():
    found, best = 0.0, 0.0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        row, mass = rng.standard_normal((1, 14)), rng.uniform(0.1, 4, (1, 14))
        table, scale = fitted(row, "k-means", 2, mass)
        values = row / scale
        error = (mass * np.square(table[nearest(values, table)] - values)).sum()
        assert error >= best_in_one_dimension(values[0], mass[0], 4) - 1e-9
        found, best = found + error, best + best_in_one_dimension(values[0], mass[0], 4)
    assert found <= 1.3 * best


def error(array, kind, bits, importance=None):
    params = constant_params(array, plan(kind, bits, block=32))
    return float(np.square(fake_quantize(array, params) - array).sum())


def test_learned_levels_beat_evenly_spaced_ones_and_more_bits_beat_fewer():
    array = weights(1, 16, 256)
    even = constant_params(array, WeightPlan(Format("int8", symmetric=True, bits=3), 0, 32))
    plain = float(np.square(fake_quantize(array, even) - array).sum())
    assert error(array, "k-means", 3) < 0.7 * plain
    for kind in ("k-means", "quantile", "matched", "logarithmic"):
        assert error(array, kind, 4) < error(array, kind, 3) < error(array, kind, 2)


def test_importance_moves_the_levels_to_where_it_is():
    rng = np.random.default_rng(2)
    rows = rng.standard_normal((4, 512))
    mass = np.where(rows > 1.0, 100.0, 1.0)
    plain, aware = fitted(rows, "k-means", 2), fitted(rows, "k-means", 2, mass)

    def loss(found):
        table, scale = found
        return (mass * np.square(table[nearest(rows / scale[:, None], table)] * scale[:, None] - rows)).sum()

    assert loss(aware) < 0.6 * loss(plain)


def test_power_of_two_tables_and_scales_are_powers_of_two():
    params = constant_params(weights(3), plan("power-of-two", 4))
    for values in (params.scale, np.abs(params.table[params.table != 0])):
        assert np.array_equal(np.log2(values), np.rint(np.log2(values)))


def test_binary_and_ternary_scales_are_the_known_ones():
    array = weights(4)
    binary = constant_params(array, plan("binary", 1))
    assert np.allclose(binary.scale, np.abs(array).mean(axis=1), rtol=2e-3)  # Rastegari et al., equation 6
    ternary = constant_params(array, plan("ternary", 2))
    for row, scale in zip(array, ternary.scale, strict=True):
        sorted_ = np.sort(np.abs(row))[::-1]
        best = max(np.square(sorted_[: n + 1].sum()) / (n + 1) for n in range(row.size))  # over all thresholds
        kept = np.abs(row) > scale / 2
        assert np.square(np.abs(row[kept]).sum()) / kept.sum() >= 0.97 * best


def test_equalized_levels_are_taken_equally_often():
    array = weights(5, 1, 4096)
    codes = quantize(array, constant_params(array, plan("quantile", 3)))
    assert np.bincount(codes.ravel(), minlength=8).min() > 0.45 * 4096 / 8


def test_zeros_of_pruning_keep_a_level_of_their_own():
    array = np.where(np.random.default_rng(0).random((6, 64)) < 0.5, 0, weights(6)).astype(np.float32)
    for kind in ("k-means", "quantile", "matched", "logarithmic", "power-of-two", "ternary"):
        assert np.all(fake_quantize(array, constant_params(array, plan(kind, 3)))[array == 0] == 0)


@pytest.mark.parametrize("kind", ["matched", "logarithmic", "power-of-two"])
def test_fixed_tables_hold_zero_and_reach_one(kind):
    table = fixed("power-of-two" if kind == "logarithmic" else kind, 3)
    assert table.size == 8
    assert 0 in table
    assert np.abs(table).max() == 1


def test_rows_of_zeros_and_single_values():
    array = np.zeros((2, 16), np.float32)
    for kind in LEVELS:
        params = constant_params(array, plan(kind, 2))
        assert np.isfinite(params.scale).all()
        assert kind == "binary" or np.all(fake_quantize(array, params) == 0)
