"""The whole way: files that are written, C++ that compiles, memory that suffices, refusals before any data is read."""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest
from end_to_end_support import Cli
from onnx import ModelProto, helper
from tflite_support import feeds_of, interpreters, onnx_model, random

import qconvert.runtime.tflite as engines
from qconvert.emit.tflite.model import Binding
from qconvert.emit.tflite.schema import OPERATORS
from qconvert.emit.tflite.sources import layout_text
from qconvert.errors import QConvertError
from qconvert.pipeline.asked import Asked
from qconvert.pipeline.convert import convert
from qconvert.pipeline.resolve import request_of
from qconvert.report import to_html, to_markdown
from qconvert.report.record import RunRecord
from qconvert.report.words import size
from qconvert.verify.tflite_read import read_tflite

SAMPLES = Path(__file__).parents[2] / "sample_models"


def small() -> ModelProto:
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], name="first", pads=[1, 1, 1, 1], kernel_shape=[3, 3]),
        helper.make_node("Relu", ["c"], ["r"], name="act"),
        helper.make_node("GlobalAveragePool", ["r"], ["g"], name="pool"),
        helper.make_node("Flatten", ["g"], ["f"], name="flat"),
        helper.make_node("Gemm", ["f", "v"], ["l"], name="head", transB=1),
        helper.make_node("Softmax", ["l"], ["y"], name="soft"),
    ]
    return onnx_model(nodes, {"x": ("N", 3, 8, 8)}, ["y"], {"w": random(6, 3, 3, 3), "b": random(6), "v": random(4, 6)})


def place(folder: Path, model: ModelProto, count: int = 12) -> tuple[Path, Path]:
    onnx.save(model, folder / "net.onnx")
    for part in ("calib", "eval"):
        (folder / "data" / part).mkdir(parents=True, exist_ok=True)
        feeds = feeds_of(model, count)
        np.savez(
            folder / "data" / part / "samples.npz",
            **{name: np.concatenate([f[name] for f in feeds]) for name in feeds[0]},
        )
    return folder / "net.onnx", folder / "data"


def run(folder: Path, model: ModelProto | None = None, **changes: object) -> RunRecord:
    path, data = place(folder, model or small())
    request, _ = request_of(Asked(path, folder / "out", data, None, ("tflite-micro",), changes))
    return convert(request)


@interpreters
def test_everything_is_written_and_reported(tmp_path: Path) -> None:
    record = run(tmp_path)
    names = {
        "model.tflite",
        "model_data.cc",
        "model_data.h",
        "model_ops.h",
        "model_golden.h",
        "model_golden.npz",
        "model.report.json",
    }
    assert {p.name for p in (tmp_path / "out").iterdir()} == names
    assert next(Path(o.path).name for o in record.outputs) == "model.tflite"
    assert record.status == "done"
    needs = record.device
    assert needs is not None
    assert needs.arena is not None
    assert needs.recommended > needs.arena == (needs.head or 0) + (needs.tail or 0)
    assert {o.name: o.macs for o in needs.operators}["CONV_2D"] == 8 * 8 * 6 * 27
    assert needs.witness is not None
    assert "NHWC" in needs.layouts[0]
    assert all("estimated" in core.basis for core in needs.cores)
    assert record.measurements.fidelity is not None
    assert record.measurements.fidelity.sqnr_db > 15
    assert {p.name for p in record.proofs if p.deployed} == {"TensorFlow Lite Micro"}
    summary = to_markdown(record)
    assert "latency" not in summary
    assert f"| arena |  | **{size(needs.recommended)}** | to reserve" in summary
    assert all(f"| {core.name} |  | **about " in summary for core in needs.cores)
    assert re.search(r"<h2>arena</h2>\s*<p class=\"big\">" + re.escape(size(needs.recommended)), to_html(record))


