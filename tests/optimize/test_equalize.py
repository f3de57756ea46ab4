"""Equalization as a whole: the choice against a slow computation, what it gains, and what it leaves alone."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from equalize_support import DYNAMIC, laboratory, plan_of, skewed
from PIL import Image
from quantize_support import EVERYWHERE, bench, feeds_of, random, run, text_model

from qconvert.calibrate import activation_params, weight_params
from qconvert.graph import Array, Graph
from qconvert.optimize.equalize import Equalization, equalize, scaled_graph
from qconvert.optimize.equalize_choice import Judge, observe
from qconvert.optimize.equalize_groups import find_groups
from qconvert.optimize.reconstruct import Reconstruction, reconstruct
from qconvert.recipe.types import Recipe
from qconvert.runtime import Feed

MLP = """(float[16,12] x) => (float[16,6] y) {
    a = MatMul(x, w1)
    r = Relu(a)
    y = MatMul(r, w2)
}"""


def mlp(powers: int = 6) -> Graph:
    first = skewed(12, 10, axis=1, powers=powers)
    spread = np.abs(first).max(axis=0)
    return text_model(MLP, w1=first, w2=(random(10, 6, seed=3) / spread[:, None]).astype(np.float32))


@pytest.mark.parametrize("recipe", [EVERYWHERE, DYNAMIC], ids=["static", "dynamic"])
def test_uneven_channels_gain_much(recipe: Recipe) -> None:
    graph = mlp()
    feeds = feeds_of(graph, 8)
    draft, lab = laboratory(graph, feeds, recipe)
    better = equalize(draft, lab, Equalization())
    assert lab.score(better) > lab.score(draft) + 8
    assert set(better.plan.nodes) == set(draft.plan.nodes)


def test_even_channels_are_left_alone() -> None:
    rng = np.random.default_rng(0)
    even = rng.choice([-1.0, 1.0], (12, 10)).astype(np.float32)
    draft, lab = laboratory(graph := text_model(MLP, w1=even, w2=even[:10, :6]), feeds_of(graph, 8))
    assert equalize(draft, lab, Equalization()) is draft


def test_a_model_without_groups_is_left_alone() -> None:
    graph = text_model("(float[4,6] x) => (float[4,3] y) { y = MatMul(x, w) }", w=random(6, 3))
    draft, lab = laboratory(graph, feeds_of(graph, 4))
    assert equalize(draft, lab, Equalization()) is draft


def slow_loss(graph: Graph, feeds: list[Feed], scale: Array, recipe: Recipe) -> float:
    """Relative error variance of `y` with r / scale in uint8 and scale * w2 in int8, element by element."""
    w1, w2 = (graph.weights[name].numpy().astype(np.float64) for name in ("w1", "w2"))
    rows = [np.maximum(np.asarray(feed["x"], np.float64) @ w1, 0) for feed in feeds]
    highs = [(r / scale).max() for r in rows]
    wanted, got = [], []
    scaled = w2 * scale[:, None]
    codes = np.empty_like(scaled)
    for column in range(scaled.shape[1]):
        step = np.abs(scaled[:, column]).max() / 127
        codes[:, column] = [round(v / step) * step for v in scaled[:, column]]
    for r, high in zip(rows, highs, strict=True):
        step = (high if recipe is DYNAMIC else max(highs)) / 255
        rounded = np.array([[min(255, round(v / step)) * step for v in row] for row in r / scale])
        wanted.append(r @ w2)
        got.append(rounded @ codes)
    right, error = np.concatenate(wanted), np.concatenate(got) - np.concatenate(wanted)
    return float(error.var(axis=0).mean() / right.var(axis=0).mean())


@pytest.mark.parametrize("recipe", [EVERYWHERE, DYNAMIC], ids=["static", "dynamic"])
def test_the_loss_is_what_rounding_does(recipe: Recipe) -> None:
    graph = mlp(2)
    feeds = feeds_of(graph, 5)
    plan = plan_of(graph, recipe)
    (group,) = find_groups(graph, plan, None)
    constant = lambda node, index: graph.weights[graph.by_name[node].input(index)].numpy()  # noqa: E731
    judge = Judge(graph, plan, group, observe(graph, plan, [group], feeds, 1), constant, EVERYWHERE.calibration)
    for seed in range(3):
        scale = np.exp2(np.random.default_rng(seed).uniform(-2, 2, group.count))
        assert judge.loss(scale) == pytest.approx(slow_loss(graph, feeds, scale, recipe), rel=0.02)


def test_candidates_are_range_against_weight() -> None:
    graph = mlp()
    feeds = feeds_of(graph, 5)
    plan = plan_of(graph)
    (group,) = find_groups(graph, plan, None)
    constant = lambda node, index: graph.weights[graph.by_name[node].input(index)].numpy()  # noqa: E731
    judge = Judge(graph, plan, group, observe(graph, plan, [group], feeds, 1), constant, EVERYWHERE.calibration)
    reach = np.max([np.maximum(f["x"] @ constant("n_a", 1), 0).max(axis=0) for f in feeds], axis=0)
    weights, written = np.abs(constant("n_y", 1)).max(axis=1), np.abs(constant("n_a", 1)).max(axis=0)
    expected = [reach**0.7 / weights**0.3, reach, np.sqrt(written / weights)]
    for got, wanted in zip(judge.candidates([0.7, 1.0]), expected, strict=True):
        np.testing.assert_allclose(got, wanted / np.exp2(np.median(np.log2(wanted))), rtol=1e-4)


@pytest.mark.parametrize("pruned", ["w1", "w2"])
def test_a_channel_whose_weights_are_all_pruned_keeps_its_scale(pruned: str) -> None:
    graph = mlp()
    weights = {name: found.numpy().copy() for name, found in graph.weights.items()}
    weights[pruned][(slice(None), 0) if pruned == "w1" else 0] = 0
    biased = MLP.replace("MatMul(x, w1)", "Gemm(x, w1, b1)")  # its bias is all that the channel carries
    graph = text_model(biased, b1=np.ones(10, np.float32), **weights)
    plan = plan_of(graph)
    (group,) = find_groups(graph, plan, None)
    constant = lambda node, index: graph.weights[graph.by_name[node].input(index)].numpy()  # noqa: E731
    seen = observe(graph, plan, [group], feeds_of(graph, 5), 1)
    judge = Judge(graph, plan, group, seen, constant, EVERYWHERE.calibration)
    with np.errstate(all="raise"):
        scales = judge.candidates([0.7, 1.0])
    assert scales[-1][0] == 1
    assert np.isfinite(scales).all()


def test_the_result_does_not_depend_on_how_the_model_was_scaled_before() -> None:
    graph = mlp(1)
    feeds = feeds_of(graph, 8)
    plan = plan_of(graph)
    (group,) = find_groups(graph, plan, None)
    powers = np.exp2(np.random.default_rng(5).integers(-5, 6, group.count).astype(float))
    other, _ = scaled_graph(graph, plan, [(group, powers)])
    results = []
    for start in (other, scaled_graph(other, plan, [(group, np.flip(powers))])[0]):
        draft, lab = laboratory(start, feeds)
        results.append(equalize(draft, lab, Equalization()))
    for name in ("n_a", "n_y"):
        arrays = [r.graph.weights[r.graph.by_name[name].input(1)].numpy() for r in results]
        ratio = arrays[0] / arrays[1]
        np.testing.assert_allclose(ratio, ratio.flat[0], rtol=1e-4)  # one factor for the whole tensor


def test_the_order_of_samples_does_not_matter_for_the_scales() -> None:
    graph = mlp()
    feeds = feeds_of(graph, 8)
    results = [equalize(*laboratory(graph, order), Equalization()) for order in (feeds, feeds[::-1])]
    names = [r.graph.by_name["n_y"].input(1) for r in results]
    one, other = (r.graph.weights[n].numpy() for r, n in zip(results, names, strict=True))
    np.testing.assert_allclose(one, other, rtol=1e-5)


def test_the_reference_follows_and_reconstruction_works_on_it() -> None:
    graph = mlp()
    feeds = feeds_of(graph, 8)
    draft, lab = laboratory(graph, feeds)
    equal = equalize(draft, lab, Equalization())
    for one, other in zip(run(graph, feeds), run(equal.reference, feeds), strict=True):
        np.testing.assert_allclose(other["y"], one["y"], rtol=1e-3, atol=1e-4)
    better = reconstruct(equal, lab, Reconstruction())
    assert lab.score(better) > lab.score(equal) - 1


def test_statistics_of_changed_tensors_are_new() -> None:
    graph = mlp()
    feeds = feeds_of(graph, 8)
    draft, lab = laboratory(graph, feeds)
    equal = equalize(draft, lab, Equalization())
    highs = [np.max([r["r"] for r in run(equal.reference.with_(outputs=("r",)), feeds)])]
    assert equal.sketches["r"].high == pytest.approx(highs[0])
    assert equal.sketches["x"] is draft.sketches["x"]
    again = activation_params(equal.plan, equal.sketches, lab.calibration)
    assert all(again[name].scale == params.scale for name, params in equal.activations.items())
    weights = weight_params(equal.graph, equal.plan, again, lab.calibration)
    assert all(np.array_equal(weights[key].scale, params.scale) for key, params in equal.weights.items())


DEPTHWISE = """(float[1,4,9,9] x) => (float[1,5,9,9] y) {
    a = Conv<kernel_shape=[1,1]>(x, w1)
    r = Relu(a)
    d = Conv<kernel_shape=[3,3], pads=[1,1,1,1], group=8>(r, w2)
    e = Relu(d)
    y = Conv<kernel_shape=[1,1]>(e, w3)
}"""


def test_depthwise_layers_take_from_one_group_and_give_to_the_next() -> None:
    w1, w2 = skewed(8, 4, 1, 1, axis=0, powers=5), skewed(8, 1, 3, 3, axis=0, powers=5, seed=1)
    reach = np.abs(w1).max(axis=(1, 2, 3)) * np.abs(w2).max(axis=(1, 2, 3))
    graph = text_model(DEPTHWISE, w1=w1, w2=w2, w3=(random(5, 8, 1, 1) / reach[:, None, None]).astype(np.float32))
    feeds = feeds_of(graph, 8)
    draft, lab = laboratory(graph, feeds)
    assert lab.score(equalize(draft, lab, Equalization())) > lab.score(draft) + 8


def test_one_scale_a_weight_gains_from_equal_rows() -> None:
    per_tensor = {f"n_{n}": {"granularity": "per-tensor"} for n in "ay"}
    graph = mlp()
    feeds = feeds_of(graph, 8)
    draft, lab = laboratory(graph, feeds, **per_tensor)
    assert draft.plan.weights["n_a", 1].axis is None
    assert lab.score(equalize(draft, lab, Equalization(sweeps=2))) > lab.score(draft) + 8


POST_NORM = """(float[8,32] x) => (float[8,32] y) {
    n = LayerNormalization<axis=-1>(x, g, b)
    u = MatMul(n, w1)
    d = MatMul(u, w2)
    h = Add(n, d)
    y = Mul(h, h)
}"""


def test_a_residual_is_multiplied_back_once_and_the_file_runs() -> None:
    gain = np.exp2(np.random.default_rng(2).integers(-6, 3, 32)).astype(np.float32)
    w1 = (random(32, 48) / gain[:, None]).astype(np.float32)
    graph = text_model(POST_NORM, g=gain, b=random(32) * 0, w1=w1, w2=random(48, 32))
    feeds = feeds_of(graph, 8)
    draft, lab = laboratory(graph, feeds, DYNAMIC, n_h={"keep": "float"}, n_y={"keep": "float"})
    better = equalize(draft, lab, Equalization(residual=1.0))
    extra = set(better.plan.nodes) - set(draft.plan.nodes)
    assert [better.graph.by_name[name].op for name in extra] == ["Mul"]
    assert lab.score(better) > lab.score(draft) + 8
    assert equalize(draft, lab, Equalization(residual=None)).plan.nodes.keys() == draft.plan.nodes.keys()


def _digits(part: Path, count: int) -> list[Feed]:
    mean, spread = (np.array(v, np.float32)[:, None, None] for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))
    files = sorted(part.glob("*/*.png"))
    arrays = (
        np.asarray(Image.open(f).convert("RGB"), np.float32).transpose(2, 0, 1) / 255
        for f in files[:: len(files) // count]
    )
    return [{"image": ((a - mean) / spread)[None].astype(np.float32)} for a in arrays]


def test_digits_mobilenet_is_rescued(tmp_path: Path) -> None:
    from qconvert.pipeline.events import Stages, silent
    from qconvert.pipeline.planning import plan_of

    folder = Path(__file__).parents[2] / "sample_models" / "digits_mobilenet"
    planned = plan_of(folder / "digits_mobilenet.onnx", Recipe(reduce_range=EVERYWHERE.reduce_range), Stages(silent))
    feeds = _digits(folder / "calib", 24)
    draft, lab = laboratory(planned.graph, feeds, Recipe(placement="everywhere", reduce_range=EVERYWHERE.reduce_range))
    before, after = lab.score(draft), lab.score(equalize(draft, lab, Equalization()))
    assert before < 20
    assert after > 28


def test_sweeps_end_when_nothing_changes() -> None:
    graph = mlp()
    draft, lab = laboratory(graph, feeds_of(graph, 6))
    drafts = [equalize(draft, lab, Equalization(sweeps=n)) for n in (1, 2, 5)]
    last = [d.graph.weights[d.graph.by_name["n_y"].input(1)].numpy() for d in drafts]
    assert all(np.array_equal(one, other) for one, other in pairwise(last))


def test_weights_of_salient_inputs_are_stored_finer() -> None:
    """Weight-only: what large inputs multiply must be stored most exactly, so their weights grow and the others shrink."""
    text = "(float[4,8,32] x) => (float[4,8,24] y) { g = Mul (x, gamma) y = MatMul (g, w) }"
    gamma = np.ones(32, np.float32)
    gamma[[3, 17]] = 30
    graph = text_model(text, gamma=gamma, w=random(32, 24))
    rng = np.random.default_rng(0)
    feeds = [{"x": rng.standard_normal((4, 8, 32)).astype(np.float32)} for _ in range(16)]
    recipe = Recipe(mode="weight-only", weights={"bits": 4, "block": 32})
    draft, lab = bench(graph, feeds, recipe)
    assert lab.score(equalize(draft, lab, Equalization())) > lab.score(draft) + 3
