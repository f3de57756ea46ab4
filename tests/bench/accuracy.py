"""Accuracy, size and speed of every model, ours beside onnxruntime's quantizer on the same samples."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from qconvert.runtime.timing import Timings

from . import artefacts
from .artefacts import Failed, Made
from .cases import Case, Goal
from .compare import Comparisons, Figure, compare, run_all
from .speed import timed
from .tables import Table, held

COLUMNS = (
    "model",
    "metric",
    "FP32",
    "qconvert",
    "onnxruntime",
    "drop [95 %]",
    "its drop [95 %]",
    "goal: drop",
    "SQNR dB",
    "its SQNR",
    "goal: SQNR",
    "speed-up",
    "its speed-up",
    "kB FP32 / q / ort",
    "integer MACs q / ort",
    "seconds q / ort",
)
_CONTAINED = 0.0025  # the interval of a drop in points must reach down to this
_POINTS = frozenset({"top1", "next_token", "mAP", "mAP50"})


def start() -> Table:
    """The empty table: one row a figure and model."""
    table = Table("accuracy", "Accuracy (x86-vnni preset, at most 128 calibration samples)", COLUMNS)
    table.notes.append(
        "drop is in points for top1, next_token and mAP, else in the metric's own unit; intervals are paired over samples; "
        "speed-up is FP32 time / time of one thread, all three models interleaved in one run"
    )
    return table


def add(table: Table, case: Case) -> None:
    """Convert one model with both tools, evaluate and time the results."""
    made = {"qconvert": artefacts.ours(case), "onnxruntime": artefacts.theirs(case)}
    for who, result in made.items():
        if isinstance(result, Failed):
            table.notes.append(f"{case.name}, {who}: {result.reason}")
    files = {who: result for who, result in made.items() if isinstance(result, Made)}
    samples = case.evaluation()
    before = run_all(case.model, samples)
    found: dict[str, Comparisons] = {}
    for who, result in list(files.items()):
        try:
            found[who] = compare(case, samples, before, run_all(result.path, samples))
        except Exception as error:  # a file that does not run is a result
            table.notes.append(f"{case.name}, {who}: {error}"[:400])
            del files[who]
    if not files:
        return
    times = timed({"FP32": case.model, **{who: m.path for who, m in files.items()}}, samples[0].feed, 31, 30.0)
    _note_differences(table, case, files.get("qconvert"), found.get("qconvert"))
    figures = {who: {f.name: f for f in c.figures} for who, c in found.items()}
    for n, name in enumerate(next(iter(figures.values()))):
        cells = _figure_cells(case, name, {who: by_name[name] for who, by_name in figures.items()})
        whole = _model_cells(case, files, found, times) if n == 0 else {}
        table.add({**whole, **cells}, _data(case, name, files, found, times))


def _note_differences(table: Table, case: Case, made: Made | None, found: Comparisons | None) -> None:
    """The record of the run must say what is measured here."""
    if made is None or found is None or made.record is None:
        return
    said = {m.name: m.drop for m in made.record.measurements.metrics}
    here = {f.name: f.drop for f in found.figures}
    if said.keys() != here.keys() or any(abs(said[n] - here[n]) > 1e-6 for n in said):
        table.notes.append(f"{case.name}: the run record says {said}, the benchmark measured {here}")
    fidelity = made.record.measurements.fidelity
    if fidelity is None or abs(fidelity.sqnr_db - found.sqnr_db) > 0.01:
        table.notes.append(
            f"{case.name}: the run record says {fidelity}, the benchmark measured {found.sqnr_db:.2f} dB"
        )


def _figure_cells(case: Case, name: str, found: dict[str, Figure]) -> dict[str, str]:
    some, limit = next(iter(found.values())), case.goal.drop.get(name)
    cells = {"model": case.name, "metric": name, "FP32": _value(name, some.float_value)}
    for who, column in (("qconvert", "drop [95 %]"), ("onnxruntime", "its drop [95 %]")):
        if who in found:
            cells[who] = _value(name, found[who].value)
            cells[column] = _drop(name, found[who])
    if limit is not None and "qconvert" in found:
        factor = 100 if name in _POINTS else 1
        cells["goal: drop"] = held(found["qconvert"].drop * factor, limit * factor, at_least=False)
        if name in _POINTS and found["qconvert"].low > _CONTAINED:
            cells["goal: drop"] += "; interval MISSED"
    return cells


def _value(name: str, value: float) -> str:
    return f"{value * 100:.2f}" if name in _POINTS else f"{value:.4f}"


def _drop(name: str, figure: Figure) -> str:
    factor, digits = (100, 2) if name in _POINTS else (1, 4)
    low, drop, high = (x * factor for x in (figure.low, figure.drop, figure.high))
    return f"{drop:+.{digits}f} [{low:+.{digits}f}, {high:+.{digits}f}]"


def _model_cells(case: Case, files: dict[str, Made], found: dict[str, Comparisons], times: Timings) -> dict[str, str]:
    def each(what: dict[str, str]) -> str:
        return " / ".join(what.get(who, "-") for who in ("qconvert", "onnxruntime"))

    cells = {
        "kB FP32 / q / ort": f"{_kb(case.model)} / {each({w: _kb(m.path) for w, m in files.items()})}",
        "integer MACs q / ort": each({w: _percent(m.integer_macs) for w, m in files.items()}),
        "seconds q / ort": each({w: f"{m.seconds:.1f}" for w, m in files.items()}),
    }
    for who, sqnr, speed in (("qconvert", "SQNR dB", "speed-up"), ("onnxruntime", "its SQNR", "its speed-up")):
        if who in files:
            cells[sqnr] = f"{found[who].sqnr_db:.1f}"
            cells[speed] = f"{times.ratio('FP32', who)[1]:.2f}"
    if "qconvert" in files:
        if case.goal.integer_macs is not None:
            share = files["qconvert"].integer_macs or 0.0
            cells["integer MACs q / ort"] += f" ({held(share * 100, case.goal.integer_macs * 100)})"
        cells["goal: SQNR"] = _sqnr_goal(found["qconvert"].sqnr_db, case.goal)
        cells["speed-up"] += (
            f" ({held(times.ratio('FP32', 'qconvert')[1], case.goal.speedup)})" if case.goal.speedup else ""
        )
    return cells


def _sqnr_goal(value: float, goal: Goal) -> str:
    rival = f"; best rival {goal.rival_db:g}" if goal.rival_db else ""
    return held(value, goal.sqnr_db) + rival


def _kb(path: Path) -> str:
    return f"{path.stat().st_size / 1000:.0f}"


def _percent(share: float | None) -> str:
    return "?" if share is None else f"{share:.1%}"


def _data(
    case: Case, name: str, files: dict[str, Made], found: dict[str, Comparisons], times: Timings
) -> dict[str, Any]:
    data: dict[str, Any] = {"model": case.name, "metric": name, "float_bytes": case.model.stat().st_size}
    for who, made in files.items():
        figure = next(f for f in found[who].figures if f.name == name)
        low, ratio, high = times.ratio("FP32", who)
        data[who] = {
            **asdict(figure),
            "sqnr_db": found[who].sqnr_db,
            "speedup": ratio,
            "speedup_quartiles": [low, high],
            "ms": times.median(who) * 1e3,
            "bytes": made.path.stat().st_size,
            "integer_macs": made.integer_macs,
            "seconds": made.seconds,
        }
    return {**data, "float_ms": times.median("FP32") * 1e3, "goal": asdict(case.goal)}
