"""Two models, or the records of two runs, beside each other: placement, codes, weights, outputs, layers, size and time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from math import inf, isfinite, isnan
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..data import open_dataset
from ..errors import Diagnostic, QConvertError, Severity, fail
from ..evaluate import GateResult, Interval, Metric, dequantized_values, layer_totals, speed_over, sqnr_db
from ..evaluate.channels import ScaledTotal
from ..evaluate.conditions import (  # fmt: skip
    COUNT,
    DECIBEL,
    MEASURED,
    SHARE,
    TIMES,
    Condition,
    Figure,
    judge_conditions,
    parse_conditions,
)
from ..graph import Array, Graph
from ..recipe import Recipe
from ..report.comparison import Comparison, FigurePair, LayerPair, NodeChange, Setting, TensorChange, WeightChange
from ..report.evaluation import Evaluation
from ..report.record import Problem, RunRecord
from ..report.words import SHARES, decibel, interval_of, metric_drop, percent, ratio
from .evaluation import EvaluationRequest, evaluate_models, judging
from .events import Listener, Stages, silent
from .models.sides import Facts, Ran, Weight, facts_of_model, facts_of_record, plain
from .recording.reports import read_record

_LAYER_SAMPLES = 4
_UNRELATED = "the two runs are of models with other inputs or outputs; compare runs of one model"
_RECORDS = "only run records tell it"
FIGURES: Mapping[str, Figure] = {
    **MEASURED,
    "speedup": Figure("speedup", TIMES, "it was not timed, or the runs were timed on different hosts"),
    "layer_sqnr": Figure("SQNR of the worst tensor", DECIBEL, "give data; both models need tensors of the same names"),
    "layer_drop": Figure("largest loss of a tensor in dB", DECIBEL, _RECORDS),
    "placement": Figure("nodes placed otherwise", COUNT, "what runs in integers is not known", bare=True),
    "scales": Figure("tensors with other codes", COUNT, bare=True),
    "weights": Figure("weights stored otherwise", COUNT, bare=True),
    "int8_macs": Figure("share of the multiply-accumulates in integers", SHARE, _RECORDS),
}


@dataclass(frozen=True)
class ComparisonRequest:
    """What to compare: two models, or two run records; the rest is as for an evaluation."""

    a: Path
    b: Path
    recipe: Recipe
    data: Path | None = None
    base_dir: Path = Path(".")
    threads: int = 1
    conditions: tuple[str, ...] = ()


def compare(request: ComparisonRequest, listener: Listener = silent) -> Comparison:
    """Compare; a failed condition is no exception: `status` says so.

    Raises:
        QConvertError: whatever is wrong with the files, the data or the conditions; R011 for a model beside a record.
    """
    conditions, stages = parse_conditions(request.conditions, FIGURES), Stages(listener)
    records = [path.suffix.lower() == ".json" for path in (request.a, request.b)]
    if any(records) and not all(records):
        text = "a run record can only be compared with another one"
        raise fail("R011", text, None, "give two models, or two `.report.json` files of `qconvert convert`")
    if all(records):
        if request.data is not None:
            raise fail("R011", "run records bring their own figures", None, "leave `-d` out, or give the two models")
        found, related = _records(request, stages)
    else:
        found, related = _models(request, listener, stages), True
    gates = tuple(_judged(conditions, found, related, stages))
    status = "done" if all(gate.passed for gate in gates) else "gates failed"
    problems = tuple(dict.fromkeys((*found.diagnostics, *(Problem.of(d) for d in stages.diagnostics))))
    return found.model_copy(update={"gates": gates, "status": status, "diagnostics": problems})


def _judged(conditions: Sequence[Condition], found: Comparison, related: bool, stages: Stages) -> Iterator[GateResult]:
    """Every condition; between models that have nothing to do with each other none can be judged, so all of them fail."""
    values = _figures(found) if related else {}
    figures = FIGURES if related else {name: replace(f, missing=_UNRELATED) for name, f in FIGURES.items()}
    for gate, failure in judge_conditions(conditions, figures, values):
        stages.note(*((failure,) if failure else ()))
        yield gate


def _figures(found: Comparison) -> dict[str, float | None]:
    metrics = {pair.name: pair.b for pair in found.figures if pair.kind == "metric"}
    second = {pair.name: pair.b for pair in found.figures if pair.kind != "metric"}
    known = [p for p in found.layers if p.b is not None and not isnan(p.b)]
    drops = [p.a - p.b for p in known if p.a is not None and p.b is not None and isfinite(p.a) and isfinite(p.b)]
    placed = found.a.integer is not None and found.b.integer is not None
    return {
        **metrics,
        "sqnr": second.get("sqnr"),
        "metric": next(iter(metrics.values()), None),
        "metric_drop": second.get("metric_drop"),
        "cosine": second.get("cosine"),
        "agreement": second.get("agreement"),
        "layer_sqnr": min((p.b for p in known if p.b is not None), default=None),
        "layer_drop": max(drops, default=None),
        "placement": float(len(found.moved)) if placed else None,
        "scales": float(len(found.tensors)),
        "weights": float(len(found.weights)),
        "size": float(found.b.bytes),
        "size_ratio": found.a.bytes / found.b.bytes if found.b.bytes else None,
        "latency": second.get("latency"),
        "speedup": second.get("speedup"),
        "int8_macs": second.get("int8_macs"),
    }


# --- differences ---------------------------------------------------------------------------------------------------------


def _difference(a: Facts, b: Facts) -> dict[str, Any]:
    nodes = tuple(_node_changes(a.nodes, b.nodes))
    tensors = tuple(
        TensorChange(tensor=name, a=a.tensors.get(name), b=b.tensors.get(name))
        for name in dict.fromkeys((*a.tensors, *b.tensors))
        if a.tensors.get(name) != b.tensors.get(name)
    )
    weights = tuple(_weight_changes(a.weights, b.weights))
    return {
        "tool_version": __version__,
        "status": "done",
        "a": a.side,
        "b": b.side,
        "nodes": nodes,
        "same_nodes": len(a.nodes.keys() & b.nodes.keys()) - sum(1 for n in nodes if n.a and n.b),
        "tensors": tensors,
        "same_tensors": len(a.tensors.keys() | b.tensors.keys()) - len(tensors),
        "weights": weights,
        "same_weights": len(a.weights.keys() & b.weights.keys()) - len(weights),
    }


def _node_changes(a: Mapping[str, Ran], b: Mapping[str, Ran]) -> Iterator[NodeChange]:
    for name in dict.fromkeys((*a, *b)):
        one, two = a.get(name), b.get(name)
        if one and two and (one.runs == two.runs or not one.runs or not two.runs):
            continue
        ran = two or one
        assert ran is not None
        why = two.why if two and two.runs == "float" else one.why if one and one.runs == "float" else ""
        yield NodeChange(node=name, op=ran.op, a=_runs(one), b=_runs(two), why=why if one and two else "")


def _runs(ran: Ran | None) -> str:
    return "" if ran is None else ran.runs or "unknown"


def _weight_changes(a: Mapping[str, Weight], b: Mapping[str, Weight]) -> Iterator[WeightChange]:
    for name in (name for name in a if name in b):
        one, two = a[name], b[name]
        db = _closeness(one.values, two.values)
        if one.stored != two.stored or (db is not None and db != inf):
            yield WeightChange(weight=name, a=one.stored, b=two.stored, sqnr_db=db)


def _closeness(a: Array | None, b: Array | None) -> float | None:
    """SQNR of b against a in dB; None where they cannot be compared."""
    if a is None or b is None or a.shape != b.shape:
        return None
    r, v = a.astype(np.float64).reshape(-1), b.astype(np.float64).reshape(-1)
    with np.errstate(invalid="ignore", over="ignore"):
        return sqnr_db(float(r @ r), float(np.square(v - r).sum()))


# --- models --------------------------------------------------------------------------------------------------------------


def _models(request: ComparisonRequest, listener: Listener, stages: Stages) -> Comparison:
    asked = EvaluationRequest(
        (request.a, request.b), request.recipe, 0, request.data, request.base_dir, request.threads
    )
    measured = evaluate_models(asked, listener)
    with stages.stage("look"):
        a, b = (facts_of_model(Path(m.name), m.bytes) for m in measured.models)
    stages.note(*a.notes, *b.notes)
    layers = _layers(request, a, b, stages)
    return Comparison(
        **_difference(a, b),
        data=measured.data,
        figures=tuple(_measured(measured)),
        layers=layers,
        diagnostics=measured.diagnostics,
    )


def _measured(found: Evaluation) -> Iterator[FigurePair]:
    one, two = found.models
    yield from _metric_pairs(two.metrics, {m.name: m.float_value for m in two.metrics})
    if close := two.fidelity:
        yield FigurePair(
            name="sqnr", unit="db", a=None, b=close.sqnr_db, change="output of the second against the first"
        )
        yield FigurePair(name="cosine", unit="number", a=None, b=close.cosine)
        if close.agreement is not None:
            yield FigurePair(name="agreement", unit="share", a=None, b=close.agreement)
    yield _sizes(one.bytes, two.bytes)
    if one.latency and two.latency:
        low, high = two.latency.ratio_quartiles
        change = f"{ratio(two.latency.ratio)} the speed (quartiles {low:.2f} to {high:.2f})"
        yield FigurePair(name="latency", unit="ms", a=one.latency.ms, b=two.latency.ms, change=change)
        yield FigurePair(name="speedup", unit="times", a=None, b=two.latency.ratio)


def _metric_pairs(metrics: Sequence[Metric], before: Mapping[str, float]) -> Iterator[FigurePair]:
    """Each metric of the second beside that of the first, and the worst drop."""
    drops = []
    for m in metrics:
        if m.name not in before:
            continue
        drop = before[m.name] - m.value if m.higher_is_better else m.value - before[m.name]
        drops.append(drop)
        against = m.model_copy(update={"float_value": before[m.name], "drop": drop})
        unit = "share" if m.name in SHARES else "metric"
        change = _drop_text(against, m.interval)
        yield FigurePair(name=m.name, unit=unit, a=before[m.name], b=m.value, change=change, kind="metric")
    if drops:
        yield FigurePair(name="metric_drop", unit="number", a=None, b=max(drops))


def _drop_text(metric: Metric, interval: Interval | None) -> str:
    if isnan(metric.drop) or metric.drop == 0:
        return "not a number" if isnan(metric.drop) else "unchanged"
    turned = metric.model_copy(update={"drop": abs(metric.drop)})
    word = f"{metric_drop(turned)} {'worse' if metric.drop > 0 else 'better'}"
    return word + (f" ({interval_of(interval, metric.name in SHARES)})" if interval else "")


def _sizes(a: int, b: int) -> FigurePair:
    change = "" if not a or not b else f"{ratio(a / b)} smaller" if a >= b else f"{ratio(b / a)} larger"
    return FigurePair(name="size", unit="bytes", a=float(a), b=float(b), change="" if a == b else change)


def _layers(request: ComparisonRequest, a: Facts, b: Facts, stages: Stages) -> tuple[LayerPair, ...]:
    """SQNR of the second's quantized tensors against the same tensors of the first."""
    if request.data is None or a.graph is None or b.graph is None or not request.recipe.evaluation.layers:
        return ()
    values = _shared_values(a, b)
    if not values:
        return ()
    with stages.stage("layers") as progress:
        inputs = {name: a.graph.type_of(name) for name in a.graph.feeds}
        samples = judging(open_dataset(request.data, inputs, request.recipe.dataset, request.base_dir), None, 0)
        few = list(islice(samples, _LAYER_SAMPLES))
        try:
            found = layer_totals(a.graph, b.graph, values, few, ScaledTotal, count=_LAYER_SAMPLES, progress=progress)
        except QConvertError as error:
            text = f"the tensors between are not compared: {error.diagnostics[0].message}"
            stages.note(Diagnostic("V106", text, None, None, Severity.WARNING))
            return ()
    return tuple(
        LayerPair(tensor=plain(name), op=_op(a.graph, name), a=None, b=total.sqnr_db, rescaled=total.rescaled)
        for name, total in found.items()
    )


