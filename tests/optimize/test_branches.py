"""Branches of very different range, in the real runtime: read one by one, at no loss of integers."""

from __future__ import annotations

import numpy as np
import pytest
from quantize_support import bench, ops, optimized, random, run, text_model

from qconvert.optimize.branches import Branches, split_branches, split_graph, splits
from qconvert.optimize.reconstruct import corrected
from qconvert.plan import Kind
from qconvert.recipe.types import Recipe

RECIPE = Recipe(placement="everywhere", mode="static")
CONCAT = """(float[1,8,10,10] x) => (float[1,8,10,10] y) {
    a = Conv<pads=[1,1,1,1]>(x, wa)
    ra = Sigmoid(a)
    b = Conv<pads=[1,1,1,1]>(x, wb)
    rb = Relu(b)
    m = Concat<axis=1>(ra, rb, ra)
    c = Conv<pads=[1,1,1,1]>(m, wc, bc)
    y = Relu(c)
}"""
ADD = CONCAT.replace("m = Concat<axis=1>(ra, rb, ra)", "m = Add(ra, rb)")


def uneven(body: str, ratio: float = 50.0):  # type: ignore[no-untyped-def]
    """Two branches, one of them `ratio` times the other; both matter alike for the result."""
    inputs = 24 if "Concat" in body else 8
    wc = random(8, inputs, 3, 3, seed=3) / 8
    wb = random(8, 8, 3, 3, seed=2) / 8
    if "Concat" in body:
        wc[:, 8:16] /= ratio
    graph = text_model(body, wa=random(8, 8, 3, 3, seed=1) / 4, wb=wb * ratio, wc=wc, bc=random(8, seed=4))
    rng = np.random.default_rng(0)
    return bench(graph, [{"x": rng.standard_normal((1, 8, 10, 10)).astype(np.float32)} for _ in range(24)], RECIPE)


@pytest.mark.parametrize("body", [CONCAT, ADD], ids=["concat", "add"])
def test_a_split_computes_the_same(body: str) -> None:
    draft, lab = uneven(body)
    (found,) = splits(draft, 8.0)
    assert found.ratio > 30
    graph, names = split_graph(draft.reference, draft.plan, found)
    assert len(names) == 3
    feeds = lab.fit[:3]
    for before, after in zip(run(draft.reference, feeds), run(graph, feeds), strict=True):
        np.testing.assert_allclose(before["y"], after["y"], rtol=1e-4, atol=1e-4)


def test_uneven_branches_of_a_concat_are_read_one_by_one(tmp_path) -> None:  # type: ignore[no-untyped-def]
    draft, lab = uneven(CONCAT)
    after = split_branches(draft, lab, Branches())
    assert lab.score(corrected(after, lab)) > lab.score(corrected(draft, lab)) + 6
    assert all(p.kind in (Kind.INTEGER, Kind.ABSORBED) for p in after.plan.nodes.values())
    assert after.plan.prediction.integer_share == 1.0
    executed = ops(optimized(lab.emit(after), tmp_path))
    assert executed.count("QLinearConv") == 4
    assert "Conv" not in executed
    assert "FusedConv" not in executed


def test_even_branches_are_left_alone() -> None:
    draft, lab = uneven(CONCAT, 2.0)
    assert split_branches(draft, lab, Branches()) is draft