@pytest.mark.parametrize("width", [{"bits": 16}, {"weight_bits": 4}], ids=str)
def test_instructions_are_not_estimated_for_widths_that_were_not_measured(
    tmp_path: Path, width: dict[str, int]
) -> None:
    record = run(tmp_path, rules=[{"match": {"name": "*"}, "set": width}])
    assert record.device is not None
    assert record.device.macs
    assert record.device.cores == ()


@interpreters
def test_instructions_of_a_part_in_int8_are_told_with_what_is_left_out(tmp_path: Path) -> None:
    record = run(tmp_path, rules=[{"match": {"op": "Conv"}, "set": {"weight_bits": 4}}])
    assert record.device is not None
    macs = {o.name: o.macs for o in record.device.operators}
    share = macs["CONV_2D"] / record.device.macs
    for core in record.device.cores:
        assert f"{share:.0%} of the multiply-accumulates are not int8 with int8" in core.basis
        assert 0 < core.instructions < 3 * (record.device.macs - macs["CONV_2D"])
    assert record.device.cores


@interpreters
def test_a_second_run_gives_the_same_bytes(tmp_path: Path) -> None:
    contents = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        run(tmp_path / name)
        contents.append({p.name: p.read_bytes() for p in (tmp_path / name / "out").iterdir() if "report" not in p.name})
    assert contents[0] == contents[1]


def numbers(text: str) -> bytes:
    body = text[text.index("{") + 1 : text.index("}")]
    return bytes(int(n, 16) for n in body.replace("\n", " ").split(",") if n.strip())


@interpreters
def test_the_array_equals_the_file_and_the_resolver_its_operators(tmp_path: Path) -> None:
    run(tmp_path)
    out = tmp_path / "out"
    data = (out / "model.tflite").read_bytes()
    assert numbers((out / "model_data.cc").read_text()) == data
    header = (out / "model_ops.h").read_text()
    methods = {OPERATORS[op.name].method for op in read_tflite(data).ops}
    assert set(re.findall(r"resolver\.(\w+)\(\)", header)) == methods
    assert f"kOperators = {len(methods)};" in header
    golden = np.load(out / "model_golden.npz")
    assert golden["input0"].dtype == np.int8
    assert len(golden["input0"]) == len(golden["output0"]) == 4


STUB = """
#pragma once
enum TfLiteStatus { kTfLiteOk, kTfLiteError };
#define TF_LITE_ENSURE_STATUS(a) do { const TfLiteStatus s = (a); if (s != kTfLiteOk) return s; } while (0)
namespace tflite { template <unsigned int n> class MicroMutableOpResolver { public: int left = n;
METHODS
}; }
"""
MAIN = """
#include "model_data.h"
#include "model_golden.h"
#include "model_ops.h"
#include <cstdio>
int main() {
  model::Resolver resolver;
  if (model::RegisterOps(resolver) != kTfLiteOk || resolver.left != 0) return 1;
  if (reinterpret_cast<unsigned long>(model_data) % 16 != 0) return 2;
  if (sizeof(model::kGoldenInput0_0) != model::kInput0Size) return 3;
  for (const int8_t* input : model::kGoldenInput0) {
    if (input == nullptr) return 5;
  }
  if (sizeof(model::kGoldenOutput0) / sizeof(model::kGoldenOutput0[0]) != model::kGoldenCount) return 6;
  if (model::kGoldenOutput0[3] != model::kGoldenOutput0_3) return 7;
  return std::fwrite(model_data, 1, model_data_size, stdout) == model_data_size ? 0 : 4;
}
"""


