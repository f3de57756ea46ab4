"""The algorithms on small nets, through the real runtime: what they must gain and what they must leave alone."""

from dataclasses import replace

import numpy as np
import pytest
from quantize_support import bench, random, text_model

from qconvert.calibrate import activation_params, fake_quantize
from qconvert.canonicalize.opset import raise_opset
from qconvert.optimize import ALGORITHMS, Step, improve, split
from qconvert.optimize.draft import Forgetful
from qconvert.optimize.lockstep import run_layer, stations, walk
from qconvert.optimize.mixed import MixedPrecision, mixed_precision
from qconvert.optimize.ranges import RangeChoice, choose_ranges
from qconvert.optimize.reconstruct import Reconstruction, reconstruct
from qconvert.optimize.sensitivity import alternatives, rounded, under
from qconvert.plan import Kind
from qconvert.recipe.types import Recipe
from qconvert.runtime import opened

RECIPE = Recipe(placement="everywhere", mode="static")
NET = """(float[1,8,8,8] x) => (float[1,8,8,8] y) {
    a = Conv<pads=[1,1,1,1]>(x, wa, ba)
    r = Relu(a)
    b = Conv<pads=[1,1,1,1], group=8>(r, wb, bb)
    s = Relu(b)
    c = Conv(s, wc, bc)
    y = Add(c, x)
}"""


def net(outlier=1.0):
    wa = random(8, 8, 3, 3, seed=1) / 6
    wa[3] *= outlier
    wb = random(8, 1, 3, 3, seed=2) / 2
    wb[3] /= outlier
    constants = {
        "wa": wa,
        "ba": random(8, seed=3),
        "wb": wb,
        "bb": random(8, seed=4),
        "wc": random(8, 8, 1, 1, seed=5) / 3,
        "bc": random(8, seed=6),
    }
    return text_model(NET, **constants)


def laboratory(graph, recipe=RECIPE, count=40):
    rng = np.random.default_rng(0)
    feeds = [{"x": rng.standard_normal((1, 8, 8, 8)).astype(np.float32) ** 3} for _ in range(count)]
    return bench(graph, feeds, recipe)


def test_split_keeps_the_parts_apart():
    feeds = [{"x": np.full(1, i)} for i in range(30)]
    fit, held_out = split(feeds)
    assert len(fit) + len(held_out) == 30
    assert not {int(f["x"][0]) for f in fit} & {int(f["x"][0]) for f in held_out}
    few = feeds[:3]
    assert split(few) == (few, few)


def test_reconstruction_takes_the_mean_shift_out():
    """Scales ten times too coarse shift the mean of every output; the biases take that back."""
    draft, lab = laboratory(net())
    coarse = draft.with_(weights={key: replace(p, scale=p.scale * 10) for key, p in draft.weights.items()})
    fixed = reconstruct(coarse, lab, Reconstruction(rounding=False))
    without = reconstruct(coarse, lab, Reconstruction(rounding=False, bias=False))
    assert lab.score(without) == pytest.approx(lab.score(coarse), abs=0.5)
    assert lab.score(fixed) > lab.score(coarse) + 0.5


@pytest.mark.parametrize(
    "settings", [Reconstruction(), Reconstruction(rounding=True), Reconstruction(rounding=True, asymmetric=True)]
)
def test_rounded_weights_quantize_to_themselves(settings):
    draft, lab = laboratory(net())
    fixed = reconstruct(draft, lab, settings)
    for (name, index), params in fixed.weights.items():
        weights = fixed.graph.weights[fixed.graph.by_name[name].input(index)].numpy()
        assert np.array_equal(fake_quantize(weights, params), weights)


@pytest.mark.parametrize("limit", [{}, {"memory": 0.04}, {"max_inputs": 36}])
def test_gram_matrices_in_blocks_still_gain(limit):
    """With little memory inputs are rounded in blocks, and errors are made up for inside a block only."""
    rng = np.random.default_rng(0)
    smooth = np.cumsum(rng.standard_normal((40, 1, 8, 8, 8)), axis=-1).astype(np.float32)
    draft, lab = bench(net(), [{"x": x} for x in smooth], RECIPE)
    inputs, layer = [feed["x"] for feed in lab.held_out], draft.reference.by_name["n_a"]
    wanted = run_layer(layer, inputs, draft.reference.constant("wa"), None)

    def error(settings):
        done = reconstruct(draft, lab, settings).graph
        got = run_layer(layer, inputs, done.constant(done.by_name["n_a"].input(1)), None)
        return sum(float((g - w).var(axis=(0, 2, 3)).sum()) for g, w in zip(got, wanted, strict=True))

    assert error(Reconstruction(**limit)) < 0.8 * error(Reconstruction(rounding=False))


def test_reconstruction_starts_from_the_fp32_weights_however_often_it_runs():
    draft, lab = laboratory(net())
    once = reconstruct(draft, lab, Reconstruction())
    twice = reconstruct(once, lab, Reconstruction())
    assert lab.score(twice) == pytest.approx(lab.score(once), abs=1)


