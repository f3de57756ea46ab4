"""16-bit activations and 4-bit weights, by rule."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper
from tflite_support import PLAIN, artefact_of, convert, feeds_of, interpreters, onnx_model, random

from qconvert.errors import QConvertError
from qconvert.graph import Array
from qconvert.recipe.types import Change, Match, Rule


def network() -> object:
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], name="first", pads=[1, 1, 1, 1], kernel_shape=[3, 3]),
        helper.make_node("Relu", ["c"], ["r"], name="act"),
        helper.make_node("Conv", ["r", "d", "e"], ["g"], name="depth", group=6, kernel_shape=[3, 3]),
        helper.make_node("Conv", ["g", "k"], ["s"], name="point", kernel_shape=[1, 1]),
        helper.make_node("Sigmoid", ["s"], ["q"], name="gate"),
        helper.make_node("Mul", ["q", "g"], ["m"], name="product"),
        helper.make_node("Add", ["m", "o"], ["a"], name="shift"),
        helper.make_node("GlobalAveragePool", ["a"], ["p"], name="pool"),
        helper.make_node("Flatten", ["p"], ["f"], name="flat"),
        helper.make_node("Gemm", ["f", "v", "u"], ["y"], name="head", transB=1),
    ]
    weights = {
        "w": random(6, 3, 3, 3, spread=0.3),
        "b": random(6),
        "d": random(6, 1, 3, 3, spread=0.4),
        "e": random(6),
        "k": random(6, 6, 1, 1),
        "o": random(6, 1, 1),
        "v": random(4, 6),
        "u": random(4),
    }
    return onnx_model(nodes, {"x": (1, 3, 9, 9)}, ["y"], weights)


def wide(**match: object) -> Rule:
    return Rule(match=Match(**match), set=Change(bits=16))


@interpreters
def test_16_bit_activations_are_far_more_exact(tmp_path: Path) -> None:
    found = convert(network(), tmp_path, recipe=PLAIN.model_copy(update={"rules": (wide(tensor="*"),)}))
    assert found.worst_db > 42  # what 8-bit weights leave
    assert found.artefact.inputs[0].stored_dtype == found.artefact.outputs[0].stored_dtype == "int16"
    assert "QUANTIZE" not in found.ops
    biases = {
        t.dtype
        for op in found.artefact.file.ops
        if op.name in ("CONV_2D", "FULLY_CONNECTED")
        for t in [found.artefact.file.tensors[op.inputs[2]]]
    }
    assert biases == {"int64"}


@interpreters
def test_a_16_bit_region_is_entered_and_left_by_quantize(tmp_path: Path) -> None:
    found = convert(
        network(),
        tmp_path,
        recipe=PLAIN.model_copy(update={"rules": (wide(name=("depth", "point", "product", "shift")),)}),
    )
    assert found.worst_db > 28
    assert found.ops.count("QUANTIZE") >= 2


@interpreters
def test_4_bit_weights_halve_the_file(tmp_path: Path) -> None:
    small = Rule(match=Match(op=("Conv", "Gemm")), set=Change(weight_bits=4))
    eight, four = (
        convert(network(), tmp_path),
        convert(network(), tmp_path, recipe=PLAIN.model_copy(update={"rules": (small,)})),
    )
    assert {
        t.dtype
        for t in four.artefact.file.tensors
        if t.data is not None and len(t.shape) == 4 and t.scale is not None and t.scale.size > 1
    } == {"int4"}
    assert 10 < four.db["tflm"] < eight.db["tflm"]
    assert four.largest_gap <= 2  # one of FullyConnected, one of unpacked weights


def test_operators_without_a_16_bit_kernel_are_refused_by_name(tmp_path: Path) -> None:
    model = onnx_model([helper.make_node("HardSwish", ["x"], ["y"], name="culprit")], {"x": (1, 4)}, ["y"])
    with pytest.raises(QConvertError, match="16-bit kernel for HardSwish") as caught:
        artefact_of(model, tmp_path, feeds_of(model), PLAIN.model_copy(update={"rules": (wide(tensor="*"),)}))
    assert (caught.value.diagnostics[0].code, caught.value.diagnostics[0].where) == ("R009", "culprit")


@pytest.mark.parametrize(
    ("op", "weight", "attributes"),
    [
        ("ConvTranspose", random(4, 3, 2, 2), {"strides": [2, 2]}),
        ("PRelu", random(4, 1, 1), {}),
    ],
)
def test_operators_without_a_4_bit_kernel_are_refused_by_name(
    op: str, weight: Array, attributes: dict[str, Any], tmp_path: Path
) -> None:
    node = helper.make_node(op, ["x", "w"], ["y"], name="culprit", **attributes)
    model = onnx_model([node], {"x": (1, 4, 5, 5)}, ["y"], {"w": weight})
    small = Rule(match=Match(op="*"), set=Change(weight_bits=4))
    with pytest.raises(QConvertError, match=f"no kernel for {op} with 4-bit weights") as caught:
        artefact_of(model, tmp_path, feeds_of(model), PLAIN.model_copy(update={"rules": (small,)}))
    assert (caught.value.diagnostics[0].code, caught.value.diagnostics[0].where) == ("R009", "culprit")


def test_4_bit_weights_under_16_bit_activations_are_refused(tmp_path: Path) -> None:
    model = network()
    both = Rule(match=Match(op="Conv"), set=Change(weight_bits=4, bits=16))
    with pytest.raises(QConvertError, match="4-bit weights and 16-bit activations") as caught:
        artefact_of(model, tmp_path, feeds_of(model), PLAIN.model_copy(update={"rules": (both,)}))
    assert (caught.value.diagnostics[0].code, caught.value.diagnostics[0].where) == ("R009", "depth")


WIDE: dict[str, tuple[list[str], list[str], dict[str, Any]]] = {
    "Split": (["x"], ["y", "z"], {"axis": 1}),
    "Concat": (["x", "v"], ["y"], {"axis": 1}),
    "ConvTranspose": (["x", "k"], ["y"], {"strides": [2, 2]}),
    "Softmax": (["x"], ["y"], {"axis": 1}),
    "MaxPool": (["x"], ["y"], {"kernel_shape": [2, 2]}),
    "Max": (["x", "v"], ["y"], {}),
    "PRelu": (["x", "s"], ["y"], {}),
    "ReduceMean": (["x"], ["y"], {"axes": [1]}),
    "Slice": (["x", "back", "end", "last", "back"], ["y"], {}),
}


@interpreters
@pytest.mark.parametrize("op", WIDE)
def test_16_bits_through_an_operator_in_both_interpreters(op: str, tmp_path: Path) -> None:
    inputs, outputs, attributes = WIDE[op]
    weights = {
        "k": random(4, 3, 2, 2),
        "s": random(4, 1, 1),
        "back": np.array([-1]),
        "end": np.array([-9]),
        "last": np.array([3]),
    }
    given = {name: array for name, array in weights.items() if name in inputs}
    fed = {name: (1, 4, 6, 6) for name in inputs if name not in weights}
    model = onnx_model([helper.make_node(op, inputs, outputs, name="node", **attributes)], fed, outputs, given)
    found = convert(model, tmp_path, recipe=PLAIN.model_copy(update={"rules": (wide(tensor="*"),)}))
    assert found.worst_db > 45
    assert found.largest_gap <= 1


def test_int4_values_are_packed_low_half_first() -> None:
    from qconvert.emit.tflite.writer import packed_int4

    assert packed_int4(np.array([1, -2, 7], np.int8)) == bytes([0xE1, 0x07])
