"""AdaRound: its gradients against finite differences, what it gains, and what must not change it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quantize_support import bench, random, text_model

from qconvert.calibrate import fake_quantize
from qconvert.optimize.adaround import AdaRound, Grid, Rows, adaround, decision_loss, learned, linear_loss, relu_loss
from qconvert.recipe.types import Recipe

LIMITS = (-7, 7)
EVERYTHING = AdaRound(steps=400, batch=10_000)


def problem(seed=0, groups=1, outputs=3, inputs=8, count=200):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((groups, count, inputs)) @ rng.standard_normal((groups, inputs, inputs))
    weights = rng.standard_normal((groups, outputs, inputs))
    scale = np.abs(weights).max(axis=2, keepdims=True) / LIMITS[1]
    grid = Grid(weights, np.broadcast_to(scale, weights.shape), LIMITS)
    return grid, x, x.transpose(0, 2, 1) @ x / count, rng.standard_normal((groups, outputs))


def slope_by_differences(function, v, step=1e-6):
    found = np.zeros_like(v)
    for index in np.ndindex(v.shape):
        up, down = v.copy(), v.copy()
        up[index] += step
        down[index] -= step
        found[index] = (function(up)[0] - function(down)[0]) / (2 * step)
    return found


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 1000), st.sampled_from(["linear", "relu", "decision"]))
def test_gradients_are_those_of_finite_differences(seed, kind):
    grid, x, gram, bias = problem(seed, groups=2)
    v = grid.start() + np.random.default_rng(seed).normal(0, 0.3, grid.weights.shape)
    functions = {
        "linear": lambda u: linear_loss(grid, gram, u),
        "relu": lambda u: relu_loss(grid, Rows.of(grid, x, bias), EVERYTHING, u),
        "decision": lambda u: decision_loss(grid, u, 4.0),
    }
    _, gradient = functions[kind](v)
    slow = slope_by_differences(functions[kind], v)
    assert np.allclose(gradient, slow, rtol=2e-3, atol=2e-5 * np.abs(slow).max())


def test_losses_are_the_errors_of_the_outputs():
    grid, x, gram, bias = problem(1)
    v = grid.start() + 0.5
    soft = grid.soft(v)[0]

    def error(weights, behind):
        wanted, got = (x @ w.transpose(0, 2, 1) + bias[:, None] for w in (grid.weights, weights))
        return np.square(behind(got) - behind(wanted)).sum()

    nearest = grid.nearest * grid.scale
    same = error(soft, lambda y: y) / error(nearest, lambda y: y)
    assert linear_loss(grid, gram, v)[0] == pytest.approx(same, rel=1e-6)
    cut = error(soft, lambda y: np.maximum(y, 0)) / error(nearest, lambda y: np.maximum(y, 0))
    assert relu_loss(grid, Rows.of(grid, x, bias), EVERYTHING, v)[0] == pytest.approx(cut, rel=1e-6)


def test_it_starts_at_the_weights():
    grid, *_ = problem(2)
    assert np.allclose(grid.soft(grid.start())[0], grid.weights)


@pytest.mark.parametrize("kind", ["linear", "relu"])
def test_it_gains_decibels_and_moves_each_code_by_one_at_most(kind):
    gains = []
    for seed in range(4):
        grid, x, gram, bias = problem(seed, inputs=12)
        data = Rows.of(grid, x, bias)
        losses = {
            "linear": lambda v, step=0, g=grid, m=gram: linear_loss(g, m, v),
            "relu": lambda v, step=0, g=grid, r=data: relu_loss(g, r, EVERYTHING, v),
        }
        codes = learned(grid, losses[kind], EVERYTHING)
        assert np.all((codes == grid.floor) | (codes == grid.floor + 1))
        hard = np.where(codes > grid.floor, 50.0, -50.0)
        gains.append(-10 * np.log10(losses[kind](hard)[0]))
    assert np.mean(gains) > 2


def test_scaling_inputs_or_weights_changes_no_code():
    grid, _, gram, _ = problem(3)
    codes = learned(grid, lambda v, _: linear_loss(grid, gram, v), EVERYTHING)
    large = Grid(4 * grid.weights, 4 * grid.scale, LIMITS)
    assert np.array_equal(codes, learned(large, lambda v, _: linear_loss(large, 64 * gram, v), EVERYTHING))


def test_the_order_of_rows_changes_no_code():
    grid, x, _, bias = problem(4)
    some, same = Rows.of(grid, x, bias), Rows.of(grid, x[:, ::-1], bias)
    first = learned(grid, lambda v, step: relu_loss(grid, some, EVERYTHING, v, step), EVERYTHING)
    second = learned(grid, lambda v, step: relu_loss(grid, same, EVERYTHING, v, step), EVERYTHING)
    assert np.array_equal(first, second)


def test_weights_of_zero_stay():
    grid, _, gram, _ = problem(5)
    weights = grid.weights.copy()
    weights[..., 1] = 0
    pruned = Grid(weights, grid.scale, LIMITS)
    assert not learned(pruned, lambda v, _: linear_loss(pruned, gram, v), EVERYTHING)[..., 1].any()


def test_a_model_gains_and_its_weights_quantize_to_themselves():
    graph = text_model(
        """(float[1,4,8,8] x) => (float[1,6] y) {
            a = Conv<pads=[1,1,1,1]>(x, wa, ba)
            r = Relu(a)
            b = Conv<pads=[1,1,1,1], group=8>(r, wb)
            p = GlobalAveragePool(b)
            f = Flatten(p)
            y = Gemm<transB=1>(f, wg, bg)
        }""",
        wa=random(8, 4, 3, 3, seed=1) / 6,
        ba=random(8, seed=2),
        wb=random(8, 1, 3, 3, seed=3),
        wg=random(6, 8, seed=4),
        bg=random(6, seed=5),
    )
    rng = np.random.default_rng(0)
    feeds = [{"x": np.cumsum(rng.standard_normal((1, 4, 8, 8)), axis=-1).astype(np.float32)} for _ in range(24)]
    draft, lab = bench(graph, feeds, Recipe(placement="everywhere", mode="static"))
    done = adaround(draft, lab, AdaRound(steps=60))
    assert lab.score(done) > lab.score(draft) - 0.5
    for (name, index), params in done.weights.items():
        weights = done.graph.weights[done.graph.by_name[name].input(index)].numpy()
        assert np.array_equal(fake_quantize(weights, params), weights)