def test_a_zero_bias_element_does_not_switch_the_correction_off():
    graph = net()
    bias = graph.weights["ba"].numpy().copy()
    bias[0] = 0
    from qconvert.graph import weight

    draft, lab = laboratory(graph.with_(weights={**graph.weights, "ba": weight(bias)}))
    assert lab.score(reconstruct(draft, lab, Reconstruction())) >= lab.score(draft) - 0.5


def test_the_walk_shows_each_layer_its_fp32_and_its_delivered_input():
    draft, lab = laboratory(net())
    seen = {}

    def visit(station):
        seen[station.node.name] = station
        return draft.graph.weights[station.node.input(1)].numpy(), draft.graph.constant(station.node.input(2))

    walk(draft.reference, lab.emit(draft), draft.plan, lab.fit[:3], visit)
    assert list(seen) == [node.name for node in stations(draft.graph, draft.plan)] == ["n_a", "n_b", "n_c"]
    with opened(draft.graph.with_(outputs=("a", "r", "b"))) as session:
        wanted = session.run(lab.fit[0])
    assert np.allclose(seen["n_a"].wanted_out[0], wanted["a"], atol=1e-5)
    assert np.allclose(seen["n_b"].wanted_out[0], wanted["b"], atol=1e-5)
    error = np.abs(seen["n_b"].got_in[0] - wanted["r"])
    assert 0 < np.median(error[error > 0]) <= float(draft.activations["r"].scale)


def test_ranges_never_score_below_the_first_draft():
    draft, lab = laboratory(net())
    for first in ("min-max", "entropy"):
        calibration = lab.calibration.model_copy(update={"method": first})
        activations = activation_params(draft.plan, draft.sketches, calibration)
        start = draft.with_(activations=activations)
        methods = RangeChoice(methods=(first, "mse", "min-max"))
        assert lab.score(choose_ranges(start, lab, methods)) >= lab.score(start) - 1e-9


def test_rounding_one_tensor_touches_only_its_readers():
    draft, _ = laboratory(net())
    graph = rounded(draft.graph, ["r"], draft.activations)
    assert [n.op for n in graph.nodes].count("QuantizeLinear") == 1
    assert graph.by_name["n_b"].input(0) != "r"
    assert graph.by_name["n_a"].inputs == draft.graph.by_name["n_a"].inputs


def test_mixed_precision_finds_the_poisoned_tensor():
    """One channel of `r` is 3,000 times larger than the others, which leaves them no code: the layers around it go float."""
    graph = net(outlier=3_000.0)
    draft, lab = laboratory(graph)
    before = lab.score(draft)
    assert before < 15
    settings = MixedPrecision(speedup=0.0, integer_macs=0.0)
    after = mixed_precision(draft, lab, settings)
    kept = {name for name, p in after.plan.nodes.items() if p.reason and p.reason.code == "P010"}
    assert {"n_a", "n_b"} <= kept
    assert lab.score(after) > before + 10


def test_mixed_precision_leaves_good_models_alone():
    draft, lab = laboratory(net())
    assert mixed_precision(draft, lab, MixedPrecision()) is draft


class Flat(Forgetful):
    """A laboratory's memory by which every draft scores the same."""

    count = 0

    def score(self, about, draft, make):
        self.count += 1
        return 10.0


def test_mixed_precision_ends_early_where_predictions_do_not_come_true():
    draft, lab = laboratory(net(outlier=3_000.0))
    flat = Flat()
    assert mixed_precision(draft, replace(lab, memo=flat), MixedPrecision(speedup=0.0, integer_macs=0.0)) is draft
    assert 2 < flat.count <= 4, "the draft, the moves together, and the draft reconstructed as quickly as these"


def float_layers(draft):
    return sum(p.kind is Kind.FLOAT and p.macs > 0 for p in draft.plan.nodes.values())


class Saturating(Forgetful):
    """A laboratory's memory by which two layers in float gain much, and every further one nothing."""

    def score(self, about, draft, make):
        return 18.0 if float_layers(draft) >= 2 else 9.0


def test_mixed_precision_takes_back_what_gains_nothing():
    layers = [f"v{i + 1} = MatMul(v{i}, w{i})" for i in range(8)]
    text = f"(float[1,8,8,8] v0) => (float[1,8,8,8] v8) {{ {' '.join(layers)} }}"
    graph = text_model(text, **{f"w{i}": random(8, 8, seed=i) for i in range(8)})
    rng = np.random.default_rng(0)
    feeds = [{"v0": rng.standard_normal((1, 8, 8, 8)).astype(np.float32)} for _ in range(16)]
    draft, lab = bench(graph, feeds, RECIPE)
    settings = MixedPrecision(speedup=0.0, integer_macs=0.0, gain=0.1, rounds=1)
    after = mixed_precision(draft, replace(lab, memo=Saturating()), settings)
    assert 2 <= float_layers(after) <= 3, "a change may leave two layers float"


