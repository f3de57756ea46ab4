"""Weights in few bits beside float arithmetic: the file computes what its rounded weights say, loads everywhere, and is small."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from quantize_support import EVERYWHERE, X86, Quantized, feeds_of, ops, optimized, quantized, random, run, text_model

from qconvert.calibrate import fake_quantize
from qconvert.errors import QConvertError
from qconvert.graph import Edit, Graph, to_proto
from qconvert.plan import Kind
from qconvert.targets import TARGETS
from qconvert.verify import check

TEXT = """(int64[2,5] i, float[2,8,12,10] x) => (float[2,5,24] y, float[2,12,25,21] z) {
    e = Gather <axis=0> (table, i)
    h = MatMul (e, w1)
    g = Reshape (h, flat)
    f = Gemm <transB=1> (g, w2, b2)
    y = Reshape (f, full)
    c = Conv <pads=[1,1,1,1]> (x, w3, b3)
    z = ConvTranspose <group=2, strides=[2,2]> (c, w4)
}"""
SHAPES = {"table": (50, 40), "w1": (40, 36), "w2": (24, 36), "b2": (24,), "w3": (16, 8, 3, 3), "b3": (16,), "w4": (16, 6, 3, 3)}  # fmt: skip
FEED = [{"i": np.array([[0, 49, 3, 3, 7], [1, 2, 3, 4, 48]]), "x": random(2, 8, 12, 10)}]


def model(opset: int = 13) -> Graph:
    shapes = {"flat": np.array([10, 36]), "full": np.array([2, 5, 24])}
    return text_model(TEXT, opset, **{n: random(*s) for n, s in SHAPES.items()}, **shapes)


def made(graph: Graph, form: str | None = None, **weights: object) -> Quantized:
    recipe = EVERYWHERE.model_copy(update={"mode": "weight-only", "format": form})
    return quantized(graph, [], recipe=recipe, nodes={n.name: weights for n in graph.nodes})


def rounded(found: Quantized) -> Graph:
    """The float graph with the weights that the codes stand for."""
    edit = Edit(found.graph)
    for (node, index), params in found.weights.items():
        name = found.graph.by_name[node].input(index)
        edit.set_weight(name, fake_quantize(found.graph.weights[name].numpy(), params))
    return edit.graph()


@pytest.mark.parametrize("form", ["qdq", "qoperator"])
@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("block", [None, 0, 16, 64])
@pytest.mark.parametrize("symmetric", [True, False])
def test_the_file_computes_what_the_rounded_weights_say(
    form: str, bits: int, block: int | None, symmetric: bool
) -> None:
    opset = {2: 25, 4: 21, 8: 21}[bits]
    found = made(model(opset), form, weight_bits=bits, block=block, weight_symmetric=symmetric)
    assert found.plan.opset <= opset
    emitted = found.emit(form)
    onnx.checker.check_model(to_proto(emitted), full_check=True)
    assert {found.plan.nodes[f"n_{n}"].kind for n in "hfcz"} == {Kind.WEIGHT_ONLY}
    assert found.plan.nodes["n_e"].kind in (Kind.LOOKUP, Kind.WEIGHT_ONLY)
    wanted = run(rounded(found), FEED, optimize=False)[0]
    for got in (run(emitted, FEED, optimize=False)[0], run(emitted, FEED)[0]):
        assert np.allclose(got["z"], wanted["z"], rtol=1e-4, atol=1e-4 * np.abs(wanted["z"]).max())
        # products that read codes round their activations as well
        assert np.square(got["y"] - wanted["y"]).sum() < 1e-3 * np.square(wanted["y"]).sum()


def test_rebuilt_weights_cost_nothing_at_run_time(tmp_path: Path) -> None:
    """Convolutions find their weight folded, products read codes; no DequantizeLinear or Cast is left."""
    real = ops(optimized(made(model()).emit(), tmp_path))
    assert real.count("MatMulNBits") == 2
    assert not {"DequantizeLinear", "Sub"} & set(real)


@pytest.mark.parametrize("form", ["qdq", "qoperator"])
def test_layers_that_share_a_weight_share_its_codes(form: str) -> None:
    text = "(float[4,40] x) => (float[4,40] y) { a = MatMul (x, w) r = Relu (a) y = MatMul (r, w) }"
    emitted = made(text_model(text, w=random(40, 40)), form).emit(form)
    assert sum(emitted.weights[name].nbytes >= 40 * 40 for name in emitted.weights) == 1


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("columns", [64, 72])
@pytest.mark.parametrize("symmetric", [True, False])
def test_a_table_and_the_product_with_its_transpose_are_stored_once(bits: int, columns: int, symmetric: bool) -> None:
    text = "(int64[2,5] i) => (float[2,5,90] y) { e = Gather <axis=0> (table, i) r = Relu (e) y = MatMul (r, head) }"
    table = random(90, columns)
    found = made(text_model(text, table=table, head=table.T.copy()), weight_bits=bits, weight_symmetric=symmetric)
    assert found.plan.ties == {"head": "table"}
    emitted = found.emit()
    large = [w for w in emitted.weights.values() if w.dtype == "uint8" and w.nbytes >= 90 * columns * bits // 8]
    assert len(large) == 1
    feed = {"i": np.array([[0, 89, 3, 3, 7], [1, 2, 3, 4, 88]])}
    wanted = run(rounded(found), [feed], optimize=False)[0]["y"]
    for got in (run(emitted, [feed], optimize=False)[0]["y"], run(emitted, [feed])[0]["y"]):
        assert np.square(got - wanted).sum() < 1e-3 * np.square(wanted).sum()


def test_a_layer_may_stay_as_it_is_by_rule() -> None:
    graph = model()
    recipe = EVERYWHERE.model_copy(update={"mode": "weight-only"})
    found = quantized(graph, [], recipe=recipe, nodes={"n_c": {"keep": "float"}})
    assert found.plan.nodes["n_c"].kind is Kind.FLOAT
    assert "w3" in found.emit().weights


def test_weight_only_by_rule_beside_static_integers() -> None:
    text = "(float[4,40] x) => (float[4,40] y) { a = MatMul (x, v) r = Relu (a) y = MatMul (r, w) }"
    graph = text_model(text, v=random(40, 40), w=random(40, 40, seed=1))
    found = quantized(graph, feeds_of(graph), nodes={"n_a": {"mode": "weight-only"}})
    assert (found.plan.nodes["n_a"].kind, found.plan.nodes["n_y"].kind) == (Kind.WEIGHT_ONLY, Kind.INTEGER)
    wanted, got = run(graph, feeds_of(graph)), run(found.emit(), feeds_of(graph))
    assert all(
        np.square(w["y"] - g["y"]).sum() < 3e-3 * np.square(w["y"]).sum() for w, g in zip(wanted, got, strict=True)
    )


IMPOSSIBLE = {
    "bits": ({"weight_bits": 5}, "stores no weights with bits 5"),
    "block": ({"block": 48}, "stores no weights with block 48"),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_what_no_form_can_store_is_refused_with_the_nearest_choice(name: str) -> None:
    weights, message = IMPOSSIBLE[name]
    with pytest.raises(QConvertError) as caught:
        made(model(), **weights)
    [found] = caught.value.diagnostics
    assert found.code == "R009"
    assert message in found.message
    assert found.hint is not None
    assert found.hint.startswith(f"set `{name}: ")


def test_a_target_without_forms_refuses_the_mode() -> None:
    for target in (t for t in TARGETS.values() if not t.weight_forms):
        with pytest.raises(QConvertError, match="no weight-only form"):
            quantized(model(), [], target, EVERYWHERE.model_copy(update={"mode": "weight-only"}))


@pytest.mark.parametrize("inputs", [128, 96])
def test_int4_blocks_for_tensorrt_pass_its_validator(inputs: int) -> None:
    text = "(float[4,5,I] x) => (float[4,5,64] y) { h = MatMul (x, w) y = Relu (h) }"
    graph = text_model(text.replace("I", str(inputs)), 21, w=random(inputs, 64))
    target = TARGETS["tensorrt"]
    found = quantized(graph, [], target, EVERYWHERE.model_copy(update={"mode": "weight-only"}))
    chosen = found.plan.nodes["n_h"]
    if inputs % 64:  # blocks must divide
        assert (chosen.kind, chosen.reason and chosen.reason.code) == (Kind.FLOAT, "P012")
        return
    emitted = found.emit()
    assert {emitted.type_of(name).dtype for name in emitted.weights} == {"int4", "float32"}
    assert not check(emitted, target)
    wanted, got = (run(g, feeds_of(graph), optimize=False)[0]["y"] for g in (rounded(found), emitted))
    assert np.allclose(got, wanted, rtol=1e-4, atol=1e-4)


def test_small_weights_stay_as_they_are() -> None:
    found = made(text_model("(float[4,8] x) => (float[4,8] y) { y = MatMul (x, w) }", w=random(8, 8)))
    reason = found.plan.nodes["n_y"].reason
    assert reason is not None
    assert reason.code == "P012"
    assert X86.weight_forms


@pytest.mark.parametrize("shape", [(48, 48), (48, 80)])
def test_equal_weights_of_the_same_layout_are_stored_once(shape: tuple[int, int]) -> None:
    same = random(*shape)
    text = f"(float[3,{shape[0]}] x) => (float[3,{shape[1]}] y, float[3,{shape[1]}] z) {{ y = MatMul (x, a) z = MatMul (x, b) }}"
    found = made(text_model(text, 21, a=same, b=same.copy()), "qoperator", weight_bits=4, block=16)
    assert found.plan.ties == {"b": "a"}
    emitted = found.emit("qoperator")
    assert sum(name.endswith("/codes") for name in emitted.weights) == 1
    feed = {"x": random(3, shape[0])}
    (wanted,), (got,) = run(rounded(found), [feed]), run(emitted, [feed])
    for name in ("y", "z"):
        np.testing.assert_allclose(got[name], wanted[name], rtol=0.05, atol=0.05 * np.abs(wanted[name]).max())
