"""LSTM layers with ranges measured at run time."""

from pathlib import Path

import numpy as np
import pytest
from quantize_support import EVERYWHERE, ops, optimized, planned, quantized, random, run, text_model

from qconvert.graph import Graph
from qconvert.plan import Kind
from qconvert.recipe.types import Recipe

INPUTS, HIDDEN = 20, 24
FEED = [{"x": random(9, 2, INPUTS)}]


def lstm(directions: int = 1, more: str = "") -> Graph:
    direction = "bidirectional" if directions == 2 else "forward"
    text = f"""(float[9,2,{INPUTS}] x) => (float[9,{directions},2,{HIDDEN}] y, float[{directions},2,{HIDDEN}] h) {{
        y, h = LSTM <hidden_size={HIDDEN}, direction="{direction}"{more}> (x, w, r, b)
    }}"""
    shapes = {"w": (4 * HIDDEN, INPUTS), "r": (4 * HIDDEN, HIDDEN), "b": (8 * HIDDEN,)}
    return text_model(text, **{name: 0.3 * random(directions, *shape) for name, shape in shapes.items()})


@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("granularity", ["per-channel", "per-tensor"])
@pytest.mark.parametrize("bits", [8, 4])
def test_the_kernel_for_integers_gives_the_float_result(
    directions: int, granularity: str, bits: int, tmp_path: Path
) -> None:
    graph = lstm(directions)
    rule = {"granularity": granularity, "weight_bits": bits}
    found = quantized(graph, [], recipe=EVERYWHERE.model_copy(update={"mode": "dynamic"}), nodes={"n_y": rule})
    emitted = found.emit() if bits == 8 else found.emit().with_(opsets={"": 21, "com.microsoft": 1})
    assert "DynamicQuantizeLSTM" in ops(optimized(emitted, tmp_path))
    wanted, got = run(graph, FEED)[0], run(emitted, FEED)[0]
    for name, value in wanted.items():
        assert np.square(got[name] - value).sum() < (1e-3 if bits == 8 else 0.2) * np.square(value).sum()