@interpreters
def test_the_sources_compile(tmp_path: Path) -> None:
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("there is no C++ compiler")
    run(tmp_path)
    out, stub = tmp_path / "out", tmp_path / "stub" / "tensorflow" / "lite" / "micro"
    stub.mkdir(parents=True)
    methods = "\n".join(f"TfLiteStatus {row.method}() {{ --left; return kTfLiteOk; }}" for row in OPERATORS.values())
    (stub / "micro_mutable_op_resolver.h").write_text(STUB.replace("METHODS", methods))
    (tmp_path / "main.cc").write_text(MAIN)
    command = [
        compiler,
        "-std=c++17",
        "-Wall",
        "-Wextra",
        "-Werror",
        f"-I{out}",
        f"-I{tmp_path / 'stub'}",
        str(tmp_path / "main.cc"),
        str(out / "model_data.cc"),
        "-o",
        str(tmp_path / "main"),
    ]
    subprocess.run(command, check=True)
    printed = subprocess.run([str(tmp_path / "main")], check=True, capture_output=True).stdout
    assert printed == (out / "model.tflite").read_bytes()


@interpreters
@pytest.mark.parametrize("huge", [False, True])
def test_the_recommended_arena_suffices_and_a_fifth_less_does_not(tmp_path: Path, huge: bool) -> None:
    model = onnx_model(
        [helper.make_node("Conv", ["x", "w"], ["y"], name="n", group=8, kernel_shape=[1, 1])],
        {"x": (1, 8, 64, 64)},
        ["y"],
        {"w": random(8, 1, 1, 1)},
    )
    record = run(tmp_path, model if huge else None, evaluation={"layers": False})
    data = (tmp_path / "out" / "model.tflite").read_bytes()
    assert record.device is not None
    file = read_tflite(data)
    feed = [np.zeros(t.shape, t.dtype) for t in file.inputs]
    with engines.Interpreter("tflm") as interpreter:
        interpreter.load(data, 1, arena=record.device.recommended).run(feed)
        with pytest.raises(QConvertError, match=r"(?i)allocat|arena|memory|resize buffer") as caught:
            interpreter.load(data, 1, arena=int(record.device.recommended * 0.8)).run(feed)
    assert caught.value.diagnostics[0].code == "V002"
    if huge:  # the interpreter's own guess, ten times the file, would not do
        assert record.device.recommended > 10 * len(data)


def test_without_interpreters_the_file_is_written_audited_and_said_not_to_be_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("qconvert.verify.tflite.available", "qconvert.pipeline.drafting.forms.available"):
        monkeypatch.setattr(module, lambda engine: False)
    record = run(tmp_path)
    assert record.status == "done"
    assert [d.code for d in record.diagnostics].count("V103") == 2
    assert record.device is not None
    assert not record.device.measured
    assert "Estimated" in (tmp_path / "out" / "model_ops.h").read_text()
    assert record.measurements.fidelity is None


def one(
    op: str,
    inputs: list[str],
    shape: tuple[int | str, ...] = (1, 4, 8),
    weights: dict[str, np.ndarray] | None = None,
    outputs: int = 1,
    **attributes: object,
) -> ModelProto:  # type: ignore[type-arg]
    node = helper.make_node(op, inputs, ["y", "z", "v"][:outputs], name="culprit", **attributes)
    return onnx_model([node], {"x": shape}, ["y"], weights)


REFUSED = {
    "Exp": one("Exp", ["x"]),
    "Sqrt": one("Sqrt", ["x"]),
    "Erf": one("Erf", ["x"]),
    "TopK": one("TopK", ["x", "k"], weights={"k": np.array([2], np.int64)}, outputs=2),
    "Pow": one("Pow", ["x", "e"], weights={"e": np.array(2.5, np.float32)}),
    "Tile": one("Tile", ["x", "r"], weights={"r": np.array([1, 8, 8], np.int64)}),
    "Slice": one(
        "Slice",
        ["x", "s", "e", "a", "t"],
        weights={"s": np.array([-1]), "e": np.array([-4]), "a": np.array([2]), "t": np.array([-1])},
    ),
    "Conv": one("Conv", ["x", "w"], (1, 2, 4, 4, 4), {"w": random(2, 2, 1, 1, 1)}),
    "ConvTranspose": one(
        "ConvTranspose", ["x", "w"], (1, 2, 4, 4), {"w": random(2, 2, 3, 3)}, strides=[2, 2], output_shape=[8, 8]
    ),
    "Resize": one("Resize", ["x", "", "s"], (1, 2, 4, 4), {"s": np.array([1, 1, 2, 2], np.float32)}, mode="cubic"),
}


