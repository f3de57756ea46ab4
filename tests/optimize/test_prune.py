"""Pruning against slow, independent computations, and its zeros on their way through rounding."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quantize_support import bench, random, text_model

from qconvert.calibrate import fake_quantize
from qconvert.errors import QConvertError
from qconvert.optimize import ALGORITHMS, Step, improve
from qconvert.optimize.gptq import gptq
from qconvert.optimize.prune import Pruning, by_magnitude, gram_matrices, prunable, prune, second_order
from qconvert.optimize.reconstruct import Reconstruction, reconstruct
from qconvert.pipeline.recording.sparsity import sparsity_of

ORDER = np.arange(16)


def problem(seed, inputs=16, outputs=6, count=300):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((count, inputs)) @ (rng.standard_normal((inputs, inputs)) * rng.uniform(0.1, 3, inputs))
    return x, rng.standard_normal((outputs, inputs))


def error(x, weights, pruned):
    return float(np.square(x @ (weights - pruned).T).sum())


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 0.9))
def test_as_many_zeros_as_asked_for(seed, sparsity):
    x, weights = problem(seed)
    wanted = round(sparsity * weights.size)
    assert (by_magnitude(weights, sparsity) == 0).sum() == wanted
    assert (second_order(weights, x.T @ x / len(x), sparsity) == 0).sum() == wanted


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000))
def test_two_of_every_four_inputs(seed):
    x, weights = problem(seed)
    order = np.random.default_rng(seed).permutation(16)
    for pruned in (by_magnitude(weights, 0.5, order), second_order(weights, x.T @ x / len(x), 0.5, order)):
        assert np.all((pruned[:, order].reshape(6, 4, 4) == 0).sum(axis=2) == 2)


def test_second_order_loses_less_than_magnitude():
    losses = []
    for seed in range(8):
        x, weights = problem(seed)
        gram = x.T @ x / len(x)
        for quads in (None, ORDER):
            plain, better = by_magnitude(weights, 0.5, quads), second_order(weights, gram, 0.5, quads)
            losses.append(error(x, weights, better) / error(x, weights, plain))
    assert np.mean(losses) < 0.5


def slow_surgeon(weights, gram, damping):
    """Two of four by the saliency of the optimal brain surgeon, what is left solved exactly after each removal."""
    hessian = gram + np.eye(len(gram)) * damping * np.diag(gram).mean()
    result = weights.astype(float).copy()
    for row in result:
        gone = []
        for i in range(len(row)):
            remaining = list(range(i, len(row)))
            if i % 4 == 0:
                saliency = []
                for j in range(i, i + 4):  # as the column-wise form does: with the inputs from j on still free
                    free = list(range(j, len(row)))
                    saliency.append(row[j] ** 2 / np.linalg.inv(hessian[np.ix_(free, free)])[0, 0])
                gone += [i + int(k) for k in np.argsort(saliency, kind="stable")[:2]]
            if i in gone:
                inverse = np.linalg.inv(hessian[np.ix_(remaining, remaining)])
                row[remaining] -= row[i] / inverse[0, 0] * inverse[0]
                row[i] = 0.0
    return result


def test_second_order_equals_the_textbook_surgeon():
    x, weights = problem(3)
    gram = x.T @ x / len(x)
    assert np.allclose(second_order(weights, gram, 0.5, ORDER, 0.05), slow_surgeon(weights, gram, 0.05), atol=1e-8)


def test_gptq_keeps_zeros():
    x, weights = problem(4)
    gram = x.T @ x / len(x)
    pruned = second_order(weights, gram, 0.5)
    codes = gptq(pruned, gram, np.abs(pruned).max(axis=1) / 7, (-7, 7))
    assert np.all(codes[pruned == 0] == 0)


NET = """(float[1,16,6,6] x) => (float[1,8] y) {
    a = Conv<pads=[1,1,1,1]>(x, wa)
    d = Conv<group=32>(a, wd)
    r = Relu(d)
    p = GlobalAveragePool(r)
    f = Flatten(p)
    y = MatMul(f, wm)
}"""


def net():
    return text_model(NET, wa=random(32, 16, 3, 3), wd=random(32, 1, 3, 3, seed=1), wm=random(32, 8, seed=2))


def feeds():
    return [{"x": random(1, 16, 6, 6, seed=s)} for s in range(12)]


def test_zeros_survive_rounding_and_reconstruction_on_every_layer_that_can_be_pruned():
    draft, lab = bench(net(), feeds())
    for pattern in ("unstructured", "2:4"):
        sparse = reconstruct(prune(draft, lab, Pruning(pattern=pattern)), lab, Reconstruction(rounding=True))
        for name, inputs in (("n_a", 144), ("n_y", 32)):
            weight = sparse.graph.weights[sparse.graph.by_name[name].input(1)].numpy()
            rounded = fake_quantize(weight, sparse.weights[name, 1])
            assert (rounded == 0).mean() >= 0.5 - 1 / inputs
    weight = sparse.graph.weights[sparse.graph.by_name["n_a"].input(1)].numpy()  # 2:4 along the channels
    assert np.all((weight.reshape(32, 4, 4, 9) == 0).sum(axis=2) >= 2)


def test_depthwise_layers_and_named_ones_stay_dense():
    assert [n.name for n in prunable(net(), Pruning())] == ["n_a", "n_y"]
    assert [n.name for n in prunable(net(), Pruning(dense=("n_y*",)))] == ["n_a"]
    odd = text_model("(float[1,18] x) => (float[1,8] y) { y = MatMul(x, w) }", w=random(18, 8))
    assert prunable(odd, Pruning(pattern="2:4")) == []
    assert len(prunable(odd, Pruning())) == 1


def test_the_report_counts_the_layers_that_the_recipe_prunes():
    draft, lab = bench(net(), feeds())
    for named, layers in (((), 2), (("n_y",), 1)):
        step = Step("prune", ALGORITHMS["prune"], Pruning(sparsity=0.75, dense=named), always=True)
        sparse, done = improve(draft, lab, [step], lambda done, total: None)
        found = sparsity_of(sparse, done, lab.target)
        assert found.layers == layers
        assert found.zeros == pytest.approx(0.75, abs=0.02)


def test_gram_matrices_are_those_of_all_rows():
    graph = text_model("(float[5,18] x) => (float[5,8] y) { y = MatMul(x, w) }", w=random(18, 8))
    data = [{"x": random(5, 18, seed=s)} for s in range(3)]
    x = np.concatenate([d["x"] for d in data]).astype(np.float64)
    assert np.allclose(gram_matrices(graph, list(graph.nodes), data, 1)["n_y"][0], x.T @ x / len(x), atol=1e-5)


def test_sparsity_and_two_of_four_contradict_each_other():
    draft, lab = bench(net(), feeds())
    with pytest.raises(QConvertError, match="R005"):
        prune(draft, lab, Pruning(pattern="2:4", sparsity=0.7))