STEPS, BATCH = 9, 2
VARIANTS = {
    "reverse": ("", "", ', direction="reverse"'),
    "clip": ("", "", ", clip=0.5"),
    "lengths": (f", int32[{BATCH}] n", ", n", ""),
    "states": (f", float[1,{BATCH},{HIDDEN}] h0, float[1,{BATCH},{HIDDEN}] c0", ", , h0, c0", ""),
    "peepholes": ("", ", , , , p", ""),
    "activations": ("", "", ', activations=["Sigmoid", "Tanh", "Relu"]'),
    "hard activations": (
        "",
        "",
        ', activations=["HardSigmoid", "Tanh", "Tanh"], activation_alpha=[0.2], activation_beta=[0.5]',
    ),
    "coupled gates": ("", "", ", input_forget=1"),
    "layout": ("", "", ", layout=0"),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_of_the_layer_keeps_the_float_result(variant: str, tmp_path: Path) -> None:
    inputs, more, attributes = VARIANTS[variant]
    text = f"""(float[{STEPS},{BATCH},{INPUTS}] x{inputs}) => (float[s,d,b,h] y, float[1,{BATCH},{HIDDEN}] yh, float[1,{BATCH},{HIDDEN}] yc) {{
        y, yh, yc = LSTM <hidden_size={HIDDEN}{attributes}> (x, w, r, b{more or ","})
    }}"""
    shapes = {"w": (4 * HIDDEN, INPUTS), "r": (4 * HIDDEN, HIDDEN), "b": (8 * HIDDEN,), "p": (3 * HIDDEN,)}
    used = {name: 0.3 * random(1, *shape) for name, shape in shapes.items() if name != "p" or variant == "peepholes"}
    graph = text_model(text.replace("b,)", "b)"), **used)
    state = {
        "h0": 0.5 * random(1, BATCH, HIDDEN),
        "c0": 0.5 * random(1, BATCH, HIDDEN, seed=1),
        "n": np.array([4, 9], np.int32),
    }
    feeds = [{"x": random(STEPS, BATCH, INPUTS), **{k: v for k, v in state.items() if k in graph.inputs}}]
    emitted = quantized(graph, [], recipe=EVERYWHERE.model_copy(update={"mode": "dynamic"})).emit()
    assert "DynamicQuantizeLSTM" in ops(optimized(emitted, tmp_path))
    wanted, got = run(graph, feeds)[0], run(emitted, feeds)[0]
    for name, value in wanted.items():
        assert np.square(got[name] - value).sum() < 2e-3 * np.square(value).sum()


def test_only_the_last_state_may_be_asked_for() -> None:
    text = f"""(float[{STEPS},{BATCH},{INPUTS}] x) => (float[1,{BATCH},{HIDDEN}] h) {{
        , h = LSTM <hidden_size={HIDDEN}> (x, w, r)
    }}"""
    graph = text_model(text, w=0.3 * random(1, 4 * HIDDEN, INPUTS), r=0.3 * random(1, 4 * HIDDEN, HIDDEN))
    found = quantized(graph, [], recipe=EVERYWHERE.model_copy(update={"mode": "dynamic"}))
    assert found.plan.nodes["n_"].macs == STEPS * BATCH * 4 * HIDDEN * (INPUTS + HIDDEN)
    wanted, got = run(graph, FEED)[0]["h"], run(found.emit(), FEED)[0]["h"]
    assert np.square(got - wanted).sum() < 2e-3 * np.square(wanted).sum()


def test_batches_first_stay_float_with_the_reason() -> None:
    text = f"""(float[{BATCH},{STEPS},{INPUTS}] x) => (float[b,s,d,h] y) {{
        y = LSTM <hidden_size={HIDDEN}, layout=1> (x, w, r)
    }}"""
    graph = text_model(text, w=random(1, 4 * HIDDEN, INPUTS), r=random(1, 4 * HIDDEN, HIDDEN))
    chosen = planned(graph, recipe=EVERYWHERE.model_copy(update={"mode": "dynamic"})).nodes["n_y"]
    assert chosen.kind is Kind.FLOAT
    assert "layout is 1" in str(chosen.reason)


@pytest.mark.parametrize(("op", "gates"), [("GRU", 3), ("RNN", 1)])
def test_layers_without_a_kernel_say_so_and_keep_their_weights_in_few_bits(op: str, gates: int) -> None:
    text = f"""(float[{STEPS},{BATCH},{INPUTS}] x) => (float[{STEPS},1,{BATCH},{HIDDEN}] y) {{
        y = {op} <hidden_size={HIDDEN}> (x, w, r)
    }}"""
    shapes = {"w": (gates * HIDDEN, INPUTS), "r": (gates * HIDDEN, HIDDEN)}
    graph = text_model(text, **{name: 0.3 * random(1, *shape) for name, shape in shapes.items()})
    for mode in ("dynamic", "static", "auto"):
        chosen = planned(graph, recipe=Recipe(placement="everywhere", mode=mode)).nodes["n_y"]
        assert chosen.kind is Kind.FLOAT
        assert f"no integer kernel for {op}; `mode: weight-only` stores its weights" in str(chosen.reason)
    stored = quantized(graph, [], recipe=Recipe(mode="weight-only"))
    assert stored.plan.nodes["n_y"].kind is Kind.WEIGHT_ONLY
    assert stored.plan.nodes["n_y"].macs == STEPS * BATCH * gates * HIDDEN * (INPUTS + HIDDEN)
    wanted, got = run(graph, FEED)[0]["y"], run(stored.emit(), FEED)[0]["y"]
    assert np.square(got - wanted).sum() < 1e-4 * np.square(wanted).sum()


def test_auto_makes_an_lstm_dynamic_and_static_leaves_it_float() -> None:
    assert planned(lstm(), recipe=Recipe(placement="everywhere")).nodes["n_y"].kind is Kind.DYNAMIC
    assert planned(lstm(), recipe=Recipe(placement="everywhere", mode="static")).nodes["n_y"].kind is Kind.FLOAT
    shifting = Recipe(placement="everywhere", calibration={"scales": "power-of-two"})
    assert planned(lstm(), recipe=shifting).nodes["n_y"].kind is Kind.FLOAT


@pytest.mark.parametrize("bits", [8, 4])
def test_weights_of_an_lstm_are_stored_in_few_bits(bits: int) -> None:
    graph = lstm(2).with_(opsets={"": 21})
    found = quantized(graph, [], recipe=Recipe(mode="weight-only", weights={"bits": bits, "block": 16}))
    assert found.plan.nodes["n_y"].kind is Kind.WEIGHT_ONLY
    wanted, got = run(graph, FEED)[0], run(found.emit(), FEED)[0]
    for name, value in wanted.items():
        assert np.square(got[name] - value).sum() < (1e-4 if bits == 8 else 0.02) * np.square(value).sum()