def test_what_limits_leave_out_is_told():
    draft, lab = laboratory(net())
    steps = [Step("reconstruct", ALGORITHMS["reconstruct"], Reconstruction(memory=m)) for m in (1000.0, 0.001)]
    told = [improve(draft, lab, [step], lambda done, total: None)[1][0].held_back for step in steps]
    assert told[0] == ""
    assert "8 of 20 samples, by `memory: 0.001` MB" in told[1]
    assert "inputs in blocks at `n_a`" in told[1]


def test_a_draft_under_another_range_method_differs_in_one_group():
    draft, _ = laboratory(net())
    after = under(draft, "r", "min-max", RECIPE.calibration)
    changed = {name for name in draft.activations if after.activations[name] is not draft.activations[name]}
    assert changed == {n for n, t in draft.plan.tensors.items() if t.group == draft.plan.tensors["r"].group}
    (other,) = alternatives(draft, ["r"], RECIPE.calibration, ["min-max"])
    assert after.activations["r"].scale == other.params.scale != draft.activations["r"].scale


def test_steps_that_do_not_help_are_not_kept():
    draft, lab = laboratory(net())
    spoil = replace(
        ALGORITHMS["ranges"],
        run=lambda d, _lab, _settings: d.with_(
            activations={n: replace(p, scale=p.scale * 8) for n, p in d.activations.items()}
        ),
    )
    best, steps = improve(draft, lab, [Step("spoil", spoil, RangeChoice())], lambda done, total: None)
    assert best is draft
    assert [s.kept for s in steps] == [False]
    assert steps[0].after_db < steps[0].before_db
    best, steps = improve(draft, lab, [Step("spoil", spoil, RangeChoice(), always=True)], lambda done, total: None)
    assert best is not draft
    assert steps[0].kept


def test_steps_in_front_of_one_that_corrects_biases_say_how_they_were_judged():
    draft, lab = laboratory(net())
    listed = [Step(name, ALGORITHMS[name], ALGORITHMS[name].settings()) for name in ("ranges", "reconstruct")]
    _, steps = improve(draft, lab, listed, lambda done, total: None)
    assert [s.corrected for s in steps] == [True, False]
    assert steps[0].before_db > lab.score(draft)


def test_mixed_precision_keeps_the_ranges_that_earlier_steps_chose():
    draft, lab = laboratory(net(outlier=3_000.0))
    moved = {n: replace(p, scale=p.scale * np.float32(1.03)) for n, p in draft.activations.items()}
    after = mixed_precision(draft.with_(activations=moved), lab, MixedPrecision(speedup=0.0, integer_macs=0.0))
    still = [name for name in after.plan.tensors if name in moved]
    assert still
    assert all(after.activations[name] is moved[name] for name in still)


def test_mixed_precision_widens_small_weights_before_it_leaves_layers_float():
    graph = raise_opset(net(), 21).graph
    recipe = RECIPE.model_copy(update={"weights": RECIPE.weights.model_copy(update={"bits": 4})})
    draft, lab = laboratory(graph, recipe)
    settings = MixedPrecision(below=99.0, enough=25.0, small_weights=0.0, speedup=0.0)
    after = mixed_precision(draft, lab, settings)
    bits = {after.plan.weights[name, 1].format.bits for name in ("n_a", "n_b", "n_c")}
    assert 8 in bits
    assert lab.score(after) > lab.score(draft) + 3


SHARED = """(float[4,8,32] x) => (float[4,8,32] y) { a = MatMul (x, w) r = Relu (a) b = MatMul (r, v) s = Relu (b) y = MatMul (s, v) }"""


@pytest.mark.parametrize(("limit", "gain"), [({}, 0.5), ({"max_inputs": 20}, 0.2)])
@pytest.mark.parametrize("symmetric", [True, False])
def test_reconstruction_rounds_stored_weights_and_leaves_shared_ones_shared(symmetric, limit, gain):
    """Inputs with a mean and no bias that could take an error back: only moments about zero help."""
    graph = text_model(SHARED, w=random(32, 32), v=random(32, 32, seed=1))
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((32, 32))
    feeds = [{"x": (rng.standard_normal((4, 8, 32)) @ mixing + 3).astype(np.float32)} for _ in range(24)]
    recipe = Recipe(mode="weight-only", weights={"bits": 4, "block": 16, "symmetric": symmetric})
    draft, lab = bench(graph, feeds, recipe)
    fixed = reconstruct(draft, lab, Reconstruction(**limit))
    assert lab.score(fixed) > lab.score(draft) + gain
    assert fixed.graph.by_name["n_b"].input(1) == fixed.graph.by_name["n_y"].input(1) == "v"
    values = fixed.graph.weights[fixed.graph.by_name["n_a"].input(1)].numpy()
    assert np.allclose(fake_quantize(values, fixed.weights["n_a", 1]), values, atol=1e-5)
