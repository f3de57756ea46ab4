"""What layers of few bits aim at: the sum behind them, and the FP32 output rather than that of the delivered input."""

import numpy as np
from quantize_support import bench, random, text_model

from qconvert.optimize.lockstep import walk
from qconvert.recipe.types import Recipe

W4 = Recipe(placement="everywhere", mode="static", weights={"bits": 4})


def samples(count=24):
    rng = np.random.default_rng(5)
    mix = rng.standard_normal((6, 6)).astype(np.float32)
    return [
        {"x": np.einsum("oi,bihw->bohw", mix, rng.standard_normal((1, 6, 9, 9)).astype(np.float32))}
        for _ in range(count)
    ]


def test_a_layer_makes_up_for_what_the_other_side_of_a_sum_lacks():
    graph = text_model(
        "(float[1,6,9,9] x) => (float[1,6,9,9] z) { a = Conv(x, w, b) c = Conv(a, v, b) y = Add(a, c) z = Conv(y, w, b) }",
        w=random(6, 6, 1, 1, seed=1),
        v=random(6, 6, 1, 1, seed=2) / 2,
        b=random(6, seed=3),
    )
    draft, lab = bench(graph, samples(8), W4)
    seen = {}

    def visit(station):
        seen[station.node.name] = station
        rough = draft.reference.weights[station.node.input(1)].numpy() * (0.5 if station.node.name == "n_a" else 1)
        return rough, draft.reference.constant(station.node.input(2))

    walk(draft.reference, lab.emit(draft), draft.plan, lab.fit[:2], visit)
    half = [wanted - got for wanted, got in zip(seen["n_a"].wanted_out, seen["n_c"].got_in, strict=True)]
    assert np.abs(half[0]).max() > 0.1
    assert np.allclose(seen["n_c"].beside[0], half[0], atol=1e-5)
    assert np.allclose(seen["n_c"].aim[1], seen["n_c"].wanted_out[1] + half[1], atol=1e-5)
    assert seen["n_a"].beside is None
    assert seen["n_z"].beside is None
