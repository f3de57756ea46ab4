"""LSTM as a fused operator where that is exact, LSTM and GRU unrolled where short, refused with a reason where neither is sound."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper
from tflite_support import PLAIN, artefact_of, convert, feeds_of, interpreters, onnx_model, random

from qconvert.emit.tflite import File, pack
from qconvert.errors import CODES, QConvertError
from qconvert.pipeline.asked import Asked
from qconvert.pipeline.convert import convert as convert_files
from qconvert.pipeline.resolve import request_of
from qconvert.verify.tflite_audit import audit

GATES = {"LSTM": 4, "GRU": 3}
FUSED = "UNIDIRECTIONAL_SEQUENCE_LSTM"
HIDDEN, SIZE = 12, 10


def layer(
    op: str,
    steps: int,
    state: bool = False,
    direction: str = "forward",
    batch: int = 1,
    start: float | None = None,
    outputs: tuple[str, ...] = ("y", "yh"),
    **attributes: Any,
) -> ModelProto:
    ways, rows = (2 if direction == "bidirectional" else 1), GATES[op] * HIDDEN
    weights = {
        "w": random(ways, rows, SIZE, spread=0.3),
        "r": random(ways, rows, HIDDEN, spread=0.3),
        "b": random(ways, 2 * rows, spread=0.3),
    }
    states = ["h", "c"][: 2 if op == "LSTM" else 1] if state or start is not None else []
    if start is not None:
        weights |= dict.fromkeys(states, np.full((ways, batch, HIDDEN), start, np.float32))
    node = helper.make_node(
        op, ["x", "w", "r", "b", "", *states], outputs, "layer", hidden_size=HIDDEN, direction=direction, **attributes
    )
    fed = dict.fromkeys(states if start is None else (), (ways, batch, HIDDEN))
    return onnx_model([node], {"x": (steps, batch, SIZE), **fed}, [o for o in outputs if o], weights)


# --- fused ---------------------------------------------------------------------------------------------------------------


@interpreters
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"batch": 3},
        {"direction": "reverse"},
        {"direction": "bidirectional"},
        {"start": 0.0},
        {"outputs": ("", "yh")},
    ],
    ids=str,
)
def test_a_layer_without_a_state_from_outside_is_one_operator(options: dict[str, Any], tmp_path: Path) -> None:
    model = layer("LSTM", 40, **options)
    found = convert(model, tmp_path, feeds_of(model, 12))
    assert found.worst_db > 35
    assert found.largest_gap <= 2  # rounding of the products, carried on from step to step
    assert found.ops.count(FUSED) == (2 if options.get("direction") == "bidirectional" else 1)
    assert "TRANSPOSE" not in found.ops
    assert "LOGISTIC" not in found.ops


@interpreters
def test_every_run_starts_from_zeros(tmp_path: Path) -> None:
    model = layer("LSTM", 20)
    feeds = feeds_of(model, 3)
    found = convert(model, tmp_path, feeds, evaluate=[feeds[0], feeds[1], feeds[0]])
    for engine in ("tflm", "litert"):
        first, _, again = found.codes[engine]
        assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))


@interpreters
def test_the_range_of_the_cell_is_that_of_all_steps(tmp_path: Path) -> None:
    """Forget gates of 1 add up the input, and a later one of 0 hides that from the last step."""
    steps = 30
    weights = {
        "w": np.zeros((1, 4 * HIDDEN, 2), np.float32),
        "r": np.zeros((1, 4 * HIDDEN, HIDDEN), np.float32),
        "b": np.zeros((1, 8 * HIDDEN), np.float32),
    }
    weights["b"][0, : 2 * HIDDEN] = 6.0  # input and output gates open
    weights["w"][0, 2 * HIDDEN : 3 * HIDDEN, 1] = 6.0
    weights["w"][0, 3 * HIDDEN :, 0] = 2.0
    node = helper.make_node("LSTM", ["x", "w", "r", "b"], ["y"], "layer", hidden_size=HIDDEN)
    model = onnx_model([node], {"x": (steps, 1, 2)}, ["y"], weights)
    feed = np.ones((steps, 1, 2), np.float32)
    feed[-3:, :, 1] = -1.0
    found = convert(model, tmp_path, [{"x": feed}])
    cell = next(t for t in found.artefact.file.tensors if t.variable and t.dtype == "int16")
    assert float(cell.scale.item()) == 2.0**-10  # a sum of about 26, not the 1 of the end
    assert found.worst_db > 35


@interpreters
def test_batch_first_as_pytorch_writes_it_moves_nothing(tmp_path: Path) -> None:
    weights = {
        "w": random(1, 4 * HIDDEN, SIZE, spread=0.3),
        "r": random(1, 4 * HIDDEN, HIDDEN, spread=0.3),
        "b": random(1, 8 * HIDDEN, spread=0.3),
        "last": np.array(-1, np.int64),
        "one": np.array([1], np.int64),
        "v": random(5, HIDDEN),
    }
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], "to_time", perm=[1, 0, 2]),
        helper.make_node("LSTM", ["t", "w", "r", "b"], ["h"], "layer", hidden_size=HIDDEN),
        helper.make_node("Squeeze", ["h", "one"], ["s"], "squeeze"),
        helper.make_node("Transpose", ["s"], ["u"], "to_batch", perm=[1, 0, 2]),
        helper.make_node("Gather", ["u", "last"], ["g"], "last_step", axis=1),
        helper.make_node("Gemm", ["g", "v"], ["y"], "head", transB=1),
    ]
    model = onnx_model(nodes, {"x": (2, 25, SIZE)}, ["y"], weights)
    found = convert(model, tmp_path, feeds_of(model, 12))
    assert found.ops == ["QUANTIZE", "QUANTIZE", FUSED, "GATHER", "FULLY_CONNECTED"]
    assert found.worst_db > 30


@interpreters
def test_the_whole_way_says_which_form_was_chosen(tmp_path: Path) -> None:
    model = layer("LSTM", 20, outputs=("y",))
    onnx.save(model, tmp_path / "net.onnx")
    for part in ("calib", "eval"):
        (tmp_path / "data" / part).mkdir(parents=True)
        arrays = [f["x"] for f in feeds_of(model, 8)]
        for n, array in enumerate(arrays):
            np.savez(tmp_path / "data" / part / f"{n}.npz", x=array)
    request, _ = request_of(
        Asked(
            tmp_path / "net.onnx", tmp_path / "out", tmp_path / "data", None, ("tflite-micro",), {"algorithms": "auto"}
        )
    )
    record = convert_files(request)
    assert record.status == "done"
    assert any(d.code == "M101" and FUSED in d.message for d in record.diagnostics)
    assert record.device is not None
    assert {o.name: o.macs for o in record.device.operators}[FUSED] == 20 * 4 * HIDDEN * (SIZE + HIDDEN)
    assert record.measurements.fidelity is not None
    assert record.measurements.fidelity.sqnr_db > 33


# --- unrolled ------------------------------------------------------------------------------------------------------------


@interpreters
@pytest.mark.parametrize("op", ["LSTM", "GRU"])
@pytest.mark.parametrize(
    "options",
    [
        {"state": True},
        {"direction": "reverse", "state": True},
        {"direction": "bidirectional", "state": True},
        {"start": 0.5},
    ],
    ids=str,
)
def test_short_layers_that_start_from_a_state_are_unrolled(op: str, options: dict[str, Any], tmp_path: Path) -> None:
    model = layer(op, 5, outputs=("y", "yh", "yc") if op == "LSTM" else ("y", "yh"), **options)
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
    model = layer("LSTM", 1, True, outputs=("y", "yh", "yc"))
    found = convert(model, tmp_path, feeds_of(model, 12))
    assert [b.name for b in found.artefact.inputs] == ["x", "h", "c"]
    assert found.worst_db > 28


# --- refused -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (layer("LSTM", 50, True), "starts from a given state.*50 steps are too many"),
        (layer("LSTM", 50, outputs=("y", "yh", "yc")), "cell state is read.*50 steps are too many"),
        (layer("LSTM", 5, clip=2.0), "a clip"),
        (layer("LSTM", 5, activations=["Sigmoid", "Relu", "Tanh"]), "its activations are Sigmoid, Relu, Tanh"),
        (layer("GRU", 50), "no integer kernel for GRU"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_others_are_refused_with_a_way_out(model: ModelProto, why: str, tmp_path: Path) -> None:
    with pytest.raises(QConvertError, match=why) as caught:
        artefact_of(model, tmp_path, feeds_of(model, 1), PLAIN)
    found = caught.value.diagnostics[0]
    assert (found.code, found.where) == ("M014", "node `layer`")
    assert "step by step" in (found.hint or "")


# --- audit ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
def file(tmp_path: Path) -> File:
    model = layer("LSTM", 8)
    return artefact_of(model, tmp_path, feeds_of(model, 3))[1].file


def changed(file: File, place: int, **changes: object) -> bytes:
    """The file with the tensor at an input of the LSTM replaced."""
    number = next(op for op in file.ops if op.name == FUSED).inputs[place]
    tensors = [replace(t, **changes) if n == number else t for n, t in enumerate(file.tensors)]  # type: ignore[arg-type]
    return pack(replace(file, tensors=tuple(tensors)))


FAULTS: dict[str, tuple[str, int, dict[str, object]]] = {
    "cell scale no power of two": ("C308", 19, {"scale": np.array([0.001], np.float32)}),
    "cell scale too large": ("C308", 19, {"scale": np.array([2.0**-8], np.float32)}),
    "cell of 8 bits": ("C308", 19, {"dtype": "int8"}),
    "hidden scale": ("C307", 18, {"scale": np.array([0.5], np.float32)}),
    "state not variable": ("C312", 18, {"variable": False}),
    "bias scale": ("C305", 13, {"scale": np.array([1.0], np.float32)}),
    "matrix zero point": ("C304", 6, {"zero_point": np.array([3])}),
    "matrix code -128": ("C311", 6, {"data": np.full((HIDDEN, HIDDEN), -128, np.int8)}),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_broken_rule_of_the_operator_is_found(file: File, fault: str) -> None:
    code, place, changes = FAULTS[fault]
    assert not audit(pack(file))
    assert code in {d.code for d in audit(changed(file, place, **changes))}
    assert code in CODES


def test_a_state_that_nothing_sets_and_peepholes_are_found(file: File) -> None:
    unset = replace(file, ops=tuple(op for op in file.ops if op.name != "QUANTIZE"))
    assert {d.code for d in audit(pack(unset))} == {"C314"}
    ops = tuple(
        replace(op, inputs=(*op.inputs[:9], op.inputs[12], *op.inputs[10:])) if op.name == FUSED else op
        for op in file.ops
    )
    assert {d.code for d in audit(pack(replace(file, ops=ops)))} == {"C312"}
