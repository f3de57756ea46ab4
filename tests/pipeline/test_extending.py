"""Adding something takes one row: a toy entry in each table, and a whole run that uses it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from end_to_end_support import SIDE, Cli, Place, model, weight
from onnx import helper

import qconvert
from qconvert import canonicalize, emit, ops, optimize, report, targets, verify
from qconvert.calibrate import methods
from qconvert.data.settings import Settings
from qconvert.emit import emit_qdq
from qconvert.errors import Diagnostic, Severity
from qconvert.evaluate import metrics
from qconvert.graph import Graph, Node
from qconvert.ops import OpSpec, Role, Tie
from qconvert.report import RunRecord
from qconvert.targets import Kernel, Rewrites, Runtime, Target
from qconvert.targets.x86_vnni import X86_VNNI

FAST = {"placement": "everywhere", "algorithms": "none", "evaluation.latency": False, "evaluation.layers": False}


def convert(place: Place, target: str = "x86-vnni", evaluated: bool = False, **changes: Any) -> RunRecord:
    recipe = qconvert.Recipe(target=target)
    named = {key.replace("__", "."): value for key, value in changes.items()}
    return qconvert.convert(
        place.model, place.output, data=place.data, recipe=recipe, changes={**FAST, **named}, evaluate=evaluated
    )


def toy_target(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> Target:
    toy = replace(X86_VNNI, name="toy", title="Toy", rewrites=Rewrites(), **changes)
    monkeypatch.setitem(targets.TARGETS, "toy", toy)
    return toy


def checked_by(*names: str) -> Runtime:
    return replace(X86_VNNI.runtime, checks=names)


def test_target(place: Place, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    toy_target(monkeypatch)
    assert convert(place, "toy").target == "toy"
    assert cli("targets").out.count("Toy") == 1
    assert "toy" in cli("targets", "--json").json
    assert '"toy"' in cli("recipe", "schema").out
    assert "toy" in cli("inspect", place.model).out
    assert cli("recipe", "init", place.model, "-t", "toy").code == 0


def test_operator(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    toy_target(
        monkeypatch,
        kernels=replace(X86_VNNI.kernels, integer=(*X86_VNNI.kernels.integer, Kernel("Softsign"))),
        runtime=checked_by(),
    )
    shape = ("batch", 3, SIDE, SIDE)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="conv", pads=[1, 1, 1, 1]),
        helper.make_node("Softsign", ["c"], ["s"], name="soft"),
        helper.make_node("Conv", ["s", "w"], ["y"], name="last", pads=[1, 1, 1, 1]),
    ]
    place.save(model(nodes, {"x": shape}, {"y": shape}, {"w": weight(np.random.default_rng(0), 3, 3, 3, 3)}))
    assert kinds(convert(place, "toy"))["soft"] == "float"
    monkeypatch.setitem(ops.OPS, "Softsign", OpSpec((Role.DATA,), Tie.FREE, fixed=(-1.0, 1.0)))
    assert kinds(convert(place, "toy"))["soft"] == "integer"


def kinds(record: RunRecord) -> Mapping[str, str]:
    return {node.name: node.kind for node in record.plan.nodes}


def test_range_method(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(methods.RANGE_METHODS, "toy", lambda sketch, format_, options: (-3.0, 12.0))
    record = convert(place, calibration__method="toy")
    first = next(tensor for tensor in record.plan.tensors if tensor.name == "x")
    assert (first.low, first.high) == pytest.approx((-3.0, 12.0), abs=0.06)


def test_rewrite(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_second(graph: Graph) -> canonicalize.Rewrite:
        """Abs of Abs is Abs."""
        twice = [n for n in graph.nodes if n.op == "Abs" and (p := graph.producer.get(n.inputs[0])) and p.op == "Abs"]
        nodes = tuple(n.with_(op="Identity") if n in twice else n for n in graph.nodes)
        return canonicalize.Rewrite(graph.with_(nodes=nodes), tuple(f"Abs `{n.name}` -> nothing" for n in twice))

    shape = ("batch", 3, SIDE, SIDE)
    place.save(
        model(
            [helper.make_node("Abs", ["x"], ["r"], name="a"), helper.make_node("Abs", ["r"], ["y"], name="b")],
            {"x": shape},
            {"y": shape},
        )
    )
    monkeypatch.setitem(canonicalize.RULES, "toy", canonicalize.Rule(no_second, "Abs of Abs"))
    record = convert(place)
    assert ("toy", ("Abs `b` -> nothing",)) in [(rewrite.rule, rewrite.lines) for rewrite in record.rewrites]
    assert sum(node.op == "Abs" for node in record.plan.nodes) == 1


def test_emitter(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def emit_toy(*arguments: Any) -> Graph:
        written = emit_qdq(*arguments)
        return written.with_(metadata={**written.metadata, "toy": "yes"})

    monkeypatch.setitem(emit.EMITTERS, "toy", emit_toy)
    toy_target(monkeypatch, artefact=replace(X86_VNNI.artefact, formats=("qdq", "toy")))
    assert convert(place, "toy", format="toy").plan.format == "toy"
    assert {entry.key: entry.value for entry in onnx.load(place.output).metadata_props}["toy"] == "yes"


def test_metric(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = metrics.Spec(True, lambda: metrics.paired.Mean(lambda output, label, where: np.atleast_1d(float(label))))
    monkeypatch.setitem(metrics.METRICS, "toy", spec)
    for file in place.data.iterdir():
        rows = np.load(file)["x"]
        np.savez(file, x=rows, label=np.full(len(rows), 3))
    (found,) = convert(place, evaluated=True, evaluation__metric="toy").measurements.metrics
    assert (found.name, found.float_value, found.value) == ("toy", 3.0, 3.0)


def test_check(place: Place, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_long(graph: Graph) -> tuple[Diagnostic, ...]:
        return tuple(
            Diagnostic("C204", "name too long", node.name, severity=Severity.WARNING)
            for node in graph.nodes
            if _long(node)
        )

    monkeypatch.setitem(verify.CHECKS, "toy", too_long)
    toy_target(monkeypatch, runtime=checked_by("toy"))
    record = convert(place, "toy")
    assert any(problem.message == "name too long" and problem.where == "classifier" for problem in record.diagnostics)
    ran = cli("check", place.output, "-t", "toy", "--strict")
    assert ran.code == 6
    assert "classifier: name too long" in ran.err


def _long(node: Node) -> bool:
    return node.name == "classifier"


def test_report_format(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    row = report.Format(".toy", lambda record: f"{record.target}: {record.status}\n")
    monkeypatch.setitem(report.FORMATS, "toy", row)  # type: ignore[arg-type]
    convert(place, report=["toy"])
    assert place.output.with_name("m.report.toy").read_text() == "x86-vnni: done\n"
    assert place.output.with_name("m.report.json").exists()


def test_algorithm(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    class Toy(Settings):
        factor: float = 2.0

    seen: list[float] = []

    def run(draft: optimize.Draft, lab: optimize.Lab, settings: Toy) -> optimize.Draft:
        seen.append(settings.factor)
        return draft

    monkeypatch.setitem(optimize.ALGORITHMS, "toy", optimize.Algorithm("does nothing", Toy, run))
    record = convert(place, algorithms=[{"toy": {"factor": 3.0}}])
    assert seen == [3.0]
    assert [(step.name, step.kept) for step in record.algorithms] == [("toy", False)]
    with pytest.raises(qconvert.QConvertError, match="factr"):
        convert(place, algorithms=[{"toy": {"factr": 3.0}}])


def test_no_target_is_named_in_the_logic() -> None:
    """Targets are data: nothing outside of their folder asks for one by its name."""
    names = tuple(targets.TARGETS)
    root = Path(qconvert.__file__).parent
    for path in sorted(root.rglob("*.py")):
        if path.parent.name == "targets":
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            asks = ("==" in line or "if " in line or " in (" in line) and not line.lstrip().startswith(
                ("#", '"', "qconvert ")
            )
            assert not (asks and any(f'"{name}"' in line for name in names)), f"{path}:{number}: {line}"
