"""High-bias absorption: the function stays, the range shrinks."""

from dataclasses import replace

import numpy as np
import pytest
from quantize_support import bench, random, text_model

from qconvert.optimize.absorb import Absorption, absorb
from qconvert.recipe.types import Recipe
from qconvert.runtime import opened

NET = """(float[N,4,6,6] x) => (float[N,3,4,4] y) {
    a = Conv(x, wa, ba)
    r = Relu(a)
    y = Conv<GROUP>(r, wb BIAS)
}"""


def net(bias=20.0, group=1, pads="", own=True):
    text = NET.replace("GROUP", f"group={group}{pads}").replace(" BIAS", ", bb" if own else "")
    constants = {"bb": random(3 * group, seed=4)} if own else {}
    text = text.replace("[N,3,4,4]", f"[N,{3 * group},4,4]")
    return text_model(
        text,
        wa=random(6, 4, 2, 2, seed=1) / 4,
        ba=random(6, seed=2) + np.float32(bias),
        wb=random(3 * group, 6 // group, 2, 2, seed=3),
        **constants,
    )


def feeds(count=24, batch=1):
    x = np.random.default_rng(0).standard_normal((count, 4, 6, 6)).astype(np.float32)
    return [{"x": x[i : i + batch]} for i in range(0, count, batch)]


def laboratory(graph, samples=None):
    return bench(graph, samples or feeds(), Recipe(placement="everywhere", mode="static"))


@pytest.mark.parametrize(("group", "own"), [(1, True), (2, True), (1, False)])
def test_the_function_stays_on_what_was_seen_and_the_range_shrinks(group, own):
    draft, lab = laboratory(net(group=group, own=own))
    after = absorb(draft, lab, Absorption())
    with opened(draft.reference) as before, opened(after.reference) as changed:
        for feed in lab.fit:
            assert np.allclose(before.run(feed)["y"], changed.run(feed)["y"], atol=1e-3)
    assert float(after.activations["r"].scale) < 0.6 * float(draft.activations["r"].scale)
    seen = replace(lab, held_out=lab.fit)
    assert seen.score(after) > seen.score(draft) + 2


@pytest.mark.parametrize("graph", [net(bias=0.0), net(pads=", pads=[1,1,1,1]")])
def test_nothing_moves_where_nothing_can(graph):
    draft, lab = laboratory(graph)
    assert absorb(draft, lab, Absorption()) is draft


@pytest.mark.parametrize("transposed", ["first", "second"])
def test_layers_that_read_samples_by_column_are_left_alone(transposed):
    kinds = {"first": ("transA=1", "transA=0"), "second": ("transA=0", "transA=1")}[transposed]
    graph = text_model(
        """(float[8,8] x) => (float[8,8] y) {
            a = Gemm<FIRST>(x, wa, ba)
            r = Relu(a)
            y = Gemm<SECOND>(r, wb, bb)
        }""".replace("FIRST", kinds[0]).replace("SECOND", kinds[1]),
        wa=random(8, 8, seed=1) / 4,
        ba=random(8, seed=2) + np.float32(20),
        wb=random(8, 8, seed=3),
        bb=random(8, seed=4),
    )
    rng = np.random.default_rng(0)
    draft, lab = laboratory(graph, [{"x": rng.standard_normal((8, 8)).astype(np.float32)} for _ in range(8)])
    assert absorb(draft, lab, Absorption()) is draft


def test_batches_and_order_of_samples_change_nothing():
    one = absorb(*laboratory(net(), feeds()), Absorption())
    draft, lab = laboratory(net(), feeds())
    lab = replace(lab, fit=lab.fit[::-1])
    other = absorb(draft, lab, Absorption())
    assert np.allclose(
        one.reference.constant(one.reference.by_name["n_a"].input(2)),
        other.reference.constant(other.reference.by_name["n_a"].input(2)),
        rtol=1e-5,
    )
