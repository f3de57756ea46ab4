"""Operators without a kernel in TFLM that are composed of others."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper
from operator_cases import Case, ints
from tflite_support import convert, feeds_of, interpreters, onnx_model, random

COMPOSED = [
    Case("HardSigmoid", "HardSigmoid", [(1, 3, 5, 4)], {"alpha": 1 / 6, "beta": 0.5}, spread=2.0),
    Case("Gelu", "Gelu", [(1, 3, 16)], spread=2.0, least=28, opset=20),
    Case(
        "LayerNormalization",
        "LayerNormalization",
        [(1, 5, 32)],
        {"axis": -1},
        {1: random(32, offset=1.0, spread=0.1), 2: random(32)},
        least=28,
        spread=3.0,
    ),
    Case(
        "BatchNormalization",
        "BatchNormalization",
        [(1, 3, 5, 4)],
        {},
        {1: random(3), 2: random(3), 3: random(3), 4: np.abs(random(3)) + 0.5},
    ),
    Case(
        "BatchNormalization matrix",
        "BatchNormalization",
        [(1, 6)],
        {},
        {1: random(6), 2: random(6), 3: random(6), 4: np.abs(random(6)) + 0.5},
    ),
    Case("Tile", "Tile", [(1, 3, 2)], {}, {1: ints(1, 2, 3)}),
    Case("DepthToSpace CRD", "DepthToSpace", [(1, 8, 3, 2)], {"blocksize": 2, "mode": "CRD"}),
    Case("Pow 3", "Pow", [(1, 3, 5)], {}, {1: np.array(3.0, np.float32)}, least=28),
    Case("Sum", "Sum", [(1, 3, 5), (1, 3, 1), (1, 3, 5)], least=28),
]


@interpreters
@pytest.mark.parametrize("case", COMPOSED, ids=lambda case: case.name)
def test_composed_operator(case: Case, tmp_path: Path) -> None:
    model: Any = case.model()
    found = convert(model, tmp_path, feeds_of(model, spread=case.spread, offset=case.offset))
    assert found.worst_db >= case.least
    assert found.largest_gap == 0


@interpreters
def test_silu_is_logistic_times_its_input(tmp_path: Path) -> None:
    nodes = [helper.make_node("Sigmoid", ["x"], ["s"]), helper.make_node("Mul", ["x", "s"], ["y"])]
    found = convert(onnx_model(nodes, {"x": (1, 3, 5, 4)}, ["y"]), tmp_path)
    assert found.ops == ["LOGISTIC", "MUL"]
    assert found.worst_db > 30


@interpreters
def test_gelu_by_erf_is_lowered_whatever_the_opset(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Div", ["x", "root"], ["d"]),
        helper.make_node("Erf", ["d"], ["e"]),
        helper.make_node("Add", ["e", "one"], ["a"]),
        helper.make_node("Mul", ["x", "a"], ["m"]),
        helper.make_node("Mul", ["m", "half"], ["y"]),
    ]
    weights = {"root": np.float32(np.sqrt(2)), "one": np.float32(1), "half": np.float32(0.5)}
    model = onnx_model(nodes, {"x": (1, 3, 16)}, ["y"], weights)
    found = convert(model, tmp_path, feeds_of(model, spread=2.0))
    assert found.worst_db > 28
    assert "LOGISTIC" in found.ops
