"""Models that cannot be converted, and odd ones that can: one clear error with its exit code, and nothing left behind."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from end_to_end_support import Cli, Place, conv_model, hashes, model, weight, write_data
from onnx import TensorProto, helper, numpy_helper

IMAGE = ("batch", 3, 8, 8)
QUICK = ("--no-evaluate", "-q")


def refused(cli: Cli, place: Place, arguments: list[object], code: str, exit_code: int = 3) -> str:
    """Run, and expect one error of this code, no output, no leftovers, and inputs as they were. Returns the message."""
    before = hashes(place.root)
    ran = cli(*arguments)
    assert (ran.code, ran.out) == (exit_code, ""), ran
    assert ran.err.count("error[") == 1, ran.err
    assert ran.err.startswith(f"error[{code}]: "), ran.err
    assert hashes(place.root) == before
    assert not (place.root / "out").exists()
    assert place.leftovers() == []
    return ran.err


Change = Callable[[bytes], bytes]


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        pytest.param(lambda b: b[: len(b) // 2], "M002", "not a readable ONNX protobuf", id="truncated"),
        pytest.param(lambda b: b"\xff" * 50 + b, "M002", "not a readable ONNX protobuf", id="broken"),
        pytest.param(lambda b: b"", "M002", "no graph in this file (0 bytes)", id="empty"),
        pytest.param(lambda b: b"no model, but text\n" * 9, "M002", "not a readable ONNX protobuf", id="text"),
        pytest.param(lambda b: b"version https://git-lfs.github.com/spec/v1\n", "M002", "git lfs pull", id="lfs"),
        pytest.param(lambda b: b"\x20\0\0\0TFL3" + b, "M002", "this is a .tflite file", id="tflite"),
    ],
)
def test_file_that_is_no_model(cli: Cli, place: Place, change: Change, code: str, says: str) -> None:
    place.model.write_bytes(change(place.model.read_bytes()))
    assert says in refused(cli, place, place.convert(*QUICK), code)


def test_model_that_cannot_be_opened(cli: Cli, place: Place) -> None:
    assert "No such file" in refused(cli, place, place.convert(*QUICK, model=place.root / "nope.onnx"), "M001")
    for folder in (place.data, place.root):  # the output would lie in the second
        assert "Is a directory" in refused(cli, place, place.convert(*QUICK, model=folder), "M001")


@pytest.mark.parametrize("command", ["plan", "inspect", "check", "recipe init"])
def test_every_command_tells_the_same(cli: Cli, place: Place, command: str) -> None:
    place.model.write_bytes(b"junk" * 20)
    target = [] if command == "inspect" else ["-t", "x86-vnni"]
    refused(cli, place, [*command.split(), place.model, *target], "M002")


# --- external data -----------------------------------------------------------------------------------------------------


def external(place: Place, location: str | None = None, change: Callable[[Path], object] | None = None) -> None:
    """Move the weights of the good model into `w.bin`, then say that they are elsewhere, or change that file."""
    onnx.save(onnx.load(place.model), place.model, save_as_external_data=True, location="w.bin", size_threshold=0)
    if location is not None:
        proto = onnx.load(place.model, load_external_data=False)
        for entry in (e for t in proto.graph.initializer for e in t.external_data if e.key == "location"):
            entry.value = location
        onnx.save(proto, place.model)
    if change is not None:
        change(place.model.parent / "w.bin")


def test_external_data(cli: Cli, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    external(place)
    monkeypatch.chdir(place.data)
    before = hashes(place.root)
    ran = cli(*place.convert("--json", "--set", "evaluation.latency=false"))
    assert ran.code == 0, ran.err
    assert {name: hashes(place.root)[name] for name in before} == before
    assert ran.json["measurements"]["size"]["float_bytes"] > (place.model.parent / "w.bin").stat().st_size
    assert [f.name for f in place.output.parent.iterdir() if f.suffix != ".json"] == ["m.onnx"]


def test_hash_of_the_model_covers_external_data(cli: Cli, place: Place) -> None:
    external(place)
    first = cli("inspect", place.model, "--json").json["model"]["sha256"]
    file = place.model.parent / "w.bin"
    content = bytearray(file.read_bytes())
    content[3] ^= 1
    file.write_bytes(content)
    assert cli("inspect", place.model, "--json").json["model"]["sha256"] != first


def _directory(file: Path) -> None:
    file.unlink()
    file.mkdir()


def _link_out(file: Path) -> None:
    file.rename(file.parents[1] / "w.bin")
    file.symlink_to(file.parents[1] / "w.bin")


@pytest.mark.parametrize(
    ("location", "change", "code", "says"),
    [
        pytest.param(None, Path.unlink, "M003", "`w.bin`, which does not exist", id="missing"),
        pytest.param(None, lambda f: f.write_bytes(b"123"), "M003", "`w.bin` has 3 bytes", id="short"),
        pytest.param(None, _directory, "M003", "`w.bin`, which does not exist", id="folder"),
        pytest.param("/etc/passwd", None, "M004", "`/etc/passwd`, outside", id="absolute"),
        pytest.param("../data/part000.npz", None, "M004", "`../data/part000.npz`, outside", id="parent"),
        pytest.param(None, _link_out, "M004", "`w.bin`, outside", id="symlink"),
        pytest.param("", None, "M004", "outside", id="nowhere"),
    ],
)
def test_external_data_refused(
    cli: Cli, place: Place, location: str | None, change: Callable[[Path], object] | None, code: str, says: str
) -> None:
    external(place, location, change)
    assert says in refused(cli, place, place.convert(*QUICK), code)


@pytest.mark.parametrize(("location", "code"), [("k.bin", ""), ("../k.bin", "M004"), ("z.bin", "M003")])
def test_external_data_of_an_attribute(cli: Cli, place: Place, location: str, code: str) -> None:
    tensor = TensorProto(name="k", data_type=TensorProto.FLOAT, dims=[1, 3, 1, 1], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("length", "12")):
        tensor.external_data.add(key=key, value=value)
    for folder in (place.root, place.model.parent):
        (folder / "k.bin").write_bytes(np.ones(3, np.float32).tobytes())
    nodes = [helper.make_node("Constant", [], ["c"], value=tensor), helper.make_node("Mul", ["x", "c"], ["y"])]
    place.save(model(nodes, {"x": IMAGE}, {"y": IMAGE}))
    if code:
        refused(cli, place, place.convert(*QUICK), code)
    else:
        assert cli(*place.convert(*QUICK)).code == 0


def test_external_data_with_a_broken_offset(cli: Cli, place: Place) -> None:
    external(place)
    proto = onnx.load(place.model, load_external_data=False)
    proto.graph.initializer[0].external_data.add(key="offset", value="minus one")
    onnx.save(proto, place.model)
    assert "minus one" in refused(cli, place, place.convert(*QUICK), "M002")


# --- graphs ------------------------------------------------------------------------------------------------------------


def node(op: str, *, domain: str = "", shape: tuple[object, ...] | None = IMAGE) -> onnx.ModelProto:
    return model([helper.make_node(op, ["x"], ["y"], name="only", domain=domain)], {"x": shape}, {"y": shape})


def edited(change: Callable[[onnx.GraphProto], object]) -> onnx.ModelProto:
    proto = conv_model()
    change(proto.graph)
    return proto


def poisoned(index: int, value: float) -> onnx.ModelProto:
    def change(graph: onnx.GraphProto) -> None:
        tensor = graph.initializer[index]
        array = numpy_helper.to_array(tensor).copy()
        array.flat[3] = value
        tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))

    return edited(change)


def constant_only() -> onnx.ModelProto:
    value = numpy_helper.from_array(np.ones(2, np.float32))
    return model([helper.make_node("Constant", [], ["y"], value=value)], {}, {"y": (2,)})


BAD_GRAPHS = {
    "unknown operator": (lambda: node("Frobnicate"), "M006", "Frobnicate"),
    "custom domain": (lambda: node("Thing", domain="com.acme"), "M006", "com.acme:Thing"),
    "opset too old": (lambda: conv_model(6), "M007", "opset 6, at least 7"),
    "opset of the future": (lambda: conv_model(99), "M006", "Opset 99"),
    "no rank": (lambda: node("Relu", shape=None), "M010", "not even a rank"),
    "no inputs": (constant_only, "M012", "no inputs"),
    "no outputs": (lambda: edited(lambda g: g.ClearField("output")), "M005", "no outputs"),
    "NaN weight": (lambda: poisoned(0, np.nan), "M011", "weight `w1` holds NaN"),
    "infinite bias": (lambda: poisoned(1, -np.inf), "M011", "weight `b1` holds infinite"),
    "value defined twice": (lambda: edited(lambda g: g.node[1].output.__setitem__(0, "c1")), "M005", "'c1'"),
    "value of nobody": (lambda: edited(lambda g: g.node[1].input.__setitem__(0, "void")), "M005", "'void'"),
    "cycle": (lambda: edited(lambda g: g.node[0].input.__setitem__(0, "r2")), "M005", "'r2'"),
}


@pytest.mark.parametrize("case", BAD_GRAPHS)
def test_bad_graph(cli: Cli, place: Place, case: str) -> None:
    build, code, says = BAD_GRAPHS[case]
    place.save(build())
    message = refused(cli, place, place.convert(*QUICK), code)
    assert says in message
    assert str(place.model) in message
    assert "onnxruntime/core" not in message


def test_infinity_in_a_mask_is_fine(cli: Cli, place: Place) -> None:
    mask = np.zeros((1, 3, 1, 8), np.float32)
    mask[..., 6:] = -np.inf
    nodes = [helper.make_node("Add", ["x", "m"], ["a"]), helper.make_node("Softmax", ["a"], ["y"])]
    place.save(model(nodes, {"x": IMAGE}, {"y": IMAGE}, {"m": mask}))
    assert cli(*place.convert(*QUICK)).code == 0


def test_quantized_model(cli: Cli, place: Place) -> None:
    assert cli(*place.convert(*QUICK)).code == 0
    again = place.root / "again" / "m.onnx"
    assert cli(*place.convert("--no-evaluate", model=place.output, output=again)).code == 0
    proto = onnx.load(again)
    proto.graph.node.append(helper.make_node("QAttention", ["x"], ["a"], name="attention", domain="com.microsoft"))
    proto.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    again.write_bytes(proto.SerializeToString())
    ran = cli(*place.convert(*QUICK, model=again, output=place.root / "third"))
    assert (ran.code, ran.out) == (3, "")
    assert ran.err.startswith("error[M008]: node `attention`: ")
    assert "qconvert check" in ran.err


# --- odd, but fine -----------------------------------------------------------------------------------------------------


def branches() -> onnx.ModelProto:
    value = helper.make_tensor_value_info
    yes = helper.make_graph([helper.make_node("Relu", ["c1"], ["t"])], "yes", [], [value("t", 1, None)])
    no = helper.make_graph([helper.make_node("Neg", ["c1"], ["e"])], "no", [], [value("e", 1, None)])
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c1"], name="conv"),
        helper.make_node("ReduceSum", ["c1"], ["s"], keepdims=0),
        helper.make_node("Greater", ["s", "zero"], ["positive"]),
        helper.make_node("If", ["positive"], ["y"], name="if", then_branch=yes, else_branch=no),
    ]
    return model(
        nodes,
        {"x": IMAGE},
        {"y": ("batch", 4, 6, 6)},
        {"w": weight(np.random.default_rng(0), 4, 3, 3, 3), "zero": np.float32(0)},
    )


def loop() -> onnx.ModelProto:
    value = helper.make_tensor_value_info
    steps = [
        helper.make_node("Identity", ["go"], ["go_on"]),
        helper.make_node("Conv", ["state", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["next"]),
    ]
    body = helper.make_graph(
        steps,
        "body",
        [value("i", 7, []), value("go", 9, []), value("state", 1, None)],
        [value("go_on", 9, []), value("next", 1, None)],
    )
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c1"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Loop", ["n", "true", "c1"], ["y"], name="loop", body=body),
    ]
    return model(
        nodes,
        {"x": IMAGE},
        {"y": IMAGE},
        {"w": weight(np.random.default_rng(0), 3, 3, 3, 3), "n": np.int64(3), "true": np.array(True)},
    )


def matmul(dtype: type[np.generic], onnx_type: int) -> onnx.ModelProto:
    return model(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="m")],
        {"x": ("b", 8)},
        {"y": ("b", 4)},
        {"w": np.ones((8, 4), dtype)},
        dtype=onnx_type,
    )


def renamed(name: str) -> onnx.ModelProto:
    def change(graph: onnx.GraphProto) -> None:
        for each in graph.node:
            each.name = name

    return edited(change)


ODD = {
    "one node": lambda: node("Relu"),
    "nothing but Identity": lambda: node("Identity"),
    "no nodes": lambda: model([], {"x": IMAGE}, {"x": IMAGE}),
    "an output is an input": lambda: model(
        [helper.make_node("Relu", ["x"], ["y"])], {"x": IMAGE}, {"y": IMAGE, "x": IMAGE}
    ),
    "the same node name everywhere": lambda: renamed("same"),
    "no node names": lambda: renamed(""),
    "weights all zero": lambda: edited(
        lambda g: g.initializer[0].CopyFrom(numpy_helper.from_array(np.zeros((16, 3, 3, 3), np.float32), "w1"))
    ),
    "zero-size weight": lambda: model(
        [helper.make_node("Concat", ["x", "w"], ["y"], axis=3)],
        {"x": (1, 3, 8, 8)},
        {"y": (1, 3, 8, 8)},
        {"w": np.ones((1, 3, 8, 0), np.float32)},
    ),
    "If": branches,
    "Loop": loop,
    "markup and other scripts": lambda: conv_model(prefix="[bold]узел/層:smile:[/x]"),
    "very deep names": lambda: conv_model(prefix="model/block/" * 80),
}


@pytest.mark.parametrize("target", ["x86-vnni", "tensorrt"])
@pytest.mark.parametrize("case", ODD)
def test_odd_model(cli: Cli, place: Place, case: str, target: str) -> None:
    place.save(ODD[case]())
    before = hashes(place.root)
    ran = cli(*place.convert("-t", target, "--no-evaluate"))
    assert ran.code == 0, ran.err
    assert "wrote " in ran.out
    assert {name: hashes(place.root)[name] for name in before} == before
    onnx.checker.check_model(str(place.output))


@pytest.mark.parametrize("opset", range(7, 23))
def test_every_opset(cli: Cli, place: Place, opset: int) -> None:
    place.save(conv_model(opset))
    ran = cli(*place.convert("--no-evaluate", "--json"))
    assert ran.code == 0, ran.err
    assert ran.json["plan"]["integer_share"] == 1.0


@pytest.mark.parametrize(("kind", "onnx_type"), [(np.float64, TensorProto.DOUBLE), (np.float16, TensorProto.FLOAT16)])
def test_other_precisions(cli: Cli, place: Place, kind: type[np.generic], onnx_type: int) -> None:
    place.save(matmul(kind, onnx_type))
    data = write_data(place.root / "vectors", (8,))
    if kind is np.float16:
        assert cli(*place.convert("-q", data=data)).code == 4
    assert cli(*place.convert("-q", "--set", f"dataset.preprocess.dtype={np.dtype(kind).name}", data=data)).code == 0


def test_names_are_never_markup(cli: Cli, place: Place) -> None:
    place.save(conv_model(prefix="[bold]узел:smile:[/x]"))
    wanted = "[bold]узел:smile:[/x]conv1"
    assert wanted in cli("plan", place.model, "-t", "x86-vnni", "--all").out
    assert wanted in cli("plan", place.model, "-t", "x86-vnni", "--why", "[bold]узел:smile:[/x]conv1").out
    folder = place.root / "[red]in"
    place.model.parent.rename(folder)
    for command in (["inspect", folder / "model.onnx"], ["check", folder / "model.onnx", "-t", "tensorrt"]):
        assert "[red]in" in cli(*command).out
    missing = cli("inspect", folder / "[bold]no.onnx")
    assert "[red]in/[bold]no.onnx" in missing.err


def test_dynamic_shapes_without_data(cli: Cli, place: Place) -> None:
    weights = {"w": weight(np.random.default_rng(0), 4, 3, 3, 3)}
    place.save(
        model(
            [helper.make_node("Conv", ["x", "w"], ["y"], name="c")],
            {"x": ("b", 3, "h", "v")},
            {"y": ("b", 4, None, None)},
            weights,
        )
    )
    bare = ["convert", place.model, "-t", "x86-vnni", "-o", place.output, "--set", "placement=everywhere", "-q"]
    assert "`-d`" in refused(cli, place, bare, "D001", 4)
    assert cli("plan", place.model, "-t", "x86-vnni").code == 0


@pytest.mark.skipif(os.name != "posix", reason="needs links")
def test_model_through_a_symlink(cli: Cli, place: Place) -> None:
    link = place.root / "link.onnx"
    link.symlink_to(place.model)
    assert cli(*place.convert(*QUICK, model=link)).code == 0
    assert "error[O003]" in cli(*place.convert(*QUICK, model=link, output=place.model)).err
