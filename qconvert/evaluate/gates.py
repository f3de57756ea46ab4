"""The limits of the recipe against what was measured."""

from __future__ import annotations

from dataclasses import dataclass
from math import isclose, isnan

from ..errors import Diagnostic
from ..recipe.types import Gates, Limits, Regression
from .latency import speed_over
from .model import Baseline, GateResult, Measurements, Metric


@dataclass(frozen=True, slots=True)
class _Gate:
    """One limit with its figure: what it is called, how it is written, and whether it is an upper limit."""

    name: str
    limit: float | None
    value: float | None
    noun: str
    form: str
    missing: str
    upper: bool = False


def judge(
    gates: Gates, measured: Measurements, integer_share: float | None
) -> tuple[tuple[GateResult, ...], tuple[Diagnostic, ...]]:
    """Judge every limit that the recipe sets.

    Args:
        integer_share: share of the multiply-accumulates in integer kernels, 0..1; None if it is not known.

    Returns:
        One result a limit, and one diagnostic for each that does not hold (G001) or cannot be judged (G002).
    """
    return _judged(_gates(gates, measured, integer_share))


def judge_regression(
    limits: Regression, before: Baseline, measured: Measurements, integer_share: float | None
) -> tuple[tuple[GateResult, ...], tuple[Diagnostic, ...]]:
    """Judge the limits against an earlier result; gates are called `against.<key>`.

    Args:
        before: the earlier result.
        integer_share: of this result, 0..1; None if it is not known.
    """
    return _judged(_against(limits, before, measured, integer_share))


def judge_limits(
    limits: Limits, arena: int | None, flash: int | None
) -> tuple[tuple[GateResult, ...], tuple[Diagnostic, ...]]:
    """Judge the memory limits of the recipe.

    Args:
        arena: bytes of RAM to reserve; flash: bytes of the model; None where that is not known.
    """
    return _judged(
        (
            _Gate(
                "limits.arena",
                limits.arena,
                arena,
                "arena to reserve",
                "{:.0f} bytes",
                "the arena is not known for this target",
                True,
            ),
            _Gate(
                "limits.flash",
                limits.flash,
                flash,
                "size of the model",
                "{:.0f} bytes",
                "the size was not measured",
                True,
            ),
        )
    )


def _judged(gates: tuple[_Gate, ...]) -> tuple[tuple[GateResult, ...], tuple[Diagnostic, ...]]:
    asked = [(gate, gate.limit) for gate in gates if gate.limit is not None]
    results = tuple(_result(gate, limit) for gate, limit in asked)
    pairs = zip((gate for gate, _ in asked), results, strict=True)
    return results, tuple(_diagnostic(gate, result) for gate, result in pairs if not result.passed)


def _gates(gates: Gates, measured: Measurements, integer_share: float | None) -> tuple[_Gate, ...]:
    fidelity, size, latency = measured.fidelity, measured.size, measured.latency
    return (
        _Gate("metric_drop", gates.metric_drop, _worst_drop(measured), "drop of the task metric", "{:.4g}", "no task metric was measured; give labels and `evaluation.metric`, and leave out `--no-evaluate`", True),
        _Gate("sqnr", gates.sqnr, fidelity.sqnr_db if fidelity else None, "output SQNR", "{:.1f} dB", "fidelity was not measured"),
        _Gate("size_ratio", gates.size_ratio, size.ratio if size else None, "size ratio", "{:.3g}x", "the size was not measured"),
        _Gate("speedup", gates.speedup, latency.ratio if latency else None, "speedup", "{:.3g}x", "latency is measured only where the target's runtime is at hand, with `evaluation.latency: true` and without `--no-evaluate`"),
        _Gate("int8_macs", gates.int8_macs, integer_share, "integer share of the multiply-accumulates", "{:.1%}", "the share is not known"),
    )  # fmt: skip


def _against(
    limits: Regression, before: Baseline, measured: Measurements, integer_share: float | None
) -> tuple[_Gate, ...]:
    fidelity, size, latency = measured.fidelity, measured.size, measured.latency
    sqnr = None if fidelity is None or before.sqnr_db is None else _difference(fidelity.sqnr_db, before.sqnr_db)
    smaller = None if size is None or not before.bytes or not size.bytes else before.bytes / size.bytes
    faster = speed_over(latency, before.speedup, before.host)
    share = integer_share / before.integer_share if integer_share is not None and before.integer_share else None
    elsewhere = f"it was timed on {before.host or 'no host'}, this run on {latency.host if latency else 'none'}"
    whose, unknown = f"that of {before.name}", f"there is no figure here or in {before.name}"
    return (
        _Gate("against.metric_drop", limits.metric_drop, _worse(measured.metrics, before.metrics), f"drop of the task metric against {before.name}", "{:.4g}", f"the metrics are not the same: {_names(measured.metrics)} here, {_names(before.metrics)} there", True),
        _Gate("against.sqnr", limits.sqnr, sqnr, f"output SQNR minus {whose}", "{:+.2f} dB", unknown),
        _Gate("against.size_ratio", limits.size_ratio, smaller, f"size of {before.name} over this size", "{:.3g}x", unknown),
        _Gate("against.speedup", limits.speedup, faster, f"speedup over {whose}", "{:.3g}x", f"{elsewhere}; run on the same kind of machine, or leave this limit out"),
        _Gate("against.int8_macs", limits.int8_macs, share, f"integer share of the multiply-accumulates over {whose}", "{:.3g}x", unknown),
    )  # fmt: skip


def _difference(value: float, before: float) -> float:
    """Of two SQNRs, of which both may be infinite."""
    return 0.0 if value == before else value - before


def _worse(metrics: tuple[Metric, ...], before: tuple[Metric, ...]) -> float | None:
    """Largest drop of a metric against the earlier result; None where they do not have the same ones."""
    earlier = {metric.name: metric.value for metric in before}
    if not metrics or earlier.keys() != {metric.name for metric in metrics}:
        return None
    drops = [(earlier[m.name] - m.value) * (1 if m.higher_is_better else -1) for m in metrics]
    return None if any(isnan(drop) for drop in drops) else max(drops)


def _names(metrics: tuple[Metric, ...]) -> str:
    return ", ".join(metric.name for metric in metrics) or "none"


def _worst_drop(measured: Measurements) -> float | None:
    drops = [metric.drop for metric in measured.metrics]
    if not drops or any(isnan(drop) for drop in drops):
        return None
    return max(drops)


def _result(gate: _Gate, limit: float) -> GateResult:
    value = None if gate.value is None or isnan(gate.value) else gate.value
    passed = value is not None and _holds(value, limit, gate.upper)
    shown, wanted = "not measured" if value is None else gate.form.format(value), gate.form.format(limit)
    if shown == wanted and not passed:  # they differ further behind the point than is shown
        shown = f"{value:.10g}"
    text = f"{gate.noun}: {shown}, wanted at {'most' if gate.upper else 'least'} {wanted}"
    return GateResult(name=gate.name, limit=limit, value=value, passed=passed, text=text)


def _holds(value: float, limit: float, upper: bool) -> bool:
    """Whether a limit holds; 0.90 - 0.89 is a hair above 0.01 in floating point, and counts as 0.01."""
    if isclose(value, limit, rel_tol=1e-9, abs_tol=1e-12):
        return True
    return value < limit if upper else value > limit


def _diagnostic(gate: _Gate, result: GateResult) -> Diagnostic:
    where = gate.name if gate.name.startswith("limits.") else f"gates.{gate.name}"
    if result.value is None:
        return Diagnostic("G002", result.text, where, gate.missing)
    return Diagnostic("G001", result.text, where)