@pytest.mark.parametrize("op", REFUSED)
def test_what_cannot_run_is_refused_before_calibration(op: str, tmp_path: Path) -> None:
    onnx.save(REFUSED[op], tmp_path / "net.onnx")
    request, _ = request_of(
        Asked(tmp_path / "net.onnx", tmp_path / "out", tmp_path / "nothing", None, ("tflite-micro",), {})
    )
    with pytest.raises(QConvertError) as caught:
        convert(request)
    found = caught.value.diagnostics[0]
    assert (found.code, found.where) == ("M014", "node `culprit`")
    assert op in found.message
    assert found.hint
    assert caught.value.exit_code == 3
    assert not list((tmp_path / "out").glob("*.tflite"))


def test_operators_are_refused_before_a_size_is_asked_for_and_advice_is_given_once(tmp_path: Path) -> None:
    scales = {"s": np.array([1, 1, 2, 2], np.float32)}
    nodes = [
        helper.make_node("Resize", ["x", "", "s"], ["a"], name="one", mode="cubic"),
        helper.make_node("Resize", ["a", "", "s"], ["y"], name="two", mode="cubic"),
    ]
    onnx.save(onnx_model(nodes, {"x": ("N", 2, "H", 4)}, ["y"], scales), tmp_path / "net.onnx")
    request, _ = request_of(
        Asked(tmp_path / "net.onnx", tmp_path / "out", tmp_path / "nothing", None, ("tflite-micro",), {})
    )
    with pytest.raises(QConvertError) as caught:
        convert(request)
    found = caught.value.diagnostics
    assert [d.code for d in found] == ["M014", "M014", "M010"]
    assert [bool(d.hint) for d in found] == [True, False, True]
    assert "shapes: {H: 64}" in (found[2].hint or "")


def test_open_sizes_that_samples_do_not_agree_on_are_refused(tmp_path: Path) -> None:
    onnx.save(one("Relu", ["x"], ("N", 3, "H", 8)), tmp_path / "net.onnx")
    for height in (4, 6):
        (tmp_path / "data").mkdir(exist_ok=True)
        np.savez(tmp_path / "data" / f"{height}.npz", x=np.ones((2, 3, height, 8), np.float32))
    request, _ = request_of(
        Asked(tmp_path / "net.onnx", tmp_path / "out", tmp_path / "data", None, ("tflite-micro",), {})
    )
    with pytest.raises(QConvertError, match="H") as caught:
        convert(request)
    assert caught.value.diagnostics[0].code == "M010"


@interpreters
def test_limits_reject_a_file_that_does_not_fit(tmp_path: Path) -> None:
    record = run(tmp_path, limits={"arena": 500, "flash": "1M"})
    assert record.status == "gates failed"
    assert {g.name: g.passed for g in record.gates} == {"limits.arena": False, "limits.flash": True}
    assert not (tmp_path / "out" / "model.tflite").exists()


@interpreters
@pytest.mark.parametrize(("limits", "said"), [({"arena": "1M", "flash": 200}, "raise `limits.flash`"), ({"arena": 100, "flash": 100}, "raise `limits.arena` and `limits.flash`")])  # fmt: skip
def test_a_choice_for_memory_names_the_limit_that_binds(tmp_path: Path, limits: dict[str, object], said: str) -> None:
    uneven = random(4, 6) * np.array([[1.0], [0.01], [0.01], [0.01]], np.float32)
    model = onnx_model(
        [helper.make_node("Gemm", ["x", "v"], ["y"], name="head", transB=1)], {"x": ("N", 6)}, ["y"], {"v": uneven}
    )
    record = run(tmp_path, model, limits=limits)
    (note,) = (d for d in record.diagnostics if d.code == "M101")
    assert note.hint == said
    assert "32 bytes of arena and 96 of flash" in note.message


