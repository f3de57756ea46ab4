"""What layers of few bits aim at: the sum behind them, and the FP32 output rather than that of the delivered input."""

import numpy as np
from quantize_support import bench, random, text_model

from qconvert.optimize.lockstep import walk
from qconvert.optimize.reconstruct import Reconstruction, reconstruct
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


def deep(layers=6, channels=12):
    """Convolutions of few inputs, whose rounding to 4 bits adds up."""
    text, constants, last = "", {}, "x"
    for n in range(layers):
        text += (
            f"a{n} = Conv({last}, w{n}, b{n}) r{n} = Relu(a{n}) c{n} = Conv(r{n}, v{n}, b{n}) y{n} = Add(c{n}, {last}) "
        )
        last = f"y{n}"
        constants[f"w{n}"] = random(channels, channels, 1, 1, seed=3 * n) / 4
        constants[f"v{n}"] = random(channels, channels, 1, 1, seed=3 * n + 1) / 4
        constants[f"b{n}"] = random(channels, seed=3 * n + 2) / 4
    kind = f"float[1,{channels},9,9]"
    return text_model(f"({kind} x) => ({kind} y{layers - 1}) {{ {text} }}", opset=21, **constants)


def test_layers_of_few_bits_make_up_for_those_before():
    graph = deep()
    rng = np.random.default_rng(6)
    mix = rng.standard_normal((12, 4)).astype(np.float32)
    feeds = [
        {"x": np.einsum("oi,bihw->bohw", mix, rng.standard_normal((1, 4, 9, 9)).astype(np.float32))} for _ in range(32)
    ]

    def gained(recipe):
        draft, lab = bench(graph, feeds, recipe)
        default, off = (lab.score(reconstruct(draft, lab, Reconstruction(asymmetric=aim))) for aim in (None, False))
        return default - off

    assert gained(W4) > 0.5
    assert gained(Recipe(placement="everywhere", mode="static")) == 0
