"""Real targets of a layer, and how far the moments behind them are trusted, against slow computations."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qconvert.graph import Node
from qconvert.optimize.fitting import suited_pull, targets
from qconvert.optimize.gram import moments, output_rows, rows, sums

MATMUL = Node("MatMul", ("x", "w"), ("y",))


def problem(seed=0, samples=8, count=40, inputs=6, outputs=3, noise=0.0):
    """Delivered inputs, and what the outputs lack: linear in them, and noise."""
    rng = np.random.default_rng(seed)
    mix = rng.standard_normal((inputs, inputs))
    got = [(rng.standard_normal((1, count, inputs)) @ mix + 1).astype(np.float32) for _ in range(samples)]
    change = rng.standard_normal((inputs, outputs))
    lacking = [(q @ change + noise * rng.standard_normal((1, count, outputs)) + 5).astype(np.float32) for q in got]
    return got, lacking, change.T[None]


def halves_of(got, lacking, inputs, outputs):
    return tuple(sums(MATMUL, (inputs, outputs), lacking[n::2], got[n::2]).moments() for n in range(2))


def test_targets_are_the_least_squares_solution():
    got, lacking, _ = problem(noise=0.5)
    found = moments(MATMUL, (6, 3), lacking, got)
    q, e = (np.concatenate([a[0] for a in side]).astype(np.float64) for side in (got, lacking))
    slow = np.linalg.lstsq(np.column_stack([q, np.ones(len(q))]), e, rcond=None)[0][:-1].T
    weights = np.ones((1, 3, 6))
    assert np.allclose(targets(weights, found.gram, found.cross, 1e-9), weights + slow, atol=1e-3)
    assert np.array_equal(targets(weights, found.gram, found.cross, np.inf), weights)


def test_a_pull_makes_every_change_smaller_and_pruned_weights_stay():
    got, lacking, _ = problem(1, noise=1.0)
    found = moments(MATMUL, (6, 3), lacking, got)
    weights = np.ones((1, 3, 6))
    weights[0, 1, 2] = 0
    sizes = [
        np.square(targets(weights, found.gram, found.cross, pull) - weights).sum() for pull in (0.0, 0.01, 0.1, 1, 10)
    ]
    assert sizes == sorted(sizes, reverse=True)
    assert targets(weights, found.gram, found.cross, 0.01)[0, 1, 2] == 0


def test_what_samples_do_not_have_in_common_is_not_trusted():
    weights = np.random.default_rng(3).standard_normal((1, 3, 30))
    pulls = {}
    for noise in (0.0, 300.0):
        got, lacking, _ = problem(4, samples=4, count=10, inputs=30, noise=noise)
        pulls[noise] = suited_pull(weights, halves_of(got, lacking, 30, 3), 0.01)
    assert pulls[0.0] < pulls[300.0]


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 100), st.sampled_from([2.0**-6, 2.0**5]))
def test_the_size_of_inputs_and_weights_changes_no_choice(seed, scale):
    got, lacking, _ = problem(seed, noise=3.0)
    weights = np.random.default_rng(seed).standard_normal((1, 3, 6))
    first = suited_pull(weights, halves_of(got, lacking, 6, 3), 0.01)
    scaled = halves_of([q * np.float32(scale) for q in got], lacking, 6, 3)
    assert suited_pull(weights / scale, scaled, 0.01) == first


@pytest.mark.parametrize(("group", "batch", "side"), [(1, 1, 9), (2, 3, 7), (4, 1, 40)])
def test_rows_of_outputs_belong_to_rows_of_inputs(group, batch, side):
    """Thinned or not, the rows of a convolution's output are the products of the rows of its input."""
    from quantize_support import random

    from qconvert.optimize.lockstep import run_layer

    node = Node("Conv", ("x", "w"), ("y",), {"group": group, "pads": (1,) * 4, "strides": (2, 1)}, name="n")
    x, weights = random(batch, 4, side, side), random(8, 4 // group, 3, 3)
    y = run_layer(node, [x], weights, None)[0]
    product = rows(node, weights.shape, x) @ weights.reshape(group, 8 // group, -1).transpose(0, 2, 1)
    assert np.allclose(output_rows(node, y), product, atol=1e-4)
