"""Codes and scales of a layer against exhaustive search and slow formulas, and what must not change them."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qconvert.optimize.gptq import gptq, nearest
from qconvert.optimize.rounding import best_scales, descended, output_error, refitted, rounded, with_damping

LIMITS = (-7, 7)


def problem(seed, groups=1, outputs=4, inputs=10, count=300):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((groups, count, inputs)) @ rng.standard_normal((groups, inputs, inputs))
    weights = rng.standard_normal((groups, outputs, inputs)) * rng.uniform(0.2, 3, (groups, outputs, 1))
    scale = np.abs(weights).max(axis=2) / LIMITS[1]
    return weights, x.transpose(0, 2, 1) @ x / count, scale, x


def test_the_error_is_that_of_the_outputs():
    weights, gram, scale, x = problem(0, groups=2)
    codes = nearest(weights, scale[..., None], LIMITS)
    change = x @ (weights - codes * scale[..., None]).transpose(0, 2, 1)
    assert np.allclose(output_error(weights, codes, gram, scale), np.square(change).mean(axis=1))


def test_the_scale_for_given_codes_is_the_least_squares_solution():
    weights, gram, scale, x = problem(1)
    codes = nearest(weights, scale[..., None], LIMITS)
    found = refitted(weights, codes, gram, scale)
    for o in range(weights.shape[1]):
        slow = np.linalg.lstsq((x[0] @ codes[0, o])[:, None], x[0] @ weights[0, o], rcond=None)[0]
        assert found[0, o] == pytest.approx(slow[0], rel=1e-9)
    shared = refitted(weights, codes, gram, scale, shared=True)
    stacked = np.concatenate([x[0] @ c for c in codes[0]]), np.concatenate([x[0] @ w for w in weights[0]])
    slow = np.linalg.lstsq(stacked[0][:, None], stacked[1], rcond=None)[0]
    assert np.allclose(shared, slow[0], rtol=1e-9)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_descent_ends_where_no_single_code_can_improve(seed):
    weights, gram, scale, _ = problem(seed, outputs=2, inputs=5)
    codes = descended(weights, nearest(weights, scale[..., None], LIMITS), gram, scale, LIMITS)
    least = output_error(weights, codes, gram, scale)
    for o, k, step in product(range(2), range(5), (-1, 1)):
        other = codes.copy()
        other[0, o, k] = np.clip(other[0, o, k] + step, *LIMITS)
        assert output_error(weights, other, gram, scale)[0, o] >= least[0, o] * (1 - 1e-9)


def test_rounding_comes_close_to_exhaustive_search():
    limits, gains = (-2, 2), []
    for seed in range(6):
        weights, gram, _, _ = problem(seed, outputs=1, inputs=5)
        scale = np.abs(weights).max(axis=2) / limits[1]
        grid = np.array(list(product(range(-2, 3), repeat=5)), dtype=float)
        fits = [refitted(weights, c[None, None], gram, scale) for c in grid]
        best = min(output_error(weights, c[None, None], gram, s)[0, 0] for c, s in zip(grid, fits, strict=True))
        codes, found = rounded(weights, gram, scale, limits, damping=1e-6)
        plain = output_error(weights, nearest(weights, scale[..., None], limits), gram, scale)[0, 0]
        mine = output_error(weights, codes, gram, found)[0, 0]
        assert best * (1 - 1e-9) <= mine <= plain
        gains.append(np.log(mine / best) / np.log(plain / best))
    assert np.mean(gains) < 0.4  # most of the way, in decibels


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_each_part_only_gains(seed, shared):
    weights, gram, scale, _ = problem(seed)
    scale = np.full_like(scale, scale.max()) if shared else scale
    damped = with_damping(gram, 0.01)

    def error(codes, scales):
        return float(output_error(weights, codes, damped, scales).sum())

    searched = best_scales(weights, damped, scale, LIMITS, shared)
    assert error(nearest(weights, searched[..., None], LIMITS), searched) <= error(
        nearest(weights, scale[..., None], LIMITS), scale
    )
    codes = gptq(weights, gram, searched, LIMITS)
    lower = descended(weights, codes, damped, searched, LIMITS)
    assert error(lower, searched) <= error(codes, searched) * (1 + 1e-9)
    assert error(lower, refitted(weights, lower, damped, searched, shared)) <= error(lower, searched) * (1 + 1e-9)


@pytest.mark.parametrize("thorough", [False, True])
def test_scaling_inputs_or_weights_changes_no_code(thorough):
    weights, gram, scale, _ = problem(5)
    codes, found = rounded(weights, gram, scale, LIMITS, thorough=thorough)
    again, same = rounded(weights, 64 * gram, scale, LIMITS, thorough=thorough)
    assert np.array_equal(codes, again)
    assert np.allclose(found, same)
    again, larger = rounded(4 * weights, gram, 4 * scale, LIMITS, thorough=thorough)
    assert np.array_equal(codes, again)
    assert np.allclose(4 * found, larger)


def test_groups_are_rounded_as_if_they_were_alone():
    weights, gram, scale, _ = problem(6, groups=3)
    codes, found = rounded(weights, gram, scale, LIMITS)
    for g in range(3):
        alone, own = rounded(weights[g : g + 1], gram[g : g + 1], scale[g : g + 1], LIMITS)
        assert np.array_equal(codes[g], alone[0])
        assert np.allclose(found[g], own[0])


def test_zeros_stay_and_dead_inputs_are_rounded_to_nearest():
    weights, _, scale, _ = problem(7)
    weights[..., 2] = 0
    codes, found = rounded(weights, np.zeros((1, 10, 10)), scale, LIMITS)
    assert np.array_equal(codes, nearest(weights, found[..., None], LIMITS))
    codes, _ = rounded(weights, problem(7)[1], scale, LIMITS)
    assert not codes[..., 2].any()
