"""LSTM and GRU: unrolled where short, with their state as inputs and outputs, refused with a reason where long."""

from pathlib import Path
from typing import Any

import pytest
from onnx import ModelProto, helper
from tflite_support import PLAIN, artefact_of, convert, feeds_of, interpreters, onnx_model, random

from qconvert.errors import QConvertError

GATES = {"LSTM": 4, "GRU": 3}


def layer(op: str, steps: int, state: bool = False, direction: str = "forward", **attributes: Any) -> ModelProto:
    ways, hidden, size = (2 if direction == "bidirectional" else 1), 12, 10
    rows = GATES[op] * hidden
    weights = {
        "w": random(ways, rows, size, spread=0.3),
        "r": random(ways, rows, hidden, spread=0.3),
        "b": random(ways, 2 * rows, spread=0.3),
    }
    states = ["h", "c"][: 2 if op == "LSTM" else 1] if state else []
    outputs = ["y", "yh", "yc"][: 3 if op == "LSTM" else 2]
    node = helper.make_node(
        op,
        ["x", "w", "r", "b", "", *states],
        outputs,
        name="layer",
        hidden_size=hidden,
        direction=direction,
        **attributes,
    )
    return onnx_model([node], {"x": (steps, 1, size), **dict.fromkeys(states, (ways, 1, hidden))}, outputs, weights)


@interpreters
@pytest.mark.parametrize("op", ["LSTM", "GRU"])
@pytest.mark.parametrize(
    "options", [{}, {"state": True}, {"direction": "reverse"}, {"direction": "bidirectional", "state": True}], ids=str
)
def test_short_layers_are_unrolled(op: str, options: dict[str, Any], tmp_path: Path) -> None:
    model = layer(op, 5, **options)
    found = convert(model, tmp_path, feeds_of(model, 12))
    assert found.worst_db > 24
    assert found.largest_gap <= 4
    assert {"FULLY_CONNECTED", "LOGISTIC", "TANH"} <= set(found.ops)


@interpreters
@pytest.mark.parametrize("before", [0, 1])
@pytest.mark.parametrize("state", [False, True])
def test_both_forms_of_gru(before: int, state: bool, tmp_path: Path) -> None:
    model = layer("GRU", 3, state, linear_before_reset=before)
    assert convert(model, tmp_path, feeds_of(model, 12)).worst_db > 24


@interpreters
def test_one_step_with_its_state_outside(tmp_path: Path) -> None:
    model = layer("LSTM", 1, True)
    found = convert(model, tmp_path, feeds_of(model, 12))
    assert [b.name for b in found.artefact.inputs] == ["x", "h", "c"]
    assert found.worst_db > 28


@pytest.mark.parametrize("op", ["LSTM", "GRU"])
def test_long_layers_are_refused_with_a_way_out(op: str, tmp_path: Path) -> None:
    model = layer(op, 50)
    with pytest.raises(QConvertError, match="step by step") as caught:
        artefact_of(model, tmp_path, feeds_of(model, 1), PLAIN)
    assert (caught.value.diagnostics[0].code, caught.value.diagnostics[0].where) == ("M014", "node `layer`")
