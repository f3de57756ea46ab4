"""Codes and scales of a layer against exhaustive search and slow formulas, and what must not change them."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qconvert.optimize import rounding
from qconvert.optimize.gptq import gptq, nearest
from qconvert.optimize.rounding import (
    Lattice,
    best_scales,
    descended,
    exchanged,
    output_error,
    refitted,
    rounded,
    with_damping,
)

LIMITS = (-7, 7)


def problem(seed, groups=1, outputs=4, inputs=10, count=300, limits=LIMITS, **others):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((groups, count, inputs)) @ rng.standard_normal((groups, inputs, inputs))
    weights = rng.standard_normal((groups, outputs, inputs)) * rng.uniform(0.2, 3, (groups, outputs, 1))
    return weights, x.transpose(0, 2, 1) @ x / count, lattice(weights, limits, **others), x


def lattice(weights, limits=LIMITS, block=None, shared=False, slides=False):
    """Scales of whole ranges; with sliding zero points, these lie where the weights are."""
    block = block or weights.shape[2]
    starts = range(0, weights.shape[2], block)
    ends = [np.stack([f(weights[..., k : k + block], axis=2) for k in starts], axis=2) for f in (np.amin, np.amax)]
    least, most = np.minimum(ends[0], 0), np.maximum(ends[1], 0)
    span = limits[1] - limits[0]
    if slides:
        scale = np.maximum(most - least, 1e-9) / span
        low = np.clip(np.rint(least / scale), -span, 0)
    else:
        scale = np.maximum(np.maximum(most, -least), 1e-9) / limits[1]
        low = np.full(scale.shape, float(limits[0]))
    scale = np.full_like(scale, scale.max()) if shared else scale
    return Lattice(scale, low, span, block, shared, slides)


def plain(weights, grid):
    return nearest(weights, grid.steps(weights.shape[2]), grid.limits(weights.shape[2]))


def test_the_error_is_that_of_the_outputs():
    weights, gram, grid, x = problem(0, groups=2, block=4)
    codes = plain(weights, grid)
    steps = np.repeat(grid.scale, 4, axis=2)[..., :10]
    change = x @ (weights - codes * steps).transpose(0, 2, 1)
    assert np.allclose(output_error(weights, codes, gram, grid), np.square(change).mean(axis=1))


def test_the_scale_for_given_codes_is_the_least_squares_solution():
    weights, gram, grid, x = problem(1)
    codes = plain(weights, grid)
    found = refitted(weights, codes, gram, grid).scale
    for o in range(weights.shape[1]):
        slow = np.linalg.lstsq((x[0] @ codes[0, o])[:, None], x[0] @ weights[0, o], rcond=None)[0]
        assert found[0, o, 0] == pytest.approx(slow[0], rel=1e-9)
    shared = refitted(
        weights, codes, gram, replace(grid, shared=True, scale=np.full_like(grid.scale, grid.scale.max()))
    )
    stacked = np.concatenate([x[0] @ c for c in codes[0]]), np.concatenate([x[0] @ w for w in weights[0]])
    slow = np.linalg.lstsq(stacked[0][:, None], stacked[1], rcond=None)[0]
    assert np.allclose(shared.scale, slow[0], rtol=1e-9)


def test_refits_of_blocks_end_at_the_least_squares_solution_of_all_scales_together():
    weights, gram, grid, x = problem(11, inputs=12, block=4)
    codes = plain(weights, grid)
    found = grid
    for _ in range(2000):
        found = refitted(weights, codes, gram, found)
    for o in range(weights.shape[1]):
        columns = np.stack([x[0][:, k : k + 4] @ codes[0, o, k : k + 4] for k in range(0, 12, 4)], axis=1)
        slow = np.linalg.lstsq(columns, x[0] @ weights[0, o], rcond=None)[0]
        assert (slow > 0).all()
        assert np.allclose(found.scale[0, o], slow, rtol=1e-6)


@pytest.mark.parametrize("block", [None, 2])
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_descent_ends_where_no_single_code_can_improve(block, seed):
    weights, gram, grid, _ = problem(seed, outputs=2, inputs=5, block=block, slides=block is not None)
    codes = descended(weights, plain(weights, grid), gram, grid)
    least = output_error(weights, codes, gram, grid)
    low, high = grid.limits(5)
    assert (low <= codes).all()
    assert (codes <= high).all()
    for o, k, step in product(range(2), range(5), (-1, 1)):
        other = codes.copy()
        other[0, o, k] = np.clip(other[0, o, k] + step, low[0, o, k], high[0, o, k])
        assert output_error(weights, other, gram, grid)[0, o] >= least[0, o] * (1 - 1e-9)


def test_descent_in_stretches_of_inputs_is_descent_one_by_one(monkeypatch):
    weights, gram, grid, _ = problem(12, groups=2, inputs=20, block=8)
    at_once = descended(weights, plain(weights, grid), gram, grid)
    monkeypatch.setattr(rounding, "_COLUMNS", 3)
    assert np.array_equal(descended(weights, plain(weights, grid), gram, grid), at_once)


def test_rounding_comes_close_to_exhaustive_search():
    limits, gains = (-2, 2), []
    for seed in range(6):
        weights, gram, grid, _ = problem(seed, outputs=1, inputs=5, limits=limits)
        every = np.array(list(product(range(-2, 3), repeat=5)), dtype=float)
        fits = [refitted(weights, c[None, None], gram, grid) for c in every]
        best = min(output_error(weights, c[None, None], gram, g)[0, 0] for c, g in zip(every, fits, strict=True))
        codes, found = rounded(weights, gram, grid, damping=1e-6)
        simple = output_error(weights, plain(weights, grid), gram, grid)[0, 0]
        mine = output_error(weights, codes, gram, found)[0, 0]
        assert best * (1 - 1e-9) <= mine <= simple
        gains.append(np.log(mine / best) / np.log(simple / best))
    assert np.mean(gains) < 0.4  # most of the way, in decibels


def test_blocks_come_close_to_exhaustive_search_of_codes_with_the_best_scales_for_each():
    gains = []
    for seed in range(5):
        weights, gram, grid, x = problem(seed, outputs=1, inputs=6, limits=(-1, 1), block=3)
        best = np.inf
        for c in product((-1, 0, 1), repeat=6):
            columns = np.stack([x[0][:, :3] @ c[:3], x[0][:, 3:] @ c[3:]], axis=1)
            scale = np.linalg.lstsq(columns, x[0] @ weights[0, 0], rcond=None)[0]
            if (scale >= 0).all():
                best = min(best, np.square(x[0] @ weights[0, 0] - columns @ scale).mean())
        codes, found = rounded(weights, gram, grid, damping=1e-6)
        simple = output_error(weights, plain(weights, grid), gram, grid)[0, 0]
        mine = output_error(weights, codes, gram, found)[0, 0]
        assert best * (1 - 1e-9) <= mine <= simple
        gains.append(np.log(mine / best) / np.log(simple / best))
    assert np.mean(gains) < 0.5


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.booleans())
def test_each_part_only_gains(seed, shared):
    weights, gram, grid, _ = problem(seed, shared=shared)
    damped = with_damping(gram, 0.01)

    def error(codes, grid):
        return float(output_error(weights, codes, damped, grid).sum())

    searched = best_scales(weights, damped, grid)
    assert error(plain(weights, searched), searched) <= error(plain(weights, grid), grid)
    codes = gptq(weights, gram, searched.steps(10), searched.limits(10))
    lower = descended(weights, codes, damped, searched)
    assert error(lower, searched) <= error(codes, searched) * (1 + 1e-9)
    assert error(lower, refitted(weights, lower, damped, searched)) <= error(lower, searched) * (1 + 1e-9)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.booleans(), st.sampled_from([3, 4, 5]), st.booleans(), st.integers(1, 2))
def test_blocks_never_lose(seed, slides, block, thorough, groups):
    weights, gram, grid, _ = problem(seed, groups, block=block, slides=slides, limits=(-4, 3) if slides else (-3, 3))
    weights[:, 1, 2:5] = 0
    damped = with_damping(gram, 0.01)

    def error(codes, grid):
        return output_error(weights, codes, damped, grid)

    codes = gptq(weights, gram, grid.steps(10), grid.limits(10))
    other, changed = exchanged(weights, codes, damped, grid)
    assert (error(other, changed) <= error(codes, grid) * (1 + 1e-9)).all()
    assert (error(codes, refitted(weights, codes, damped, grid)) <= error(codes, grid) * (1 + 1e-9)).all()
    best, found = rounded(weights, gram, grid, thorough=thorough)
    assert (error(best, found) <= error(codes, grid) * (1 + 1e-9)).all()
    for c, g in ((other, changed), (best, found)):
        low, high = g.limits(10)
        assert (low <= c).all()
        assert (c <= high).all()
        assert (low <= 0).all()
        assert (high >= 0).all()
        assert (g.scale > 0).all()
        assert not c[weights == 0].any()


def test_a_fixed_lattice_stays():
    weights, gram, grid, _ = problem(13, block=4)
    codes, found = rounded(weights, gram, grid, fixed=True)
    assert found is grid
    before = output_error(weights, gptq(weights, gram, grid.steps(10), grid.limits(10)), gram, grid)
    assert output_error(weights, codes, gram, found).sum() < before.sum()


@pytest.mark.parametrize("block", [None, 4])
@pytest.mark.parametrize("thorough", [False, True])
def test_scaling_inputs_or_weights_changes_no_code(thorough, block):
    weights, gram, grid, _ = problem(5, block=block)
    codes, found = rounded(weights, gram, grid, thorough=thorough)
    again, same = rounded(weights, 64 * gram, grid, thorough=thorough)
    assert np.array_equal(codes, again)
    assert np.allclose(found.scale, same.scale)
    again, larger = rounded(4 * weights, gram, replace(grid, scale=4 * grid.scale), thorough=thorough)
    assert np.array_equal(codes, again)
    assert np.allclose(4 * found.scale, larger.scale)


@pytest.mark.parametrize("block", [None, 4])
def test_groups_and_outputs_are_rounded_as_if_they_were_alone(block, monkeypatch):
    weights, gram, grid, _ = problem(6, groups=3, outputs=13, block=block, slides=True)
    codes, found = rounded(weights, gram, grid)
    for g in range(3):
        only = Lattice(grid.scale[g : g + 1], grid.low[g : g + 1], grid.span, grid.block, slides=True)
        alone, own = rounded(weights[g : g + 1], gram[g : g + 1], only)
        assert np.array_equal(codes[g], alone[0])
        assert np.allclose(found.scale[g], own.scale[0])
    monkeypatch.setattr(rounding, "_TOGETHER", 1)
    pieces, same = rounded(weights, gram, grid)
    assert np.array_equal(codes, pieces)
    assert np.allclose(found.scale, same.scale)
    assert np.array_equal(found.low, same.low)


def test_zeros_stay_and_dead_inputs_are_rounded_to_nearest():
    weights, _, _, _ = problem(7)
    weights[..., 2] = 0
    grid = lattice(weights)
    codes, found = rounded(weights, np.zeros((1, 10, 10)), grid)
    assert np.array_equal(codes, plain(weights, found))
    codes, _ = rounded(weights, problem(7)[1], grid)
    assert not codes[..., 2].any()
