"""The limits of the recipe against what was measured."""

from __future__ import annotations

from dataclasses import dataclass
from math import isclose, isnan

from ..errors import Diagnostic
from ..recipe.types import Gates, Limits
from .model import GateResult, Measurements


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
