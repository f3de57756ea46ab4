"""Codebooks in the real runtime: packed to the bit, unpacked by standard operators, folded at load."""

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from quantize_support import feeds_of, ops, optimized, planned, quantized, random, run, text_model

from qconvert.calibrate import fake_quantize
from qconvert.emit.weights import code_bits
from qconvert.errors import QConvertError
from qconvert.graph import from_proto, serialize, weight
from qconvert.optimize.codebook import with_feedback
from qconvert.plan import Kind
from qconvert.recipe.types import Recipe
from qconvert.targets import TARGETS

MODELS = {
    "matmul": text_model("(float[3,50] x) => (float[3,24] y) { y = MatMul(x, w) }", opset=21, w=random(50, 24)),
    "gemm": text_model(
        "(float[3,50] x) => (float[3,24] y) { y = Gemm<transB=1>(x, w, b) }", opset=21, w=random(24, 50), b=random(24)
    ),
    "conv": text_model(
        "(float[1,9,6,6] x) => (float[1,8,6,6] y) { y = Conv<pads=[1,1,1,1]>(x, w) }", opset=21, w=random(8, 9, 3, 3)
    ),
    "transposed": text_model(
        "(float[1,6,4,4] x) => (float[1,12,6,6] y) { y = ConvTranspose(x, w) }", opset=21, w=random(6, 12, 3, 3)
    ),
}


def recipe(bits, **more):
    return Recipe(mode="codebook", weights={"bits": bits, **more})


def emitted(graph, bits, **more):
    made = quantized(graph, feeds_of(graph), recipe=recipe(bits, **more))
    return made, made.emit()


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("name", sorted(MODELS))
def test_the_runtime_computes_with_the_levels(name, bits, tmp_path):
    graph = MODELS[name]
    made, product = emitted(graph, bits, block=16, levels="binary" if bits == 1 else "k-means")
    onnx.checker.check_model(serialize(product), full_check=True)
    array = graph.weights["w"].numpy()
    rounded = fake_quantize(array, made.weights["n_y", 1])
    assert np.abs(rounded - array).max() > 0
    feeds = feeds_of(graph)
    wanted = run(graph.with_(weights={**graph.weights, "w": weight(rounded)}), feeds)
    for optimize in (True, False):
        for a, b in zip(wanted, run(product, feeds, optimize), strict=True):
            assert np.allclose(a["y"], b["y"], atol=1e-4)
    assert len(ops(optimized(product, tmp_path))) == len(ops(optimized(graph, tmp_path)))  # all of it is folded


@pytest.mark.parametrize("bits", range(1, 9))
def test_codes_take_as_many_bits_as_they_have(bits):
    graph = text_model("(float[1,512] x) => (float[1,256] y) { y = MatMul(x, w) }", opset=21, w=random(512, 256))
    made, product = emitted(graph, bits, block=0, levels="binary" if bits == 1 else "k-means")
    stored = sum(w.nbytes for w in product.weights.values())
    codes, scales, levels = 512 * 256 * bits // 8, 256 * 2, 2**bits * 4
    assert codes + scales < stored < codes + scales + levels + 200
    assert made.plan.prediction.bytes == pytest.approx(stored, abs=200)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 8), st.integers(1, 5), st.integers(1, 40))
def test_packed_bits_are_those_of_the_codes(seed, bits, rows, columns):
    made, _ = emitted(MODELS["gemm"], max(bits, 2), block=16)
    params = made.weights["n_y", 1]
    array = MODELS["gemm"].weights["w"]
    flat = np.unpackbits(code_bits(array, params, 0, 1).numpy().reshape(-1), bitorder="little")
    from qconvert.calibrate import quantize

    codes = np.pad(quantize(array.numpy(), params), ((0, 0), (0, 64 - 50))).reshape(-1)
    assert np.array_equal(flat[: codes.size], codes & 1)


def test_embeddings_are_included_and_tables_are_shared():
    graph = text_model(
        """(int64[1,4] ids) => (float[1,4,32] y, float[1,4,32] z) {
            e = Gather<axis=0>(table, ids)
            y = MatMul(e, w)
            z = MatMul(e, w)
        }""",
        opset=21,
        table=random(100, 16),
        w=random(16, 32),
    )
    made = planned(graph, recipe=recipe(3))
    assert {made.nodes[n].kind for n in ("n_e", "n_y")} <= {Kind.LOOKUP, Kind.WEIGHT_ONLY}
    feeds = [{"ids": np.array([[1, 5, 99, 0]])}]
    full = quantized(graph, feeds, recipe=recipe(3))
    product = full.emit()
    assert ops(product).count("BitwiseOr") == 2  # one for the table, one for both products
    again = from_proto(onnx.load_from_string(serialize(product)))
    assert np.isfinite(run(again, feeds)[0]["y"]).all()


def test_error_feedback_loses_less_at_the_output():
    rng = np.random.default_rng(0)
    losses = []
    for _ in range(6):
        x = rng.standard_normal((300, 24)) @ (rng.standard_normal((24, 24)) * rng.uniform(0.1, 3, 24))
        w, table = rng.standard_normal((5, 24)), np.sort(rng.standard_normal(8)) * 1.2
        steps = np.ones(w.shape)
        plain = table[np.abs(w[:, :, None] - table).argmin(axis=2)]
        better = with_feedback(w, x.T @ x / 300, table, steps, 0.01)
        assert np.isin(better, table).all()
        losses.append(np.square(x @ (w - better).T).sum() / np.square(x @ (w - plain).T).sum())
    assert np.mean(losses) < 0.6


@pytest.mark.parametrize("target", ["tensorrt", "tflite-micro"])
def test_targets_without_such_a_form_refuse_with_the_nearest_choice(target):
    with pytest.raises(QConvertError) as caught:
        planned(MODELS["matmul"], TARGETS[target], recipe(3))
    (found,) = caught.value.diagnostics
    assert found.code == "R009"
    assert "mode:" in found.hint
