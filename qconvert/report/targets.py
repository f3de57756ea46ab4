"""One model for several targets: what became of each, side by side, as a value and in every format."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import PurePath
from typing import Final, Literal

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from ..evaluate.model import GateResult, Measurements, Number, Value
from ..verify.model import Device
from .evaluation import gate_lines
from .markdown import code as md_code
from .markdown import table as md_table
from .markdown import text as md_text
from .message import message_text
from .page import page
from .record import OutputInfo, Problem, RunRecord
from .rows import urgent
from .words import count, decibel, duration, metric_drop, metric_value, percent, ratio, size

TARGETS_VERSION: Final = 1


class TargetRun(Value):
    """What became of one target.

    Attributes:
        status: "failed" where an error ended the run; `problems` then holds it.
        data: how its statistics came about, in words.
        predicted: speed-up by the target's cost model, where it was not measured.
        report: path of its own report, "" where there is none.
        page: path of its HTML report, relative to the combined one, "" where there is none.
    """

    target: str
    status: Literal["done", "gates failed", "failed"]
    exit_code: int
    format: str = ""
    data: str = ""
    measurements: Measurements = Measurements()
    integer_share: Number | None = None
    predicted: Number | None = None
    device: Device | None = None
    gates: tuple[GateResult, ...] = ()
    problems: tuple[Problem, ...] = ()
    outputs: tuple[OutputInfo, ...] = ()
    report: str = ""
    page: str = ""
    seconds: Number = 0.0


class TargetsRecord(Value):
    """One run for several targets; the exit code is the highest of theirs."""

    schema_version: Literal[1] = TARGETS_VERSION
    tool_version: str
    model: str
    status: Literal["done", "gates failed", "failed"]
    exit_code: int
    targets: tuple[TargetRun, ...]
    host: str = ""


def target_run(record: RunRecord, data: str, report: str, exit_code: int) -> TargetRun:
    """A run's record as a column."""
    share = record.readback.integer_macs if record.readback else record.plan.integer_share
    return TargetRun(
        target=record.target,
        status=record.status,
        exit_code=exit_code,
        format=record.plan.format,
        data=data,
        measurements=record.measurements.model_copy(update={"layers": (), "profile": None, "examples": None}),
        integer_share=share,
        predicted=record.plan.speedup if record.measurements.latency is None else None,
        device=record.device,
        gates=record.gates,
        problems=urgent(record),
        outputs=record.outputs,
        report=report,
        seconds=sum(stage.seconds for stage in record.stages),
    )


# --- rows ----------------------------------------------------------------------------------------------------------------


def rows(found: TargetsRecord) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Heading with the targets, and a row for each figure that any of them has."""
    columns = [_column(run) for run in found.targets]
    names = list(dict.fromkeys(name for column in columns for name in column))
    order = sorted(names, key=lambda name: _LAST.index(name) if name in _LAST else -1)
    table = [(name, *(column.get(name, "") for column in columns)) for name in order]
    return ("", *(run.target for run in found.targets)), [row for row in table if any(row[1:])]


_LAST = (
    "output SQNR",
    "same top-1",
    "size",
    "speed",
    "integer MACs",
    "arena",
    "gates",
    "data",
    "time taken",
    "file",
    "report",
)


def _column(run: TargetRun) -> dict[str, str]:
    measured, close = run.measurements, run.measurements.fidelity
    agreement = close.agreement if close else None
    return {
        "status": run.status,
        **{m.name: f"{metric_value(m.name, m.value)} ({_change(metric_drop(m), m.drop)})" for m in measured.metrics},
        "output SQNR": decibel(close.sqnr_db) if close else "",
        "same top-1": percent(agreement) if agreement is not None else "",
        "size": f"{size(measured.size.bytes)} ({ratio(measured.size.ratio)} smaller)" if measured.size else "",
        "speed": _speed(run),
        "integer MACs": percent(run.integer_share) if run.integer_share is not None else "",
        "arena": size(run.device.recommended) if run.device else "",
        "gates": _gates(run.gates),
        "data": run.data,
        "time taken": duration(run.seconds * 1e6) if run.seconds else "",
        "file": run.outputs[0].path if run.outputs else "",
        "report": run.report,
    }


def _change(words: str, drop: float) -> str:
    return "as FP32" if drop == 0 else f"drop {words}"


def _speed(run: TargetRun) -> str:
    latency = run.measurements.latency
    if latency is not None:
        return f"{ratio(latency.ratio)} FP32" + ("" if latency.on_target else ", not on the target")
    return f"{ratio(run.predicted)} FP32 predicted" if run.predicted is not None else ""


def _gates(gates: tuple[GateResult, ...]) -> str:
    failed = [gate.name for gate in gates if not gate.passed]
    if not gates:
        return ""
    return f"failed: {', '.join(failed)}" if failed else f"{len(gates)} passed"


def headline(found: TargetsRecord) -> str:
    """What was done, in one line."""
    good = sum(run.status == "done" for run in found.targets)
    return f"{PurePath(found.model).name} for {count(len(found.targets), 'target')}: {good} done" + (
        "" if good == len(found.targets) else f", {len(found.targets) - good} not"
    )


# --- formats -------------------------------------------------------------------------------------------------------------


def targets_text(found: TargetsRecord) -> RenderableType:
    """For a terminal."""
    head, table_rows = rows(found)
    table = Table(*head, title=escape(headline(found)), title_justify="left", title_style="bold")
    for row in table_rows:
        table.add_row(*map(escape, row))
    return Group(table, *_told(found))


def _told(found: TargetsRecord) -> Iterator[Text]:
    for run in found.targets:
        for line in (*gate_lines(run.gates), *(_problem(p) for p in run.problems)):
            yield Text(f"{run.target}: ", "bold").append_text(line)


def _problem(problem: Problem) -> Text:
    return message_text(problem.code, problem.severity, problem.message, problem.where, problem.hint)


def targets_markdown(found: TargetsRecord) -> str:
    """A table for a summary or a comment."""
    return "\n".join(_markdown(found)) + "\n"


_MOST_LINES = 24


def _markdown(found: TargetsRecord) -> Iterator[str]:
    yield f"### {'✅' if found.status == 'done' else '❌'} {md_text(headline(found))}"
    yield ""
    head, table_rows = rows(found)
    yield from md_table(tuple(md_code(h) if h else "" for h in head), [tuple(map(md_text, row)) for row in table_rows])
    lines = [
        *(
            f"- {md_code(run.target)} gate {md_code(gate.name)} **failed**: {md_text(gate.text)}"
            for run in found.targets
            for gate in run.gates
            if not gate.passed
        ),
        *(
            f"- {md_code(run.target)} **{p.severity} {md_text(p.code)}** {md_text(p.message)}"
            for run in found.targets
            for p in run.problems
        ),
    ]
    yield from lines[:_MOST_LINES]
    if len(lines) > _MOST_LINES:
        yield f"- and {len(lines) - _MOST_LINES} more"
    yield f"<sub>qconvert {md_text(found.tool_version)}, {md_text(found.host)}</sub>"


def targets_json(found: TargetsRecord) -> str:
    """Everything."""
    return found.model_dump_json(indent=1) + "\n"


def targets_html(found: TargetsRecord) -> str:
    """One page that opens offline."""
    head, table_rows = rows(found)
    return page("targets.html", found=found, head=head, rows=table_rows, headline=headline(found))


TARGETS_FORMATS: Mapping[str, tuple[str, Callable[[TargetsRecord], str]]] = {
    "json": (".json", targets_json),
    "html": (".html", targets_html),
    "md": (".md", targets_markdown),
}
