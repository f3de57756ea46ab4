"""The verdict: the one sentence that matters, and the three figures under it."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isnan

from ..evaluate.model import GateResult, Latency, Metric
from ..verify.model import Device
from .record import RunRecord
from .words import SHARES, count, decibel, duration, interval_of, metric_drop, metric_value, percent, ratio, size

_GATES = {
    "metric_drop": "accuracy",
    "sqnr": "accuracy",
    "size_ratio": "size",
    "speedup": "latency",
    "int8_macs": "latency",
    "limits.flash": "size",
    "limits.arena": "latency",
}


@dataclass(frozen=True, slots=True)
class Figure:
    """One of the three figures.

    Attributes:
        value: of the result; "" where it was not measured.
        before: of FP32.
        change: in words; notes: smaller print.
        share: length of the result's bar beside that of FP32, which is 1; None without bars.
    """

    title: str
    value: str
    before: str = ""
    change: str = ""
    notes: tuple[str, ...] = ()
    share: float | None = None
    gates: tuple[GateResult, ...] = ()


def figures(record: RunRecord) -> tuple[Figure, Figure, Figure]:
    """Accuracy, size, and latency or, of a device whose time is not known here, memory."""
    device = record.device if record.measurements.latency is None else None
    return _accuracy(record), _size(record), _latency(record) if device is None else _arena(record, device)


def _of(record: RunRecord, kind: str) -> tuple[GateResult, ...]:
    return tuple(g for g in record.gates if _GATES.get(g.name.removeprefix("against."), "accuracy") == kind)


def _accuracy(record: RunRecord) -> Figure:
    metrics, fidelity, gates = record.measurements.metrics, record.measurements.fidelity, _of(record, "accuracy")
    close = [f"output SQNR {decibel(fidelity.sqnr_db)}, cosine {fidelity.cosine:.5f}"] if fidelity else []
    examples = record.measurements.examples
    if fidelity and fidelity.agreement is not None and (examples is None or examples.rows is not None):
        close.append(f"same top-1 on {percent(fidelity.agreement)} of {count(fidelity.samples, 'sample')}")
    if metrics:
        main = metrics[0]
        others = [
            f"{m.name} {metric_value(m.name, m.value)}, FP32 {metric_value(m.name, m.float_value)}"
            for m in metrics[1:4]
        ]
        notes = (*_interval_words(main), *others, *close)
        return Figure(
            main.name,
            metric_value(main.name, main.value),
            metric_value(main.name, main.float_value),
            _drop_words(main),
            notes,
            None,
            gates,
        )
    if fidelity:
        return Figure(
            "output fidelity",
            decibel(fidelity.sqnr_db),
            "",
            f"against FP32, {count(fidelity.samples, 'sample')}",
            (*close, "no labels, so no task metric"),
            None,
            gates,
        )
    return Figure("accuracy", "", notes=("not measured: no data, or evaluation was off",), gates=gates)


def _drop_words(metric: Metric) -> str:
    if isnan(metric.drop):
        return "not a number"
    return (
        "unchanged"
        if metric.drop == 0
        else f"{metric_drop(metric)} worse"
        if metric.drop > 0
        else f"{metric_drop(_turned(metric))} better"
    )


def _interval_words(metric: Metric) -> tuple[str, ...]:
    return (f"drop, {interval_of(metric.interval, metric.name in SHARES)}",) if metric.interval else ()


def _turned(metric: Metric) -> Metric:
    return metric.model_copy(update={"drop": -metric.drop})


def _size(record: RunRecord) -> Figure:
    found, gates = record.measurements.size, _of(record, "size")
    if found is None:
        return Figure("size", "", notes=("not measured",), gates=gates)
    share = found.bytes / found.float_bytes if found.float_bytes else None
    return Figure(
        "size",
        size(found.bytes),
        size(found.float_bytes),
        f"{ratio(found.ratio)} smaller",
        (f"weights alone: {size(record.plan.float_bytes)} to {size(record.plan.bytes)}",),
        share,
        gates,
    )


def _latency(record: RunRecord) -> Figure:
    found, gates = record.measurements.latency, _of(record, "latency")
    if found is None:
        notes = ("not measured on this host",) + (
            (f"predicted {ratio(record.plan.speedup)}",) if record.plan.speedup is not None else ()
        )
        return Figure("latency", "", notes=notes, gates=gates)
    share = found.ms / found.float_ms if found.float_ms else None
    return Figure(
        "latency",
        duration(found.ms * 1000),
        duration(found.float_ms * 1000),
        speed_words(found),
        _latency_notes(found),
        share,
        gates,
    )


def _arena(record: RunRecord, device: Device) -> Figure:
    return Figure(
        "arena",
        size(device.recommended),
        change="to reserve, measured with a margin" if device.measured else "to reserve, an estimate",
        notes=tuple(f"{name}: {text}" for name, text in instructions(device)),
        gates=_of(record, "latency"),
    )


def instructions(device: Device) -> tuple[tuple[str, str], ...]:
    """Cores, and the instructions that one inference takes there."""
    return tuple((core.name, f"about {core.instructions / 1e6:.2f} M instructions a run") for core in device.cores)


def speed_words(latency: Latency) -> str:
    """How much faster or slower."""
    if latency.ratio >= 1 or not latency.ratio > 0:
        return f"{ratio(latency.ratio)} FP32 speed"
    return f"{ratio(1 / latency.ratio)} slower than FP32"


def _latency_notes(latency: Latency) -> tuple[str, ...]:
    low, high = latency.ratio_quartiles
    where = latency.host if latency.on_target else f"{latency.host}, not the target"
    return (
        f"quartiles {low:.2f} to {high:.2f}, {count(latency.rounds, 'round')}, {count(latency.threads, 'thread')}",
        where,
    )


def sentence(record: RunRecord) -> str:
    """The one sentence that matters."""
    failed = [g.text for g in record.gates if not g.passed]
    if failed:
        return f"{len(failed)} of {count(len(record.gates), 'gate')} failed: {'; '.join(failed)}."
    clauses = [_shrink(record), _speed(record), _closeness(record)]
    said = [clause for clause in clauses if clause]
    if not said:
        return f"{percent(record.plan.integer_share)} of the multiply-accumulates in integer kernels; nothing was measured."
    text = said[0] if len(said) == 1 else f"{', '.join(said[:-1])}, and {said[-1]}"
    return text[:1].upper() + text[1:] + "."


def _shrink(record: RunRecord) -> str:
    found = record.measurements.size
    return f"{ratio(found.ratio)} smaller" if found else ""


def _speed(record: RunRecord) -> str:
    found = record.measurements.latency
    if found is None or isnan(found.ratio):
        return ""
    return (
        f"{ratio(found.ratio)} faster"
        if found.ratio >= 1
        else f"{ratio(1 / found.ratio) if found.ratio > 0 else 'far'} slower"
    )


def _closeness(record: RunRecord) -> str:
    metrics, fidelity = record.measurements.metrics, record.measurements.fidelity
    if metrics:
        return _metric_clause(metrics[0])
    if fidelity is None:
        return ""
    return (
        "its outputs equal those of FP32"
        if fidelity.sqnr_db == inf
        else f"its outputs have an SQNR of {decibel(fidelity.sqnr_db)} against FP32"
    )


def _metric_clause(metric: Metric) -> str:
    now = metric_value(metric.name, metric.value)
    if isnan(metric.drop):
        return f"{metric.name} is not a number"
    if metric.drop == 0:
        return f"{metric.name} stays at {now}"
    noise = metric.interval is not None and metric.interval.low <= 0 <= metric.interval.high
    change = f"loses {metric_drop(metric)}" if metric.drop > 0 else f"gains {metric_drop(_turned(metric))}"
    return f"{metric.name} {change} ({now})" + (
        f", within the noise of {count(metric.samples, 'sample')}" if noise else ""
    )
