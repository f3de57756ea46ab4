"""The static validator for TensorRT: every finding on a small graph, none on correct ones, and on onnxruntime's own files."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trt_build import Net
from trt_faults import CASES, HALF_CASES, add, before, bias, concat, in_body
from trt_models import IDEAL, transformer
from trt_ort import quantized_by_onnxruntime

from qconvert.errors import CODES, Severity
from qconvert.graph import Graph, Node, TensorType, from_proto, to_proto, weight
from qconvert.verify.fusion import forecast
from qconvert.verify.quantized import Origin, QuantizedView
from qconvert.verify.tensorrt import CHECKS, check_tensorrt


def codes(graph: Graph, precision: str = "float32") -> Counter[str]:
    return Counter(d.code for d in check_tensorrt(graph, precision))


@pytest.mark.parametrize("case", CASES, ids=lambda c: c[0])
def test_finding(case: Any) -> None:
    code, node, bad, good = case
    found = [d for d in check_tensorrt(bad()) if d.code == code]
    assert [d.where for d in found] == [node], found
    assert all(d.hint for d in found)
    assert code not in codes(good())


@pytest.mark.parametrize("case", HALF_CASES, ids=lambda c: c[1])
def test_half_precision(case: Any) -> None:
    code, node, bad, good = case
    assert [d.where for d in check_tensorrt(bad(), "float16") if d.code == code] == [node]
    assert code not in codes(good(), "float16")
    assert code not in codes(bad())


@pytest.mark.parametrize("name", IDEAL)
def test_correct_files_have_no_finding(name: str) -> None:
    assert check_tensorrt(IDEAL[name]()) == ()


@pytest.mark.parametrize("name", IDEAL)
def test_correct_files_are_valid(name: str) -> None:
    onnx.checker.check_model(to_proto(IDEAL[name]()), full_check=True)


@pytest.mark.parametrize("name", IDEAL)
def test_correct_files_fuse(name: str) -> None:
    found = forecast(IDEAL[name]())
    assert len(found.standalone) <= 1  # the Q of the graph's input
    assert found.integer_share > 0.8
    assert found.reformats == len(found.standalone)
    assert str(found).startswith(f"{len(found.groups)} kernels")


def test_every_code_is_checked_and_explained() -> None:
    assert list(CHECKS) == sorted(CHECKS)
    assert set(CHECKS) <= set(CODES)
    assert set(CHECKS) == {c[0] for c in [*CASES, *HALF_CASES]}


def test_sorted_and_repeatable() -> None:
    graph = from_proto(to_proto(add(True, False)))
    found = check_tensorrt(graph)
    assert found == check_tensorrt(from_proto(to_proto(graph)))
    assert [d.code for d in found] == sorted(d.code for d in found)


def test_severities() -> None:
    found = [d for case in CASES for d in check_tensorrt(case[2]())]
    assert {d.severity for d in found if d.code < "C100"} == {Severity.ERROR}
    assert {d.severity for d in found if d.code > "C100"} == {Severity.WARNING}


def test_both_convs_name_the_longer_side() -> None:
    (found,) = (d for d in check_tensorrt(add(True, True, both_convs=True)) if d.code == "C103")
    assert "`long`" in found.message
    assert "take" in (found.hint or "")


def test_constant_nodes_count_as_weights() -> None:
    graph = bias(False)
    moved = {name: w.numpy() for name, w in graph.weights.items()}
    nodes = (*(Node("Constant", (), (k,), {"value": v}, f"k_{k}") for k, v in moved.items()), *graph.nodes)
    assert check_tensorrt(graph.with_(nodes=nodes, weights={})) == check_tensorrt(graph) == ()


def test_initializers_listed_as_inputs_count_as_weights() -> None:
    graph = bias(False)
    assert check_tensorrt(graph.with_(inputs=(*graph.inputs, *graph.weights))) == ()


def test_pairs_of_com_microsoft_are_read() -> None:
    graph = before("Relu", True)
    nodes = tuple(n.with_(domain="com.microsoft") if "Linear" in n.op else n for n in graph.nodes)
    assert codes(graph.with_(nodes=nodes)) == codes(graph)


def test_scale_in_the_graph_around_a_body() -> None:
    view = QuantizedView(in_body())
    body = next(n for n in view.graph.nodes if n.bodies).bodies[0]
    assert [d.code for d in check_tensorrt(in_body())] == ["C003"]
    assert QuantizedView(body, view).root is view


def test_view_of_a_pair_and_a_weight() -> None:
    view = QuantizedView(bias(True))
    by_source = {s: [dq for dq in view.dequantizes.values() if dq.source is s] for s in Origin}
    assert [dq.params.dtype for dq in by_source[Origin.WEIGHT]] == ["int8", "int32"]
    (act,) = by_source[Origin.QUANTIZE]
    assert act.quantize is not None
    assert act.quantize.data == "x"
    assert act.params.scale == np.float32(0.1)
    assert [n.name for n in act.consumers] == ["conv"]
    (op,) = view.weighted
    assert (op.data, op.weight, op.channel) == (0, 1, 0)
    assert view.int8(op.node)


def test_forecast_of_a_float_skip() -> None:
    good, bad = forecast(add(False, True)), forecast(add(False, False))
    assert next(g for g in good.groups if "add" in g.nodes).kind == "i8->i8"
    assert next(g for g in bad.groups if "add" in g.nodes).kind == "i8->f32"
    assert len(bad.standalone) == len(good.standalone) + 1


def test_forecast_of_unequal_scales() -> None:
    assert forecast(concat(0.1, 0.2, 0.2)).reformats == forecast(concat(0.2, 0.2, 0.2)).reformats + 1


def test_forecast_with_given_costs() -> None:
    found = forecast(transformer(False), lambda node: 100 if node.name == "bmm1" else int(node.name == "up"))
    assert found.total_macs == 101
    assert found.integer_share == pytest.approx(1 / 101)


# --- files of onnxruntime's quantizer --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ort(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Graph]:
    folder: Path = tmp_path_factory.mktemp("ort")
    return {kind: quantized_by_onnxruntime(folder, kind) for kind in ("default", "uint8", "symmetric", "tensorrt")}


def test_onnxruntime_defaults(ort: dict[str, Graph]) -> None:
    found = codes(ort["default"])
    assert found["C001"] == 6
    assert not found["C002"]
    assert found["C003"] > 5
    assert found["C102"] >= 1
    assert found["C103"] == 1
    assert found["C107"] == 1


def test_onnxruntime_uint8(ort: dict[str, Graph]) -> None:
    found = codes(ort["uint8"])
    assert found["C002"] > found["C003"] > 5


def test_onnxruntime_symmetric(ort: dict[str, Graph]) -> None:
    found = codes(ort["symmetric"])
    assert found["C001"] == 6
    assert not found["C002"] + found["C003"]
    assert found["C102"] >= 3
    assert found["C103"] == 1
    assert found["C107"] == 1


def test_onnxruntime_with_the_documented_options(ort: dict[str, Graph]) -> None:
    """The options that are usually advised leave the residual rule broken, and nothing else."""
    found = codes(ort["tensorrt"])
    assert found["C103"] == 1
    assert not [c for c in found if c < "C100" or c in ("C102", "C107")]


# --- arbitrary graphs ------------------------------------------------------------------------------------------------

OPS = [
    "Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "Mul", "Div", "Relu", "Sigmoid", "Softmax", "Concat", "MaxPool", "Transpose", "Reshape",
    "BatchNormalization", "LayerNormalization", "GlobalAveragePool", "Cast", "Constant", "Erf", "QLinearConv", "Split", "Foreign",
    "QuantizeLinear", "QuantizeLinear", "DequantizeLinear", "DequantizeLinear", "TRT_FP8QuantizeLinear",
]  # fmt: skip
DTYPES = [
    "float32",
    "float16",
    "int8",
    "uint8",
    "int32",
    "int4",
    "float8_e4m3fn",
    "float8_e5m2",
    "float4_e2m1fn",
    "bfloat16",
    "string",
]
ATTRIBUTES: list[dict[str, Any]] = [
    {},
    {"axis": 0},
    {"axis": -9},
    {"axis": "x"},
    {"block_size": 2},
    {"perm": (1, 0)},
    {"to": 99},
    {"to": 10},
    {"output_dtype": 3},
    {"value": 1.0},
    {"transB": 1},
]


def _arrays() -> list[Any]:
    shapes: list[tuple[int, ...]] = [(), (0,), (1,), (3,), (2, 3), (4, 2, 3, 3)]
    return [weight(np.ones(s, _np(d))) for s in shapes for d in DTYPES if d != "string"]


def _np(name: str) -> Any:
    import ml_dtypes

    return getattr(ml_dtypes, name) if hasattr(ml_dtypes, name) else np.dtype(name)


WEIGHTS = _arrays()


@st.composite
def graphs(draw: st.DrawFn, depth: int = 1) -> Graph:
    values = ["x", "y", "w0", "w1", "w2", "w3"]
    weights = {name: draw(st.sampled_from(WEIGHTS)) for name in values[2:]}
    nodes: list[Node] = []
    for i in range(draw(st.integers(1, 14))):
        inputs = tuple(draw(st.lists(st.sampled_from([*values, values[-1], ""]), max_size=4)))
        attributes = dict(draw(st.sampled_from(ATTRIBUTES)))
        if depth and draw(st.integers(0, 9)) == 0:
            attributes["then_branch"] = draw(graphs(depth - 1))
        outputs = tuple(f"v{depth}_{i}_{k}" for k in range(draw(st.sampled_from([0, 1, 1, 1, 2]))))
        domain = draw(st.sampled_from(["", "", "", "com.microsoft"]))
        nodes.append(
            Node(draw(st.sampled_from(OPS)), inputs, outputs, attributes, draw(st.sampled_from(["", f"n{i}"])), domain)
        )
        values += outputs
    shapes = st.sampled_from([None, (), (1,), (1, 2), ("n", 4, None, 8), (1, 4, 8, 8)])
    types = {v: TensorType(draw(st.sampled_from([None, *DTYPES])), draw(shapes)) for v in values if draw(st.booleans())}
    outs = tuple(draw(st.lists(st.sampled_from(values), max_size=2)))
    return Graph(tuple(nodes), ("x", "y"), outs, weights, types, draw(st.sampled_from([{}, {"": 11}, {"": 21}])))


@given(graph=graphs(), precision=st.sampled_from(["float32", "float16", "bf16", "nonsense"]))
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_never_raises(graph: Graph, precision: str) -> None:
    found = check_tensorrt(graph, precision)
    assert found == check_tensorrt(graph, precision)
    assert all(d.where is not None and d.code in CHECKS for d in found)
    assert 0 <= forecast(graph).integer_share <= 1


def test_empty_graph() -> None:
    assert check_tensorrt(Graph((), (), (), {}, {})) == ()
    assert str(forecast(Net().graph(infer=False))).startswith("0 kernels")