def _op(graph: Graph, tensor: str) -> str:
    producer = graph.producer.get(tensor)
    return producer.op if producer is not None else ""


def _shared_values(a: Facts, b: Facts) -> dict[str, str]:
    """Values of the first by name, to the dequantized value of the same tensor in the second."""
    assert a.graph is not None
    assert b.graph is not None
    assert b.lifted is not None
    second = {plain(name): value for name, value in dequantized_values(b.graph, b.graph.values()).items()}
    quantized = {plain(name): value for name, value in dequantized_values(a.graph, a.graph.values()).items()}
    first = quantized or {plain(name): name for name in a.graph.values()}
    return {value: second[name] for name, value in first.items() if name in second}


# --- records -------------------------------------------------------------------------------------------------------------


def _records(request: ComparisonRequest, stages: Stages) -> tuple[Comparison, bool]:
    """The comparison, and whether the models take and give the same, so that their figures can be judged."""
    one, two = (read_record(path) for path in (request.a, request.b))
    a, b = facts_of_record(request.a, one), facts_of_record(request.b, two)
    stages.note(*_apart(one, two))
    found = Comparison(
        **_difference(a, b),
        figures=tuple(_recorded(one, two)),
        layers=_recorded_layers(one, two),
        settings=tuple(_settings(one, two)),
    )
    return found, (one.model.inputs, one.model.outputs) == (two.model.inputs, two.model.outputs)


