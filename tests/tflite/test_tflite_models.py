"""Whole networks: what exporters write for them, and what must come out."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, helper
from tflite_support import MODELS, PLAIN, Converted, artefact_of, convert, feeds_of, interpreters, onnx_model, random

from qconvert.graph import Array
from qconvert.recipe import Recipe
from qconvert.recipe.types import Change, Match, Rule
from qconvert.runtime import Feed
from qconvert.verify.tflite_read import read_tflite
from qconvert.verify.tflite_run import TfliteSession, decoded


def node(op: str, inputs: list[str], output: str, **attributes: object) -> onnx.NodeProto:
    return helper.make_node(op, inputs, [output], name=f"n_{output}", **attributes)


def he(*shape: int, seed: int = 0) -> Array:
    return random(*shape, seed=seed, spread=float(np.sqrt(2 / np.prod(shape[1:]))))


def torch_like(size: int) -> ModelProto:
    """3x3 stride 2 pad 1, MaxPool pad 1 on negative values, ceil-mode AveragePool, Concat, Flatten and Linear, in NCHW."""
    pooled = -(-((size - 1) // 2 + 1) // 2)
    ceiled = -(-pooled // 2)
    nodes = [
        node("Conv", ["x", "w1", "b1"], "c1", pads=[1, 1, 1, 1], strides=[2, 2], kernel_shape=[3, 3]),
        node("MaxPool", ["c1"], "p1", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
        node("Conv", ["p1", "w2", "b2"], "c2", pads=[1, 1, 1, 1], kernel_shape=[3, 3]),
        node("Relu", ["c2"], "r2"),
        node("Conv", ["p1", "w3"], "c3", kernel_shape=[1, 1]),
        node("Concat", ["r2", "c3"], "k", axis=1),
        node("AveragePool", ["k"], "p2", kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1, count_include_pad=1),
        node("Flatten", ["p2"], "f", axis=1),
        node("Gemm", ["f", "w4", "b4"], "y", transB=1),
    ]
    weights = {
        "w1": he(8, 3, 3, 3),
        "b1": random(8) - 2,
        "w2": he(12, 8, 3, 3),
        "b2": random(12),
        "w3": he(4, 8, 1, 1),
        "w4": he(10, 16 * ceiled * ceiled),
        "b4": random(10),
    }
    return onnx_model(nodes, {"x": ("N", 3, size, size)}, ["y"], weights)


@interpreters
@pytest.mark.parametrize("size", [28, 27, 32, 33])
def test_a_pytorch_style_network_is_exact_to_its_formats(size: int, tmp_path: Path) -> None:
    model = torch_like(size)
    found = convert(model, tmp_path, feeds_of(model, 16), Recipe(target="tflite-micro", rules=(PER_CHANNEL,)))
    assert found.worst_db >= 35
    assert found.largest_gap <= 1  # FullyConnected rounds differently by one
    assert "TRANSPOSE" not in found.ops
    assert found.ops.count("RESHAPE") == 0


PER_CHANNEL = Rule(match=Match(op="Gemm"), set=Change(granularity="per-channel"))


def twin(channels_last: bool) -> ModelProto:
    """A network as PyTorch writes it, or as tf2onnx does: NHWC input, a Transpose in front, one behind."""
    nodes = [
        node("Conv", ["t", "w1", "b1"], "c1", pads=[1, 1, 1, 1], kernel_shape=[3, 3]),
        node("Relu", ["c1"], "r1"),
        node("MaxPool", ["r1"], "p1", kernel_shape=[2, 2], strides=[2, 2]),
    ]
    flat = [
        node("Reshape", ["u", "shape"], "f"),
        node("MatMul", ["f", "w2"], "m"),
        node("Add", ["m", "b2"], "a"),
        node("Softmax", ["a"], "y"),
    ]
    weights = {
        "w1": he(6, 3, 3, 3),
        "b1": random(6),
        "w2": he(6 * 16, 5),
        "b2": random(5),
        "shape": np.array([-1, 96], np.int64),
    }
    if channels_last:
        moved = [
            node("Transpose", ["x"], "t", perm=[0, 3, 1, 2]),
            *nodes,
            node("Transpose", ["p1"], "u", perm=[0, 2, 3, 1]),
            *flat,
        ]
        return onnx_model(moved, {"x": (1, 8, 8, 3)}, ["y"], weights)
    rows = weights["w2"].reshape(4, 4, 6, 5).transpose(2, 0, 1, 3).reshape(96, 5)  # the same function of NCHW features
    plain = list(nodes)
    for n in plain:
        n.input[:] = ["x" if i == "t" else i for i in n.input]
    flat[0].input[0] = "p1"
    return onnx_model([*plain, *flat], {"x": (1, 3, 8, 8)}, ["y"], {**weights, "w2": np.ascontiguousarray(rows)})


@interpreters
def test_both_exporters_layouts_give_the_same_file(tmp_path: Path) -> None:
    last, first = twin(True), twin(False)
    feeds = feeds_of(last, 8)
    moved = [{"x": np.ascontiguousarray(f["x"].transpose(0, 3, 1, 2))} for f in feeds]
    a, b = convert(last, tmp_path, feeds), convert(first, tmp_path, moved)
    assert a.ops == b.ops == ["CONV_2D", "MAX_POOL_2D", "FULLY_CONNECTED", "SOFTMAX"]
    assert a.artefact.inputs[0].stored == b.artefact.inputs[0].stored == (1, 8, 8, 3)
    assert (a.artefact.inputs[0].order, b.artefact.inputs[0].order) == ((0, 1, 2, 3), (0, 2, 3, 1))
    left, right = (read_tflite(x.artefact.data) for x in (a, b))
    for s, t in zip(left.tensors, right.tensors, strict=True):
        assert (s.data is None) == (t.data is None)
        assert s.data is None or np.array_equal(s.data, t.data)
    assert a.codes["tflm"][0][0].tolist() == b.codes["tflm"][0][0].tolist()


def poolnet(channels_last: bool) -> tuple[ModelProto, list[Feed], list[Feed]]:
    """The sample with its own input or with NHWC and a Transpose in front; samples to calibrate and to evaluate."""
    folder = Path(__file__).parents[2] / "sample_models" / "digits_poolnet"
    model = onnx.load(folder / "digits_poolnet.onnx")
    arrays = [np.load(folder / part / "samples.npz")["image"] for part in ("calib", "eval")]
    if channels_last:
        arrays = [np.ascontiguousarray(a.transpose(0, 2, 3, 1)) for a in arrays]
        model.graph.node[0].input[0] = "image_nchw"
        model.graph.node.insert(0, node("Transpose", ["image"], "image_nchw", perm=[0, 3, 1, 2]))
        dims = model.graph.input[0].type.tensor_type.shape.dim
        for dim, size in zip(dims[1:], (28, 28, 1), strict=True):
            dim.dim_value = size
    calib, held = ([{"image": row[None]} for row in a] for a in arrays)
    return model, calib, held[:100]


@interpreters
def test_a_trained_network_in_both_layouts(tmp_path: Path) -> None:
    """Padding of 1 at stride 2 on even and odd sizes, padded maximum, overhanging average, joined branches, flattened channels."""
    found = []
    for channels_last in (False, True):
        model, calib, held = poolnet(channels_last)
        found.append(convert(model, tmp_path, calib, Recipe(target="tflite-micro"), held))
        assert found[-1].worst_db >= 35
        assert found[-1].largest_gap <= 1  # of FullyConnected
        assert "TRANSPOSE" not in found[-1].ops
    assert found[0].ops == found[1].ops
    first, last = (f.codes["tflm"] for f in found)
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(first, last, strict=True))


@interpreters
@pytest.mark.parametrize("axis", [-3, -2, -1, 1, 2, 3])
@pytest.mark.parametrize("op", ["Softmax", "Concat", "ReduceMean", "Split"])
def test_equal_sizes_of_all_axes_confuse_nothing(op: str, axis: int, tmp_path: Path) -> None:
    attributes: dict[str, object] = {"axes": [axis], "keepdims": 0} if op == "ReduceMean" else {"axis": axis}
    inputs, outputs = (["c", "x"] if op == "Concat" else ["c"]), (["y", "z"] if op == "Split" else ["y"])
    nodes = [
        node("Conv", ["x", "w"], "c", kernel_shape=[1, 1]),
        helper.make_node(op, inputs, outputs, name="n_y", **attributes),
    ]
    found = convert(onnx_model(nodes, {"x": (1, 16, 16, 16)}, outputs, {"w": he(16, 16, 1, 1)}), tmp_path)
    assert found.worst_db > (20 if op == "Softmax" else 30)
    assert found.ops.count("TRANSPOSE") == (1 if op == "Softmax" and axis % 4 != 1 else 0)


@interpreters
def test_transpositions_that_cancel_and_reshapes_of_unit_axes_vanish(tmp_path: Path) -> None:
    nodes = [
        node("Transpose", ["x"], "t", perm=[0, 2, 3, 1]),
        node("Relu", ["t"], "r"),
        node("Transpose", ["r"], "u", perm=[0, 3, 1, 2]),
        node("Reshape", ["u", "s"], "v"),
        node("Conv", ["v", "w"], "y", kernel_shape=[1, 1]),
    ]
    weights = {"w": he(4, 5, 1, 1), "s": np.array([1, 5, 7, 1], np.int64)}
    found = convert(onnx_model(nodes, {"x": (1, 5, 1, 7)}, ["y"], weights), tmp_path)
    assert found.ops.count("TRANSPOSE") == 0
    assert found.worst_db > 35


@interpreters
def test_twelve_branches_of_different_ranges_are_joined(tmp_path: Path) -> None:
    nodes = [node("Mul", ["x", f"s{n}"], f"m{n}") for n in range(12)]
    nodes += [node("Concat", [f"m{n}" for n in range(12)], "y", axis=1), node("Neg", ["m11"], "z")]
    weights = {f"s{n}": np.full((1, 1, 1, 1), 2.0 ** (4 - n), np.float32) for n in range(12)}
    found = convert(onnx_model(nodes, {"x": (1, 2, 3, 3)}, ["y", "z"], weights), tmp_path)
    assert found.worst_db > 35  # z is the smallest branch, which keeps a scale of its own beside the joined one
    assert found.ops.count("CONCATENATION") == 2


@interpreters
def test_degenerate_weights_give_a_sane_file(tmp_path: Path) -> None:
    weight = he(4, 3, 3, 3)
    weight[0] = 0  # dead
    weight[1] *= 1e-6  # next to nothing beside its neighbours
    nodes = [
        node("Conv", ["x", "w", "b"], "c", pads=[1, 1, 1, 1], kernel_shape=[3, 3]),
        node("Mul", ["x", "zero"], "z"),
    ]
    weights = {"w": weight, "b": np.array([0.0, 1e3, 0.1, 0.0], np.float32), "zero": np.zeros(1, np.float32)}
    found = convert(onnx_model(nodes, {"x": (1, 3, 6, 6)}, ["c", "z"], weights), tmp_path)
    file = read_tflite(found.artefact.data)
    for tensor in file.tensors:
        assert np.isfinite(tensor.scale).all()
        assert (tensor.scale > 0).all()
    constant = next(t.data for t in file.tensors if t.dtype == "int32" and t.data is not None and t.shape == (4,))
    assert abs(int(constant[1])) < 2**31 - 1
    assert found.worst_db > 30
    for binding, codes in zip(found.artefact.outputs, found.codes["tflm"][0], strict=True):
        values = decoded(binding, codes)
        assert np.isfinite(values).all()
        assert binding.name != "z" or not values.any()  # a constant 0 stays one
        assert binding.name != "c" or np.abs(values[:, 0]).max() == 0  # and so does the dead channel


@pytest.mark.parametrize("name", ["mlperf_tiny_resnet8_cifar10", "mlperf_tiny_kws_dscnn"])
@interpreters
def test_mlperf_tiny(name: str, tmp_path: Path) -> None:
    folder = MODELS / name
    if not folder.exists():
        pytest.skip("the shared models are not here")
    data = MODELS / "data_cifar10" if "cifar10" in name else folder
    arrays = [np.load(data / part / "samples.npz")["input"].astype(np.float32) for part in ("calib", "eval")]
    feeds, held = ([{"input": row[None]} for row in a[:100]] for a in arrays)
    found = convert(onnx.load(folder / "model.onnx"), tmp_path, feeds, PLAIN, evaluate=held)
    official = (folder / "reference_int8.tflite").read_bytes()
    assert found.worst_db >= {"mlperf_tiny_resnet8_cifar10": 19.1, "mlperf_tiny_kws_dscnn": 12.4}[name] + 2
    assert logits_gap(found, held) <= 1  # a softmax turns the 1 of FullyConnected into more
    assert "TRANSPOSE" not in found.ops
    assert len(found.artefact.data) <= len(official)
    assert arena(found.artefact.data) <= 1.02 * arena(official)


def logits_gap(found: Converted, feeds: list[Feed]) -> int:
    """Largest difference of the interpreters in what the last operator reads."""
    number = found.artefact.file.ops[-1].inputs[0]
    seen = []
    for engine in ("tflm", "litert"):
        with TfliteSession(found.artefact, engine, preserve=True) as session:
            rows = []
            for feed in feeds[:20]:
                session.codes(feed)
                rows.append(session.interpreter.tensors([number])[0].astype(int))
            seen.append(np.stack(rows))
    return int(np.abs(seen[0].reshape(-1) - seen[1].reshape(-1)).max())


def arena(data: bytes) -> int:
    from qconvert.runtime.tflite import Interpreter

    file = read_tflite(data)
    with Interpreter("tflm") as interpreter:
        interpreter.load(data, len(file.outputs))
        interpreter.run([np.zeros(t.shape, t.dtype) for t in file.inputs])
        used = interpreter.allocation()
    assert used is not None
    return used.total


@interpreters
def test_float_ends_and_the_models_own_layout(tmp_path: Path) -> None:
    model = torch_like(28)
    feeds = feeds_of(model, 4)
    ends = convert(model, tmp_path, feeds, io="float")
    assert (ends.ops[0], ends.ops[-1]) == ("QUANTIZE", "DEQUANTIZE")
    assert ends.artefact.inputs[0].stored_dtype == ends.artefact.outputs[0].stored_dtype == "float32"
    kept = convert(model, tmp_path, feeds, keep_layout=True)
    assert kept.artefact.inputs[0].stored == (1, 3, 28, 28)
    assert kept.ops[0] == "TRANSPOSE"
    assert min(ends.worst_db, kept.worst_db) > 35


@interpreters
def test_a_small_arena_widens_a_kernel_instead_of_padding(tmp_path: Path) -> None:
    model = onnx_model(
        [node("Conv", ["x", "w"], "y", pads=[1, 1, 1, 1], strides=[2, 2], kernel_shape=[3, 3])],
        {"x": (1, 16, 32, 32)},
        ["y"],
        {"w": he(8, 16, 3, 3)},
    )
    feeds = feeds_of(model, 4)
    usual, small = convert(model, tmp_path, feeds), convert(model, tmp_path, feeds, arena=24_000)
    assert usual.ops == ["PAD", "CONV_2D"]
    assert small.ops == ["CONV_2D"]
    assert len(small.artefact.choices) == 1
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(usual.codes["tflm"], small.codes["tflm"], strict=True))


def test_equal_inputs_give_equal_bytes(tmp_path: Path) -> None:
    model = torch_like(28)
    feeds = feeds_of(model, 4)
    assert artefact_of(model, tmp_path, feeds)[1].data == artefact_of(model, tmp_path, feeds)[1].data


@interpreters
def test_per_channel_products_where_memory_allows(tmp_path: Path) -> None:
    weight = he(32, 64) * np.geomspace(0.01, 1, 32, dtype=np.float32)[:, None]
    model = onnx_model(
        [node("Gemm", ["x", "w"], "h", transB=1), node("Relu", ["h"], "r"), node("Gemm", ["r", "v"], "y", transB=1)],
        {"x": (1, 64)},
        ["y"],
        {"w": weight, "v": he(4, 32)},
    )
    feeds = feeds_of(model, 16)

    def scales(recipe: Recipe) -> list[int]:
        file = read_tflite(artefact_of(model, tmp_path, feeds, recipe)[1].data)
        return [op.inputs[1].scale.size for op in file.ops]  # type: ignore[union-attr]

    assert scales(PLAIN) == [1, 1]
    assert scales(PLAIN.model_copy(update={"limits": PLAIN.limits.model_copy(update={"arena": 64_000})}))[0] == 32
    assert scales(PLAIN.model_copy(update={"limits": PLAIN.limits.model_copy(update={"arena": 1_000})})) == [1, 1]
