"""Reading and writing: what goes in comes out, weights stay where they are until they are needed."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import pytest
from end_to_end_support import conv_model, model
from onnx import TensorProto, helper, numpy_helper

from qconvert.errors import QConvertError
from qconvert.graph import Graph, Mapped, from_proto, io, load, rename_data, save, serialize, to_proto
from qconvert.runtime import Options, Session, opened

FEED = {"x": np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32)}


def output(graph: Graph) -> np.ndarray:
    with opened(graph) as session:
        return session.run(FEED)["y"]


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """The small model with its weights in a file beside it."""
    path = tmp_path / "in.onnx"
    onnx.save(conv_model(), path, save_as_external_data=True, location="in.bin", size_threshold=0)
    return path


def test_round_trip() -> None:
    graph = from_proto(conv_model())
    again = from_proto(to_proto(graph))
    assert str(again) == str(graph)
    assert [n.attributes for n in again.nodes] == [n.attributes for n in graph.nodes]
    assert again.opsets == graph.opsets
    np.testing.assert_array_equal(output(again), output(graph))


def test_a_format_version_beyond_what_the_operators_need_is_lowered() -> None:
    proto = conv_model()
    proto.ir_version = 99  # that of a later onnx
    graph = from_proto(proto)
    np.testing.assert_array_equal(output(graph), output(from_proto(conv_model())))
    assert to_proto(graph).ir_version == 10
    for opset, needed in ((21, 10), (23, 11)):
        proto.opset_import[0].version = opset
        assert from_proto(proto).ir_version == needed
    proto.ir_version = 8
    assert from_proto(proto).ir_version == 8, "never raised"


@pytest.mark.parametrize("external", [False, True])
def test_files_of_a_later_onnx_run_as_they_are(tmp_path: Path, external: bool) -> None:
    proto, path = conv_model(), tmp_path / "new.onnx"
    proto.ir_version = onnx.IR_VERSION  # the runtime's latest is usually an older one
    onnx.save(proto, path, save_as_external_data=external, location="new.bin", size_threshold=0)
    np.testing.assert_array_equal(Session(path).run(FEED)["y"], output(from_proto(conv_model())))


def test_external_weights_stay_mapped(stored: Path) -> None:
    graph = load(stored)
    assert all(isinstance(weight, Mapped) for weight in graph.weights.values())
    np.testing.assert_array_equal(output(graph), output(from_proto(conv_model())))
    assert all(isinstance(weight, Mapped) for weight in graph.weights.values())


def test_serialized_model_stands_alone(stored: Path) -> None:
    proto = onnx.ModelProto.FromString(serialize(load(stored)))
    assert {t.data_location for t in proto.graph.initializer} == {TensorProto.DEFAULT}


def test_external_weights_are_written(stored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(io, "EXTERNAL_ABOVE", 100)
    seen: list[tuple[int, int]] = []
    path = tmp_path / "out.onnx"
    assert save(load(stored), path, lambda done, total: seen.append((done, total))) == [
        path,
        tmp_path / "out.onnx.data",
    ]
    assert seen[-1][0] == seen[-1][1] == len(seen)
    first = path.read_bytes(), (tmp_path / "out.onnx.data").read_bytes()
    save(load(stored), path)
    assert (path.read_bytes(), (tmp_path / "out.onnx.data").read_bytes()) == first
    np.testing.assert_array_equal(output(load(path)), output(load(stored)))


def test_data_under_another_name(stored: Path) -> None:
    wanted = output(load(stored))
    stored.with_name("in.bin").rename(stored.with_name("other.bin"))
    rename_data(stored, "other.bin")
    np.testing.assert_array_equal(output(load(stored)), wanted)


def test_bytes_do_not_depend_on_the_order_of_metadata() -> None:
    graph = from_proto(conv_model())
    a, b = ({"a": "1", "b": "2"}, {"b": "2", "a": "1"})
    assert serialize(graph.with_(metadata=dict(sorted(a.items())))) == serialize(
        graph.with_(metadata=dict(sorted(b.items())))
    )


def test_functions_are_inlined() -> None:
    body = [helper.make_node("Neg", ["a"], ["n"]), helper.make_node("Abs", ["n"], ["b"])]
    function = helper.make_function("own", "Twice", ["a"], ["b"], body, [helper.make_opsetid("", 17)])
    proto = model([helper.make_node("Twice", ["x"], ["y"], domain="own")], {"x": (1, 3, 8, 8)}, {"y": (1, 3, 8, 8)})
    proto.functions.append(function)
    graph = from_proto(proto)
    assert [node.op for node in graph.nodes] == ["Neg", "Abs"]
    np.testing.assert_array_equal(output(graph), np.abs(FEED["x"]))


def test_bodies_keep_what_they_capture() -> None:
    value = helper.make_tensor_value_info
    inner = numpy_helper.from_array(np.full((1,), 2, np.float32), "inner")
    yes = helper.make_graph([helper.make_node("Mul", ["r", "inner"], ["t"])], "yes", [], [value("t", 1, None)], [inner])
    no = helper.make_graph([helper.make_node("Mul", ["r", "outer"], ["e"])], "no", [], [value("e", 1, None)])
    nodes = [
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("If", ["flag"], ["y"], then_branch=yes, else_branch=no),
    ]
    shape = (1, 3, 8, 8)
    proto = model(nodes, {"x": shape}, {"y": shape}, {"flag": np.array(False), "outer": np.full((1,), 3, np.float32)})
    graph = from_proto(proto)
    choice = graph.nodes[1]
    assert set(choice.reads) == {"flag", "r", "outer"}
    assert graph.consumers_of("outer") == (choice,)
    np.testing.assert_array_equal(output(from_proto(to_proto(graph))), np.maximum(FEED["x"], 0) * 3)


@pytest.mark.parametrize("kind", ["INT4", "UINT4", "BFLOAT16", "FLOAT8E4M3FN", "FLOAT16", "BOOL", "INT64"])
def test_element_types(kind: str) -> None:
    dtype = helper.tensor_dtype_to_np_dtype(getattr(TensorProto, kind))
    proto = model([helper.make_node("Relu", ["x"], ["y"])], {"x": (2,)}, {"y": (2,)}, opset=21)
    proto.graph.initializer.append(numpy_helper.from_array(np.array([[0, 1], [1, 0]]).astype(dtype), "w"))
    graph = from_proto(proto)
    again = from_proto(to_proto(graph))
    assert again.type_of("w") == graph.type_of("w")
    assert again.weights["w"].stored() == graph.weights["w"].stored()


def test_wrong_files_name_the_file(tmp_path: Path) -> None:
    with pytest.raises(QConvertError, match="M001") as caught:
        load(tmp_path / "none.onnx")
    assert caught.value.diagnostics[0].where == str(tmp_path / "none.onnx")
    assert caught.value.exit_code == 3


def test_a_sparse_weight_is_named(tmp_path: Path) -> None:
    proto = conv_model()
    values = numpy_helper.from_array(np.ones(1, np.float32), "thin")
    indices = numpy_helper.from_array(np.zeros(1, np.int64), "thin_indices")
    proto.graph.sparse_initializer.append(onnx.SparseTensorProto(values=values, indices=indices, dims=[4]))
    onnx.save(proto, tmp_path / "sparse.onnx")
    with pytest.raises(QConvertError, match="`thin` is sparse") as caught:
        load(tmp_path / "sparse.onnx")
    assert caught.value.exit_code == 3


def test_packed_elements_survive_external_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(io, "EXTERNAL_ABOVE", 1)
    codes = np.arange(-8, 8).repeat(64).astype(ml_dtypes.int4)
    graph = from_proto(
        model([helper.make_node("Cast", ["w"], ["y"], to=1)], {}, {"y": (1024,)}, {"w": codes}, opset=21)
    )
    save(graph, tmp_path / "packed.onnx")
    again = load(tmp_path / "packed.onnx")
    assert isinstance(again.weights["w"], Mapped)
    np.testing.assert_array_equal(again.weights["w"].numpy(), codes)


def test_sizes_under_one_name_that_differ_do_not_share_memory() -> None:
    """Exporters name open sizes of several outputs alike; planned as one size, buffers would be reused that do not fit."""
    rows = "Reshape({}, shape) [q] {} = QuantizeLinear(r{}, scale, zero) [d] {} = DequantizeLinear({}, scale, zero)"
    parts = [
        rows.format(source, f"q{i}", i, out, f"q{i}") for i, (source, out) in enumerate(zip("cpq", "def", strict=True))
    ]
    text = " ".join(f"[r{i}] r{i} = {part}" for i, part in enumerate(parts))
    proto = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 13]> g (float[1,4,h,w] x) => (float[1,n,2] d, float[1,n,2] e, float[1,n,2] f)'
        "<int64[3] shape = {1,-1,2}, float scale = {0.1}, uint8 zero = {128}>"
        f"{{ [a] p = MaxPool<kernel_shape=[2,2],strides=[2,2]>(x) [b] q = MaxPool<kernel_shape=[2,2],strides=[2,2]>(p) [c] c = Relu(x) {text} }}"
    )
    claimed = {f"r{i}": TensorProto.FLOAT for i in range(3)} | {f"q{i}": TensorProto.UINT8 for i in range(3)}
    proto.graph.value_info.extend(helper.make_tensor_value_info(n, kind, (1, "n", 2)) for n, kind in claimed.items())
    with opened(from_proto(proto), Options(optimize=False)) as session:
        found = session.run({"x": np.ones((1, 4, 8, 8), np.float32)})
    assert {name: np.shape(value)[1] for name, value in found.items()} == {"d": 128, "e": 32, "f": 8}


def test_nodes_keep_their_names_beside_nameless_ones() -> None:
    proto = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["": 17]> g (float[2] x) => (float[2] y) { a = Relu(x) b = Abs(a) c = Neg(b) y = Relu(c) }'
    )
    for node, name in zip(proto.graph.node, ["", "node", "twice", "twice"], strict=True):
        node.name = name
    names = [node.name for node in from_proto(proto).nodes]
    assert names == ["node_1", "node", "twice", "twice_1"]


def test_constants_of_nodes_and_bodies_are_counted() -> None:
    proto = onnx.parser.parse_model(
        """<ir_version: 8, opset_import: ["" : 17]> g (bool c, float[3] x) => (float[3] y) <float[3] w = {1, 2, 3}> {
            k = Constant <value = float[2] {1, 2}> ()
            y = If (c) <then_branch = t () => (float[3] p) { v = Constant <value = float[3] {4, 5, 6}> () p = Add (x, v) },
                        else_branch = e () => (float[3] q) { q = Mul (x, w) }>
        }"""
    )
    assert sorted(kind.size or 0 for kind in from_proto(proto).constants.values()) == [2, 3, 3]