def _apart(one: RunRecord, two: RunRecord) -> Iterator[Diagnostic]:
    """What keeps the figures of two runs from being compared in every respect."""
    if one.model.sha256 != two.model.sha256:
        yield _differs("started from different models", "compare runs of one model")
    if one.data and two.data and one.data.evaluation_samples != two.data.evaluation_samples:
        counts = f"{one.data.evaluation_samples} and {two.data.evaluation_samples} samples"
        yield _differs(f"were measured on {counts}", "measure both on the same samples")
    hosts = [found.measurements.latency.host for found in (one, two) if found.measurements.latency]
    if len(set(hosts)) > 1:
        yield _differs(f"were timed on {' and '.join(hosts)}", "time both on the same kind of machine")


def _differs(text: str, hint: str) -> Diagnostic:
    return Diagnostic("V107", f"the two runs {text}", None, hint, Severity.WARNING)


def _recorded(one: RunRecord, two: RunRecord) -> Iterator[FigurePair]:
    m, n = one.measurements, two.measurements
    plain_metrics = [metric.model_copy(update={"interval": None}) for metric in n.metrics]
    yield from _metric_pairs(plain_metrics, {metric.name: metric.value for metric in m.metrics})
    if m.fidelity or n.fidelity:
        yield _pair("sqnr", "db", *(x.fidelity.sqnr_db if x.fidelity else None for x in (m, n)))
        yield _pair("cosine", "number", *(x.fidelity.cosine if x.fidelity else None for x in (m, n)))
        yield _pair("agreement", "share", *(x.fidelity.agreement if x.fidelity else None for x in (m, n)))
    sizes = [x.size.bytes if x.size else r.plan.bytes for x, r in ((m, one), (n, two))]
    yield _sizes(sizes[0], sizes[1])
    if m.latency or n.latency:
        times = [x.latency.ms if x.latency else None for x in (m, n)]
        yield FigurePair(name="latency", unit="ms", a=times[0], b=times[1], change="timed in different runs")
        speed = speed_over(n.latency, m.latency.ratio, m.latency.host) if m.latency else None
        yield FigurePair(name="speedup", unit="times", a=None, b=speed)
        yield _pair("speed over FP32", "times", *(x.latency.ratio if x.latency else None for x in (m, n)))
    yield _pair("int8_macs", "share", *(r.readback.integer_macs if r.readback else r.plan.integer_share for r in (one, two)))  # fmt: skip
    if one.device or two.device:
        arenas = [float(r.device.recommended) if r.device else None for r in (one, two)]
        yield FigurePair(name="arena", unit="bytes", a=arenas[0], b=arenas[1])


