"""Ranges judged behind the next layers: against a slow computation in the whole model, and what must not change them."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quantize_support import bench, random, text_model

from qconvert.calibrate import params_for_range
from qconvert.optimize.refine import Refinement, find_blocks, refine
from qconvert.optimize.sensitivity import rounded
from qconvert.recipe.types import Recipe
from qconvert.runtime import opened

RECIPE = Recipe(placement="everywhere", mode="static")
NET = """(float[N,4,6,6] x) => (float[N,3] y) {
    a = Conv<pads=[1,1,1,1]>(x, wa, ba)
    r = Relu(a)
    b = Conv<pads=[1,1,1,1]>(r, wb, bb)
    s = Add(b, r)
    t = Relu(s)
    p = GlobalAveragePool(t)
    f = Flatten(p)
    y = Gemm(f, wg, bg)
}"""


def net(scale=1.0, shift=-2.0):
    """The branch `b` is far below zero in most places, and Relu cuts the sum off there."""
    return text_model(
        NET,
        wa=random(8, 4, 3, 3, seed=1) / 6,
        ba=scale * random(8, seed=2),
        wb=random(8, 8, 3, 3, seed=3) / 4,
        bb=scale * (random(8, seed=4) + np.float32(shift)),
        wg=random(8, 3, seed=5),
        bg=scale * random(3, seed=6),
    )


def feeds(count=24, scale=1.0, batch=1):
    rng = np.random.default_rng(0)
    x = scale * rng.standard_normal((count, 4, 6, 6)).astype(np.float32)
    return [{"x": x[i : i + batch]} for i in range(0, count, batch)]


def refined(graph, samples):
    draft, lab = bench(graph, samples, RECIPE)
    lab = replace(lab, fit=samples)
    return draft, lab, refine(draft, lab, Refinement())


def error_behind(draft, lab, block, params):
    """Error power over signal power at the block's ends, the rounded tensor anywhere in the whole model."""
    graph = rounded(draft.reference, block.roots, dict.fromkeys(block.roots, params)).with_(outputs=block.ends)
    noise, signal = np.zeros(len(block.ends)), np.zeros(len(block.ends))
    with opened(draft.reference.with_(outputs=block.ends)) as before, opened(graph) as after:
        for feed in lab.fit:
            wanted, got = before.run(feed), after.run(feed)
            noise += [np.square(got[e] - wanted[e], dtype=np.float64).sum() for e in block.ends]
            signal += [np.square(wanted[e], dtype=np.float64).sum() for e in block.ends]
    return float((noise / signal).sum())


def test_blocks_end_where_values_are_rounded_next():
    draft, lab = bench(net(), feeds(), RECIPE)
    found = {block.members[0]: set(block.ends) for block in find_blocks(draft.reference, draft.plan, lab.probes)}
    assert found["x"] == {"r"}
    assert found["r"] == {"b", "t"}
    assert found["b"] == {"t"}
    assert "y" not in found  # an output's own error counts


def test_no_range_of_a_fine_grid_is_much_better():
    """A slow search in the whole model, on a grid finer than that of the algorithm, finds little more."""
    draft, lab, after = refined(net(), feeds())
    block = next(b for b in find_blocks(draft.reference, draft.plan, lab.probes) if b.members == ("b",))
    low, high = draft.sketches["b"].low, draft.sketches["b"].high
    grid = np.linspace(0.1, 1, 13)
    best = min(
        error_behind(draft, lab, block, params_for_range(draft.activations["b"].format, low * i, high * j))
        for i in grid
        for j in grid
    )
    found = error_behind(draft, lab, block, after.activations["b"])
    assert found <= 1.15 * best
    assert found <= error_behind(draft, lab, block, draft.activations["b"])


def test_what_a_relu_cuts_off_behind_an_addition_gets_no_codes():
    draft, lab, after = refined(net(shift=-6.0), feeds())
    assert float(after.activations["b"].low) > 0.75 * draft.sketches["b"].low
    block = next(b for b in find_blocks(draft.reference, draft.plan, lab.probes) if b.members == ("b",))
    gain = error_behind(draft, lab, block, draft.activations["b"]) / error_behind(
        draft, lab, block, after.activations["b"]
    )
    assert gain > 1.5


def test_a_range_keeps_to_the_clamp_that_vanished_into_it():
    _, _, after = refined(net(), feeds())
    for name in ("r", "t"):
        assert int(after.activations[name].zero_point) == 0


def test_tensors_of_a_group_stay_together():
    draft, _, after = refined(net(), feeds())
    for name, tensor in draft.plan.tensors.items():
        for other, same in draft.plan.tensors.items():
            if tensor.group == same.group:
                assert after.activations[name].scale == after.activations[other].scale


@settings(max_examples=5, deadline=None)
@given(st.permutations(range(12)), st.sampled_from([1, 2, 4]))
def test_order_and_batches_of_samples_change_nothing(order, batch):
    samples = feeds(12)
    _, _, first = refined(net(), samples)
    shuffled = [samples[i]["x"] for i in order]
    packed = [{"x": np.concatenate(shuffled[i : i + batch])} for i in range(0, 12, batch)]
    _, _, second = refined(net(), packed)
    for name, params in first.activations.items():
        assert float(second.activations[name].scale) == pytest.approx(float(params.scale), rel=1e-6)


@pytest.mark.parametrize("scale", [2.0**-6, 2.0**5])
def test_ranges_scale_with_the_values(scale):
    _, _, first = refined(net(), feeds())
    _, _, second = refined(net(scale=scale), feeds(scale=scale))
    for name, params in first.activations.items():
        assert float(second.activations[name].scale) == pytest.approx(scale * float(params.scale), rel=1e-6)
        assert int(second.activations[name].zero_point) == int(params.zero_point)


def test_it_is_left_out_where_it_would_take_long():
    draft, lab = bench(net(), feeds(), RECIPE)
    assert refine(draft, lab, Refinement(work=1.0)) is draft
