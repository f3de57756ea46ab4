"""GPTQ and Gram matrices against slow, independent computations."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qconvert.graph import Node
from qconvert.optimize.gptq import gptq, nearest
from qconvert.optimize.gram import moments, rows

LIMITS = (-7, 7)


def problem(seed, inputs=12, outputs=5, count=400):
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((inputs, inputs)) * rng.uniform(0.1, 3, inputs)
    x = rng.standard_normal((count, inputs)) @ mixing
    weights = rng.standard_normal((outputs, inputs))
    scale = np.abs(weights).max(axis=1) / LIMITS[1]
    return x, weights, scale


def output_error(x, weights, codes, scale):
    return float(np.square(x @ (weights - codes * scale[:, None]).T).sum())


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_gptq_is_never_worse_than_rounding_and_stays_in_range(seed):
    x, weights, scale = problem(seed)
    codes = gptq(weights, x.T @ x / len(x), scale, LIMITS)
    assert np.all(codes == np.rint(codes))
    assert LIMITS[0] <= codes.min() <= codes.max() <= LIMITS[1]
    plain = nearest(weights, scale[:, None], LIMITS)
    assert output_error(x, weights, codes, scale) <= (1 + 1e-9) * output_error(x, weights, plain, scale)


def test_gptq_gains_decibels_on_correlated_inputs():
    gains = []
    for seed in range(8):
        x, weights, scale = problem(seed)
        codes = gptq(weights, x.T @ x / len(x), scale, LIMITS)
        plain = nearest(weights, scale[:, None], LIMITS)
        gains.append(10 * np.log10(output_error(x, weights, plain, scale) / output_error(x, weights, codes, scale)))
    assert np.mean(gains) > 2


def slow_gptq(weights, gram, scale, damping):
    """The textbook loop: round an input, solve the least squares of what is left exactly (optimal brain surgeon)."""
    hessian = gram + np.eye(len(gram)) * damping * np.diag(gram).mean()
    order = np.argsort(-np.diag(gram), kind="stable")
    result = np.zeros_like(weights)
    for row, (values, step) in enumerate(zip(weights, scale, strict=True)):
        left, remaining = values.astype(float).copy(), list(order)
        for i in order:
            code = np.clip(np.rint(left[i] / step), *LIMITS)
            error = left[i] - code * step
            remaining.remove(i)
            if remaining:
                inside = np.linalg.solve(hessian[np.ix_(remaining, remaining)], hessian[remaining, i])
                left[remaining] += inside * error
            result[row, i] = code
    return result


def test_gptq_equals_the_textbook_loop():
    x, weights, scale = problem(3, inputs=9, outputs=4)
    gram = x.T @ x / len(x)
    assert np.array_equal(gptq(weights, gram, scale, LIMITS, 0.05), slow_gptq(weights, gram, scale, 0.05))


def test_scaling_inputs_or_weights_changes_no_code():
    x, weights, scale = problem(5)
    gram = x.T @ x / len(x)
    codes = gptq(weights, gram, scale, LIMITS)
    assert np.array_equal(codes, gptq(weights, 64 * gram, scale, LIMITS))
    assert np.array_equal(codes, gptq(4 * weights, gram, 4 * scale, LIMITS))


def test_dead_and_singular_inputs_fall_back_to_rounding():
    weights, scale = np.array([[0.4, -0.6, 3.0]]), np.array([0.5])
    assert np.array_equal(gptq(weights, np.zeros((3, 3)), scale, LIMITS), nearest(weights, scale[:, None], LIMITS))


@pytest.mark.parametrize(
    ("group", "stride", "pads", "dilation"), [(1, 1, 0, 1), (1, 2, 1, 1), (2, 1, 1, 2), (4, 1, 1, 1)]
)
def test_rows_times_weights_are_the_convolution(group, stride, pads, dilation):
    torch_free = pytest.importorskip("onnx.reference")
    from onnx import helper

    rng = np.random.default_rng(1)
    x = rng.standard_normal((1, 4, 9, 8)).astype(np.float32)
    weights = rng.standard_normal((8, 4 // group, 3, 3)).astype(np.float32)
    attributes = {"group": group, "strides": (stride,) * 2, "pads": (pads,) * 4, "dilations": (dilation,) * 2}
    node = Node("Conv", ("x", "w"), ("y",), attributes)
    proto = helper.make_node(
        "Conv", ["x", "w"], ["y"], **{k: v if k == "group" else list(v) for k, v in attributes.items()}
    )
    wanted = torch_free.ReferenceEvaluator(proto).run(None, {"x": x, "w": weights})[0]
    found = rows(node, weights.shape, x)  # [G, N, K]
    product = np.matmul(found, weights.reshape(group, 8 // group, -1).transpose(0, 2, 1))  # [G, N, O/G]
    assert np.allclose(np.moveaxis(product, 1, 2).reshape(wanted.shape), wanted, atol=1e-4)


def test_moments_do_not_depend_on_the_order_or_the_packaging_of_samples():
    rng = np.random.default_rng(2)
    node = Node("MatMul", ("x", "w"), ("y",))
    samples = [rng.standard_normal((1, 6, 5)).astype(np.float32) + 2 for _ in range(8)]
    first = moments(node, (5, 3), None, samples)
    second = moments(node, (5, 3), None, samples[::-1])
    packed = moments(node, (5, 3), None, [np.concatenate(samples[:4]), np.concatenate(samples[4:])])
    whole = np.concatenate([s.reshape(-1, 5) for s in samples]).astype(np.float64)
    assert np.allclose(first.gram[0], np.cov(whole.T, bias=True), atol=1e-5)
    assert np.allclose(first.gram, second.gram, atol=1e-6)
    assert np.allclose(first.gram, packed.gram, atol=1e-5)


@pytest.mark.parametrize("zero", [0, 3])
def test_gptq_rounds_blocks_by_their_own_scales_and_zero_points(zero):
    gains = []
    for seed in range(6):
        x, weights, _ = problem(seed, inputs=16)
        steps = np.repeat(np.abs(weights.reshape(5, 4, 4)).max(axis=2), 4, axis=1) / 7
        limits = (np.full(weights.shape, -7 - zero), np.full(weights.shape, 7 - zero))
        codes, plain = gptq(weights, x.T @ x / len(x), steps, limits), nearest(weights, steps, limits)
        assert codes.min() >= -7 - zero
        assert codes.max() <= 7 - zero
        errors = [np.square(x @ (weights - c * steps).T).sum() for c in (plain, codes)]
        gains.append(10 * np.log10(errors[0] / errors[1]))
    assert np.mean(gains) > 1


def test_moments_of_some_inputs_are_a_block_of_the_whole():
    rng = np.random.default_rng(4)
    node = Node("Conv", ("x", "w"), ("y",), {"pads": (1, 1, 1, 1)})
    samples = [rng.standard_normal((1, 3, 6, 6)).astype(np.float32) for _ in range(4)]
    lacking = [rng.standard_normal((1, 4, 6, 6)).astype(np.float32) for _ in samples]
    whole = moments(node, (4, 3, 3, 3), lacking, samples)
    part = moments(node, (4, 3, 3, 3), lacking, samples, inputs=slice(5, 17))
    assert np.allclose(part.gram, whole.gram[:, 5:17, 5:17], atol=1e-5)
    assert np.allclose(part.cross, whole.cross[..., 5:17], atol=1e-5)
