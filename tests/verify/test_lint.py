"""The static check for onnxruntime: what it says of files that onnxruntime's own tool wrote, and whether the runtime agrees."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from quantize_support import X86, feeds_of, quantized, random, text_model

from qconvert.errors import CODES, Diagnostic, Severity
from qconvert.graph import Graph, Node, infer_types, load, save, serialize, weight
from qconvert.targets import TARGETS
from qconvert.verify import CHECKS, FILE_CHECKS, check, check_loads
from qconvert.verify.onnxruntime_fusion import INTEGER, why_float
from qconvert.verify.onnxruntime_lint import check_onnxruntime
from qconvert.verify.quantized import QuantizedView
from qconvert.verify.readback import optimized_graph

U8, S8, U16 = QuantType.QUInt8, QuantType.QInt8, QuantType.QUInt16
U8S8: dict[str, Any] = {"activation_type": U8, "weight_type": S8, "per_channel": True}
S8S8: dict[str, Any] = {"activation_type": S8, "weight_type": S8, "per_channel": True}


class _Random(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, graph: Graph) -> None:
        self._feeds: Iterator[Any] = iter(feeds_of(graph, 3))

    def get_next(self) -> Any:
        return next(self._feeds, None)


def net(middle: str = "c = Conv(b, w2)", opset: int = 17, **weights: Any) -> Graph:
    """A residual net; `middle` computes c from b."""
    text = f"""(float[1,4,8,8] x) => (float[1,10] y) {{
        a0 = Conv<pads=[1,1,1,1]>(x, w1, v1)
        a = Relu(a0)
        b0 = Conv<pads=[1,1,1,1]>(a, w3, v1)
        b = Relu(b0)
        {middle}
        d0 = Add(a, c)
        d = Relu(d0)
        p = MaxPool<kernel_shape=[2,2], strides=[2,2]>(d)
        g = GlobalAveragePool(p)
        f = Flatten(g)
        y = Gemm(f, w4, v2)
    }}"""
    given = {"w1": random(16, 4, 3, 3), "v1": random(16), "w3": random(16, 16, 3, 3), "w2": random(16, 16, 1, 1), "w4": random(16, 10), "v2": random(10)}  # fmt: skip
    return text_model(text, opset, **{**given, **weights})


def by_onnxruntime(folder: Path, graph: Graph, **options: Any) -> Graph:
    """The graph after `quantize_static`."""
    save(graph, folder / "float.onnx")
    quantize_static(str(folder / "float.onnx"), str(folder / "q.onnx"), _Random(graph), **{"quant_format": QuantFormat.QDQ, **options})  # fmt: skip
    return infer_types(load(folder / "q.onnx"))


def codes(found: tuple[Diagnostic, ...]) -> set[str]:
    return {d.code for d in found}


def only(found: tuple[Diagnostic, ...], code: str) -> list[Diagnostic]:
    return [d for d in found if d.code == code]


@pytest.mark.parametrize("form", [QuantFormat.QDQ, QuantFormat.QOperator])
@pytest.mark.parametrize("arch", ["x86", "arm"])
def test_uint8_activations_with_int8_weights_give_no_finding(tmp_path: Path, form: QuantFormat, arch: str) -> None:
    graph = by_onnxruntime(tmp_path, net(), quant_format=form, **U8S8)

    assert check_onnxruntime(graph, arch) == ()


def test_a_float_head_and_a_float_model_give_no_finding(tmp_path: Path) -> None:
    assert check_onnxruntime(by_onnxruntime(tmp_path, net(), nodes_to_exclude=["n_y"], **U8S8)) == ()
    assert check_onnxruntime(net()) == ()


@pytest.mark.parametrize("form", ["qdq", "qoperator"])
def test_our_own_result_gives_no_finding(form: str) -> None:
    graph = net()

    assert check_onnxruntime(infer_types(quantized(graph, feeds_of(graph)).emit(form))) == ()


def test_int8_activations_with_two_readers_are_a_finding_on_x86_only(tmp_path: Path) -> None:
    graph = by_onnxruntime(tmp_path, net(), **S8S8)

    found = check_onnxruntime(graph, "x86")

    assert codes(found) == {"C201"}
    assert [d.where for d in found] == ["n_b0"]
    assert "has 2 readers" in found[0].message
    assert check_onnxruntime(graph, "arm") == ()


def test_int8_operators_are_a_finding_on_x86_only(tmp_path: Path) -> None:
    graph = by_onnxruntime(tmp_path, net(), quant_format=QuantFormat.QOperator, **S8S8)

    found = check_onnxruntime(graph, "x86")

    assert codes(found) == {"C201"}
    assert len(found) == 4  # three convolutions and the head
    assert check_onnxruntime(graph, "arm") == ()


def test_uint8_weights_are_a_finding_of_each_layer(tmp_path: Path) -> None:
    graph = by_onnxruntime(tmp_path, net(), activation_type=U8, weight_type=U8)

    assert [d.where for d in only(check_onnxruntime(graph), "C202")] == ["n_a0", "n_b0", "n_c", "n_y"]
    assert not only(check_onnxruntime(graph, "arm"), "C202")


def test_uint8_weights_of_a_depthwise_convolution_are_one_on_arm_too(tmp_path: Path) -> None:
    depthwise = net("c = Conv<group=16>(b, w2)", w2=random(16, 1, 1, 1))
    graph = by_onnxruntime(tmp_path, depthwise, activation_type=U8, weight_type=U8)

    assert [d.where for d in only(check_onnxruntime(graph, "arm"), "C202")] == ["n_c"]


def test_weights_with_a_zero_point_are_a_finding(tmp_path: Path) -> None:
    graph = by_onnxruntime(
        tmp_path, net(), activation_type=U8, weight_type=S8, extra_options={"WeightSymmetric": False}
    )

    assert codes(check_onnxruntime(graph)) == {"C203"}


@pytest.mark.parametrize(
    "middle", ["c = Tanh(b)", "t = Tanh(b)\n c = Exp(t)", "c = HardSwish(b)", "c = GlobalMaxPool(b)"]
)
def test_a_float_operator_between_integer_ones_is_an_island(tmp_path: Path, middle: str) -> None:
    graph = by_onnxruntime(tmp_path, net(middle), **U8S8)

    found = check_onnxruntime(graph)

    assert codes(found) == {"C204"}
    assert len(found) == 1
    assert found[0].where in ("n_c", "n_t")
    assert "has no integer kernel" in found[0].message


def test_pairs_that_serve_only_float_operators_are_a_finding(tmp_path: Path) -> None:
    graph = text_model("(float[1,4,8,8] x) => (float[1,4,8,8] y) { a = Tanh(x)\n b = InstanceNormalization(a, s, s)\n y = Exp(b) }", s=random(4))  # fmt: skip
    pairs = by_onnxruntime(tmp_path, graph, op_types_to_quantize=["InstanceNormalization"], **U8S8)

    found = check_onnxruntime(pairs)

    assert "C205" in codes(found)
    assert "n_b" in {d.where for d in found}


def test_16_bit_activations_are_a_finding(tmp_path: Path) -> None:
    graph = by_onnxruntime(tmp_path, net(opset=21), activation_type=U16, weight_type=S8)

    found = check_onnxruntime(graph)

    assert {"n_a0", "n_b0", "n_c", "n_d0"} <= {d.where for d in only(found, "C206")}
    assert {"n_a0", "n_b0", "n_c"} <= {d.where for d in only(found, "C211")}


def test_a_pair_between_a_layer_and_its_relu_is_a_finding(tmp_path: Path) -> None:
    graph = by_onnxruntime(
        tmp_path, net(), activation_type=U8, weight_type=S8, extra_options={"ActivationSymmetric": True}
    )

    assert [d.where for d in only(check_onnxruntime(graph), "C207")] == ["n_a", "n_b", "n_d"]


def test_dynamic_convolutions_are_a_finding(tmp_path: Path) -> None:
    save(net(), tmp_path / "float.onnx")
    quantize_dynamic(str(tmp_path / "float.onnx"), str(tmp_path / "q.onnx"), weight_type=S8)
    graph = infer_types(load(tmp_path / "q.onnx"))

    assert len(only(check_onnxruntime(graph), "C208")) == 3
    assert not only(check_onnxruntime(graph, "arm"), "C208")


def test_an_excluded_layer_is_quantized_at_load(tmp_path: Path) -> None:
    graph = by_onnxruntime(tmp_path, net(), nodes_to_exclude=["n_c"], **U8S8)

    found = check_onnxruntime(graph)

    assert [(d.code, d.where) for d in found] == [("C209", "n_c")]
    assert "`w2`" in found[0].message
    assert "int16" in (found[0].hint or "")
    assert "n_c" in integer_names(graph)  # the runtime does it


def test_an_excluded_matmul_stays_a_float_island(tmp_path: Path) -> None:
    matmul = net("c = MatMul(b, w2)", w2=random(8, 8))
    found = check_onnxruntime(by_onnxruntime(tmp_path, matmul, nodes_to_exclude=["n_c"], **U8S8))

    assert [(d.code, d.where) for d in found] == [("C204", "n_c")]
    assert found[0].severity is Severity.NOTE  # left float by choice


def test_a_quantized_weight_without_an_integer_kernel_is_dequantized_on_every_run(tmp_path: Path) -> None:
    transposed = net("c = ConvTranspose(b, w2)")
    graph = by_onnxruntime(tmp_path, transposed, op_types_to_quantize=["Conv", "ConvTranspose", "Add"], activation_type=U8, weight_type=S8)  # fmt: skip

    found = only(check_onnxruntime(graph), "C211")

    assert [d.where for d in found] == ["n_c"]
    assert "no integer kernel for ConvTranspose" in found[0].message


def test_weight_only_quantization_is_dequantized_on_every_run(tmp_path: Path) -> None:
    quantized_graph = by_onnxruntime(tmp_path, net(), **U8S8)
    dq = next(n for n in quantized_graph.nodes if n.op == "DequantizeLinear" and n.input(0).startswith("w2"))
    only_weight = net().with_(
        nodes=(dq, *(n if n.name != "n_c" else n.with_(inputs=(n.input(0), dq.output)) for n in net().nodes)),
        weights={**net().weights, **{i: quantized_graph.weights[i] for i in dq.inputs}},
    )

    found = check_onnxruntime(infer_types(only_weight))

    assert [(d.code, d.where) for d in found] == [("C211", "n_c")]
    assert "its input `b` is float" in found[0].message


def test_an_unfolded_batch_normalization_is_a_finding(tmp_path: Path) -> None:
    stats: dict[str, Any] = {"s": np.ones(16, np.float32), "z": np.zeros(16, np.float32)}
    graph = by_onnxruntime(tmp_path, net("c0 = Conv(b, w2)\n c = BatchNormalization(c0, s, z, z, s)", **stats), **U8S8)

    found = check_onnxruntime(graph)

    assert codes(found) == {"C212"}
    assert [d.where for d in found] == ["n_c"]


def test_a_batch_normalization_behind_a_vanished_relu_cannot_be_folded(tmp_path: Path) -> None:
    stats: dict[str, Any] = {"s": np.ones(16, np.float32), "z": np.zeros(16, np.float32)}
    text = "c0 = Conv(b, w2)\n r = Relu(c0)\n c = BatchNormalization(r, s, z, z, s)"
    graph = by_onnxruntime(tmp_path, net(text, **stats), **U8S8)
    assert "C212" not in codes(check_onnxruntime(graph))


def test_every_finding_has_a_known_code_a_node_and_a_hint(tmp_path: Path) -> None:
    for options in (
        S8S8,
        {"activation_type": U8, "weight_type": U8},
        {"activation_type": U8, "weight_type": S8, "nodes_to_exclude": ["n_b0"]},
    ):
        for finding in check_onnxruntime(by_onnxruntime(tmp_path, net("c = Tanh(b)"), **options)):
            assert finding.code in CODES
            assert finding.where
            assert finding.hint
            assert finding.severity is not Severity.ERROR


def integer_names(graph: Graph) -> set[str]:
    """Names of the nodes that onnxruntime runs in integers."""
    return {n.name.split("_token_")[0] for n in optimized_graph(serialize(graph)).nodes if n.op in INTEGER}


ORACLE: dict[str, dict[str, Any]] = {
    "all": {},
    "excluded head": {"nodes_to_exclude": ["n_y"]},
    "layers only": {"op_types_to_quantize": ["Conv", "Gemm"]},
    "no add": {"op_types_to_quantize": ["Conv", "Relu"]},
    "symmetric": {"extra_options": {"ActivationSymmetric": True}},
    "float result": {"op_types_to_quantize": ["Conv", "Gemm"], "extra_options": {"OpTypesToExcludeOutputQuantization": ["Conv", "Gemm"]}},
}  # fmt: skip


@pytest.mark.parametrize("name", ORACLE)
@pytest.mark.parametrize(
    "middle", ["c = Conv(b, w2)", "s = Sigmoid(b)\n c = Mul(b, s)", "c = LeakyRelu(b)", "q = Conv(b, w2)\n c = Clip(q)"]
)
def test_the_runtime_fuses_exactly_what_the_check_says(tmp_path: Path, name: str, middle: str) -> None:
    graph = by_onnxruntime(tmp_path, net(middle), **{**U8S8, **ORACLE[name]})
    view = QuantizedView(graph)
    weighed = {"Conv", "Gemm", "Add", "Mul", "Sigmoid", "LeakyRelu", "GlobalAveragePool"}

    said = {n.name for n in graph.nodes if n.op in weighed and not why_float(view, n)}

    assert said == integer_names(graph) & {n.name for n in graph.nodes if n.op in weighed}


def test_a_model_that_does_not_load_is_told_for_every_configuration(tmp_path: Path) -> None:
    graph = net()
    unknown = graph.with_(nodes=tuple(n.with_(op="Reluu") if n.op == "Relu" else n for n in graph.nodes))
    short = graph.with_(weights={**graph.weights, "w2": weight(random(16, 8, 1, 1))})
    save(graph, tmp_path / "good.onnx")

    refused = check_loads(serialize(unknown), X86)

    assert [d.code for d in refused] == ["C210"] * len(X86.runtime.sessions)
    assert all(s.name in d.message for s, d in zip(X86.runtime.sessions, refused, strict=True))
    assert codes(check_loads(serialize(short), X86)) == {"C210"}
    assert check_loads(tmp_path / "good.onnx", X86) == ()
    assert check_loads(serialize(graph), X86) == ()


def test_a_model_with_free_dimensions_is_only_loaded() -> None:
    free = text_model("(float[N,S] x) => (float[N,T] y) { y = Reshape(x, s) }", s=np.array([3, -1], np.int64))

    assert check_loads(serialize(free), X86) == ()


def test_every_target_names_checks_that_exist(tmp_path: Path) -> None:
    assert {name for target in TARGETS.values() for name in target.runtime.checks} <= {*CHECKS, *FILE_CHECKS}
    assert codes(check(by_onnxruntime(tmp_path, net(), **S8S8), X86)) == {"C201"}


def test_bodies_are_checked_too() -> None:
    inner = text_model("(float[1,4] x) => (float[1,4] y) { q = QuantizeLinear(x, s, z)\n d = DequantizeLinear(q, s, z)\n y = Tanh(d) }", s=np.float32(1), z=np.uint8(0))  # fmt: skip
    body = inner.with_(inputs=(), nodes=tuple(n.with_(name=f"in_{n.name}") for n in inner.nodes))
    graph = text_model("(float[1,4] x, bool c) => (float[1,4] y) { y = Identity(x) }")
    choice = Node("If", ("c",), ("y",), {"then_branch": body, "else_branch": body}, "choice")

    assert [d.where for d in check_onnxruntime(graph.with_(nodes=(choice,)))] == ["in_n_y"]
