"""Scales of channels by least squares against the FP32 output."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quantize_support import bench, random, text_model

from qconvert.optimize.lockstep import gains
from qconvert.optimize.reconstruct import Reconstruction, reconstruct
from qconvert.recipe.types import Recipe


def outputs(seed=0, count=40, noise=0.01):
    rng = np.random.default_rng(seed)
    factor = rng.uniform(0.8, 1.3, 3)
    got = [rng.standard_normal((1, 3, 5, 4)) + 2 for _ in range(count)]
    wanted = [factor[:, None, None] * x + 7 + noise * rng.standard_normal(x.shape) for x in got]
    return wanted, got


def test_gains_are_the_slopes_of_least_squares():
    wanted, got = outputs()
    found = gains(wanted, got, 1)
    for c in range(3):
        slow = np.polyfit(
            np.concatenate([g[:, c].ravel() for g in got]), np.concatenate([w[:, c].ravel() for w in wanted]), 1
        )
        assert found[c] == pytest.approx(slow[0], rel=1e-3)


def test_what_may_be_chance_is_left_alone():
    rng = np.random.default_rng(0)
    got = [rng.standard_normal((1, 64)) for _ in range(8)]
    wanted = [x + rng.standard_normal(x.shape) for x in got]
    assert np.abs(gains(wanted, got, -1) - 1).mean() < 0.2
    assert np.array_equal(gains(got, got, -1), np.ones(64))
    dead = [np.zeros((1, 4)) for _ in range(8)]
    assert np.array_equal(gains(dead, dead, -1), np.ones(4))


@settings(max_examples=10, deadline=None)
@given(st.permutations(range(12)), st.sampled_from([2.0**-9, 1.0, 2.0**7]))
def test_order_and_size_change_nothing(order, scale):
    wanted, got = outputs(count=12)
    first = gains(wanted, got, 1)
    second = gains([scale * wanted[i] for i in order], [scale * got[i] for i in order], 1)
    assert np.allclose(first, second, rtol=1e-9)


def test_scales_that_are_too_small_are_found():
    graph = text_model(
        "(float[1,4,8,8] x) => (float[1,8,8,8] y) { a = Conv<pads=[1,1,1,1]>(x, w, b) r = Relu(a) y = Conv(r, v) }",
        w=random(8, 4, 3, 3, seed=1) / 6,
        b=random(8, seed=2),
        v=random(8, 8, 1, 1, seed=3),
    )
    rng = np.random.default_rng(0)
    feeds = [{"x": rng.standard_normal((1, 4, 8, 8)).astype(np.float32)} for _ in range(24)]
    draft, lab = bench(graph, feeds, Recipe(placement="everywhere", mode="static"))
    narrow = draft.with_(weights={key: replace(p, scale=p.scale * 0.6) for key, p in draft.weights.items()})
    plain = lab.score(reconstruct(narrow, lab, Reconstruction(rounding=False)))
    assert lab.score(reconstruct(narrow, lab, Reconstruction(rounding=False, gain=True))) > plain + 0.5