def _pair(name: str, unit: str, a: float | None, b: float | None) -> FigurePair:
    if a is None or b is None or not (isfinite(a) and isfinite(b)) or a == b:
        return FigurePair(name=name, unit=unit, a=a, b=b, change="unchanged" if a is not None and a == b else "")
    texts = {
        "db": lambda d: f"{'+' if d > 0 else ''}{decibel(d)}",
        "share": lambda d: f"{'+' if d > 0 else ''}{percent(d, 2)}",
    }
    return FigurePair(name=name, unit=unit, a=a, b=b, change=texts.get(unit, lambda d: f"{d:+.4g}")(b - a))


def _recorded_layers(one: RunRecord, two: RunRecord) -> tuple[LayerPair, ...]:
    first = {layer.tensor: layer for layer in one.measurements.layers}
    second = {layer.tensor: layer for layer in two.measurements.layers}
    return tuple(
        LayerPair(
            tensor=name,
            op=(second.get(name) or first[name]).op,
            a=first[name].sqnr_db if name in first else None,
            b=second[name].sqnr_db if name in second else None,
        )
        for name in dict.fromkeys((*second, *first))
    )


def _settings(one: RunRecord, two: RunRecord) -> Iterator[Setting]:
    a = {**_flat(one.recipe), **{f"version of {k}": v for k, v in one.versions.items()}, "target": one.target}
    b = {**_flat(two.recipe), **{f"version of {k}": v for k, v in two.versions.items()}, "target": two.target}
    for key in dict.fromkeys((*a, *b)):
        if a.get(key) != b.get(key):
            yield Setting(key=key, a=_word(a.get(key)), b=_word(b.get(key)))


def _flat(value: Any, key: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {key: value}
    return {k: v for name, each in value.items() for k, v in _flat(each, f"{key}.{name}" if key else str(name)).items()}


def _word(value: Any) -> str:
    return "" if value is None else str(value)
