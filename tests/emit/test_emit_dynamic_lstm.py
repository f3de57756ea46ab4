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
