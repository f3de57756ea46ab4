"""The proof of an artefact on real onnxruntime: a good one passes, and each way to be bad has its code."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from quantize_support import X86, feeds_of, quantized, random, text_model

from qconvert.errors import Diagnostic, QConvertError, Severity
from qconvert.graph import Graph, Node, TensorType, save, serialize, to_proto, weight
from qconvert.targets import Runtime, SessionConfig
from qconvert.verify import prove
from qconvert.verify.proof import worst_sqnr


def net() -> Graph:
    text = "(float[1,4,8,8] x) => (float[1,16,8,8] y, float[1,16,8,8] z) { a = Conv(x, w1, v)\n b = Relu(a)\n y = Conv(b, w2)\n z = Tanh(b) }"  # fmt: skip
    return text_model(text, w1=random(16, 4, 1, 1), v=random(16), w2=random(16, 16, 1, 1))


GRAPH = net()
FEEDS = feeds_of(GRAPH)


def artefact() -> Graph:
    return quantized(GRAPH, FEEDS).emit()


def codes(found: tuple[Diagnostic, ...]) -> list[str]:
    return [d.code for d in found]


def scaled(graph: Graph, factor: float) -> Graph:
    """The graph with the scales of one weight multiplied."""
    name = "w2/scale"
    return graph.with_(weights={**graph.weights, name: weight(graph.weights[name].numpy() * np.float32(factor))})


def test_a_good_result_is_proved_in_every_configuration() -> None:
    proofs, failures = prove(GRAPH, serialize(artefact()), X86, FEEDS, 15)

    assert failures == ()
    assert [(p.name, p.optimize, p.deployed) for p in proofs] == [
        (s.name, s.optimize, s.deployed) for s in X86.runtime.sessions
    ]
    assert all(p.samples == len(FEEDS) and 15 < p.sqnr_db < 100 for p in proofs)


def test_a_file_is_proved_like_bytes(tmp_path: Path) -> None:
    save(artefact(), tmp_path / "q.onnx")

    assert prove(GRAPH, tmp_path / "q.onnx", X86, FEEDS, 15) == prove(GRAPH, serialize(artefact()), X86, FEEDS, 15)


def test_the_same_model_is_infinitely_close_without_optimizations() -> None:
    target = replace(X86, runtime=Runtime((SessionConfig("default options", deployed=True),)))
    proofs, failures = prove(GRAPH, serialize(GRAPH), target, FEEDS, 15)

    assert failures == ()
    assert proofs[0].sqnr_db == float("inf")


def test_what_the_checker_refuses_is_not_valid_onnx() -> None:
    proto = to_proto(artefact())
    proto.graph.node.append(proto.graph.node[-1])

    _, failures = prove(GRAPH, proto.SerializeToString(), X86, FEEDS, 15)

    assert codes(failures) == ["V001", "V002", "V002"]
    assert all(d.severity is Severity.ERROR for d in failures)


@pytest.mark.parametrize("junk", [b"", b"junk", b"\x08\x08"])
def test_bytes_that_are_no_model_fail_without_a_traceback(junk: bytes) -> None:
    proofs, failures = prove(GRAPH, junk, X86, FEEDS, 15)

    assert proofs == ()
    assert {"V001", "V002"} >= set(codes(failures)) >= {"V002"}


def test_a_configuration_that_refuses_is_named_and_the_others_are_still_proved() -> None:
    refusing = SessionConfig("another file format", config=(("session.load_model_format", "ORT"),))
    target = replace(X86, runtime=Runtime((refusing, *X86.runtime.sessions)))

    proofs, failures = prove(GRAPH, serialize(artefact()), target, FEEDS, 15)

    assert codes(failures) == ["V002"]
    assert "another file format" in failures[0].message
    assert len(proofs) == len(X86.runtime.sessions)


def test_a_result_that_fails_at_the_first_run_does_not_run() -> None:
    graph = artefact()
    shape = Node("Reshape", ("y/bad", "shape"), ("y",), name="bad")
    nodes = tuple(n.with_(outputs=("y/bad",)) if "y" in n.outputs else n for n in graph.nodes)
    bad = graph.with_(nodes=(*nodes, shape), weights={**graph.weights, "shape": weight(np.array([1, 7], np.int64))}, types={**graph.types, "y": TensorType("float32", (1, 7))})  # fmt: skip

    proofs, failures = prove(GRAPH, serialize(bad), X86, FEEDS, 15)

    assert proofs == ()
    assert codes(failures) == ["V002", "V002"]
    assert "session with default options" in failures[0].message


def test_values_that_are_not_finite_are_told_for_each_configuration() -> None:
    graph = artefact()
    nodes = tuple(n.with_(outputs=("y/finite",)) if "y" in n.outputs else n for n in graph.nodes)
    infinite = graph.with_(
        nodes=(*nodes, Node("Div", ("y/finite", "zero"), ("y",), name="bad")),
        weights={**graph.weights, "zero": weight(np.zeros((), np.float32))},
    )

    proofs, failures = prove(GRAPH, serialize(infinite), X86, FEEDS, 15)

    assert set(codes(failures)) >= {"V003"}
    told = [d for d in failures if d.code == "V003"]
    assert {d.where for d in told} == {"output `y`"}
    assert "in 3 of 3 samples" in told[0].message
    assert len(proofs) == 2


def test_other_names_types_or_shapes_of_outputs_are_told_once() -> None:
    graph = artefact()
    renamed = graph.with_(
        outputs=("z", "b2"),
        nodes=(*graph.nodes, Node("Exp", ("z",), ("b2",), name="e")),
        types={**graph.types, "b2": graph.types["z"]},
    )
    cast = graph.with_(
        nodes=(*(n.with_(outputs=("z0",)) if "z" in n.outputs else n for n in graph.nodes), Node("Cast", ("z0",), ("z",), {"to": 11}, "c")),
        types={**{name: t for name, t in graph.types.items() if name != "z0"}, "z": TensorType("float64", (1, 16, 8, 8))},
    )  # fmt: skip

    _, names = prove(GRAPH, serialize(renamed), X86, FEEDS, 15)
    _, types = prove(GRAPH, serialize(cast), X86, FEEDS, 15)

    assert codes(names) == ["V004"]
    assert "`z`, `b2`" in names[0].message
    assert "`y`, `z`" in names[0].message
    assert [(d.code, d.where) for d in types] == [("V004", "output `z`")]
    assert types[0].message == "it is float64[1,16,8,8], in FP32 it is float32[1,16,8,8]"


def test_a_result_far_from_fp32_is_told_with_the_figure_for_the_deployed_configuration() -> None:
    proofs, failures = prove(GRAPH, serialize(scaled(artefact(), 3)), X86, FEEDS, 15)

    assert codes(failures) == ["V005"]
    assert f"{proofs[0].sqnr_db:.1f} dB" in failures[0].message
    assert "default options" in failures[0].message
    assert "per-layer table" in (failures[0].hint or "")


def test_the_worst_output_decides() -> None:
    good, bad = np.ones((2, 2), np.float32), np.full((2, 2), 1.1, np.float32)

    assert worst_sqnr([{"a": good, "b": good}], [{"a": good, "b": bad}]) == pytest.approx(20, abs=1e-3)
    assert worst_sqnr([{"a": good}], [{"a": good}]) == float("inf")
    assert worst_sqnr([{"a": good * 0}], [{"a": bad}]) == float("-inf")
    assert worst_sqnr([{"a": good}], [{"a": good * np.nan}]) == float("-inf")


def test_values_that_fp32_has_not_either_do_not_count() -> None:
    wanted = np.array([1.0, np.inf, np.nan], np.float32)

    assert worst_sqnr([{"a": wanted}], [{"a": np.array([1.0, 5.0, 0.0], np.float32)}]) == float("inf")
    assert worst_sqnr([{"a": np.array([1, 2])}], [{"a": np.array([1, 3])}]) == float("inf")  # no floats to compare


def test_an_fp32_model_that_does_not_run_is_an_error_of_its_own() -> None:
    broken = GRAPH.with_(nodes=tuple(n.with_(op="Tanhh") if n.op == "Tanh" else n for n in GRAPH.nodes))

    with pytest.raises(QConvertError, match="M006"):
        prove(broken, serialize(artefact()), X86, FEEDS, 15)