def test_settings_of_this_target_are_refused_elsewhere(tmp_path: Path) -> None:
    path, data = place(tmp_path, small())
    with pytest.raises(QConvertError, match="keep_layout"):
        convert(request_of(Asked(path, tmp_path / "out", data, None, ("x86-vnni",), {"keep_layout": True}))[0])


@interpreters
@pytest.mark.parametrize(
    ("name", "least", "algorithms"),
    [("digits_resnet", 25, "none"), ("digits_mobilenet", 30, "auto"), ("digits_poolnet", 35, "auto")],
)
def test_sample_models(name: str, least: float, algorithms: str, tmp_path: Path) -> None:
    folder = SAMPLES / name
    recipe = (folder / "recipe.yaml").read_text().replace("extends: x86-vnni", "extends: tflite-micro")
    (tmp_path / "recipe.yaml").write_text(recipe)
    request, _ = request_of(
        Asked(
            folder / f"{name}.onnx",
            tmp_path / "out",
            folder,
            tmp_path / "recipe.yaml",
            (),
            {"algorithms": algorithms, "evaluation.layers": False},
        )
    )
    record = convert(request)
    assert record.measurements.fidelity is not None
    assert record.measurements.fidelity.sqnr_db > least
    assert record.measurements.metrics[0].drop <= (0.005 if name == "digits_poolnet" else 0.006)
    assert "TRANSPOSE" not in {op.name for op in read_tflite((tmp_path / "out" / "model.tflite").read_bytes()).ops}


def test_a_file_of_the_other_kind_is_named(tmp_path: Path, cli: Cli) -> None:
    """By content, whatever the file is called; with the target that fits."""
    shutil.copy(SAMPLES / "digits_poolnet" / "digits_poolnet.onnx", tmp_path / "odd.bin")
    (tmp_path / "file.onnx").write_bytes(b"\x1c\0\0\0TFL3" + bytes(40))
    (tmp_path / "text.tflite").write_text("neither of them")
    for name, target, said in (
        ("odd.bin", "tflite-micro", ("an ONNX model, and tflite-micro runs .tflite files", "`-t x86-vnni`")),
        ("file.onnx", "x86-vnni", ("a .tflite file, and x86-vnni runs .onnx files", "`-t tflite-micro`")),
        ("text.tflite", "tflite-micro", ("not a .tflite file", "text.tflite")),
    ):
        ran = cli("check", tmp_path / name, "-t", target)
        assert (ran.code, ran.err.startswith("error[M002]: ")) == (3, True), ran.err
        for part in (*said, name):
            assert part in " ".join(ran.err.split()), ran.err


@pytest.mark.parametrize(
    ("shape", "order", "stored", "said"),
    [
        ((1, 1, 28, 28), (0, 2, 3, 1), (1, 28, 28, 1), "1x28x28x1 for ONNX 1x1x28x28, axes NHWC, the same bytes as in ONNX's order"),
        ((1, 3, 28, 28), (0, 2, 3, 1), (1, 28, 28, 3), "1x28x28x3 for ONNX 1x3x28x28, axes NHWC"),
        ((1, 3, 8, 8), (0, 1, 2, 3), (1, 3, 8, 8), "1x3x8x8"),
        ((1, 1, 4), (0, 1, 2), (1, 4), "1x4 for ONNX 1x1x4, the same bytes as in ONNX's order"),
    ],
)  # fmt: skip
def test_axes_in_words(shape: tuple[int, ...], order: tuple[int, ...], stored: tuple[int, ...], said: str) -> None:
    assert layout_text(Binding("x", "float32", shape, order, stored, "int8")) == f"int8 {said}"
