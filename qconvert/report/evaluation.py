"""What `evaluate` found: models side by side on the same data, as a value and in every format."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Mapping
from io import StringIO
from pathlib import PurePath
from typing import Final, Literal

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from ..evaluate.model import Emulation, Examples, Fidelity, GateResult, Latency, Metric, Value
from .markdown import code as md_code
from .markdown import table as md_table
from .markdown import text as md_text
from .page import page
from .record import Problem
from .rows import emulation_row
from .words import (
    SHARES,
    cell,
    clean,
    count,
    decibel,
    duration,
    interval_of,
    metric_drop,
    metric_value,
    percent,
    ratio,
    size,
)

EVALUATION_VERSION: Final = 1


class EvaluatedModel(Value):
    """One of the models.

    Attributes:
        name: the path as it was given.
        runtime: what computed its values; timed_in: what its times are of.
        metrics: its `value` beside that of the reference (`float_value`).
        fidelity: against the reference; None for the reference itself and without data.
        latency: against the reference (`float_ms`); None where it was not timed, `untimed` says why.
    """

    name: str
    runtime: str
    bytes: int
    fidelity: Fidelity | None = None
    metrics: tuple[Metric, ...] = ()
    latency: Latency | None = None
    timed_in: str = ""
    untimed: str = ""
    examples: Examples | None = None
    emulated: tuple[Emulation, ...] = ()


class EvaluationData(Value):
    """The samples: folder, how many, and a digest of their content and preprocessing."""

    folder: str
    samples: int
    labelled: bool
    digest: str


class Evaluation(Value):
    """Models side by side; `reference` is the number of the one that the others are compared with."""

    schema_version: Literal[1] = EVALUATION_VERSION
    tool_version: str
    status: Literal["done", "gates failed"]
    reference: int
    models: tuple[EvaluatedModel, ...]
    data: EvaluationData | None
    gates: tuple[GateResult, ...] = ()
    diagnostics: tuple[Problem, ...] = ()
    host: str = ""

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Metrics that any of the models has."""
        return tuple(dict.fromkeys(m.name for model in self.models for m in model.metrics))


def labels(found: Evaluation) -> tuple[str, ...]:
    """Short names that tell the models apart: as much of the end of each path as is needed."""
    return short_names([model.name for model in found.models])


def short_names(paths: list[str]) -> tuple[str, ...]:
    """The ends of some paths, as long as it takes for them to differ; equal paths are numbered."""
    parts = [PurePath(path).parts or (path,) for path in paths]
    longest = max((len(p) for p in parts), default=1)
    names: list[str] = []
    for length in range(1, longest + 1):
        names = ["/".join(p[-length:]) for p in parts]
        if len(set(names)) == len(set(paths)):
            break
    repeated = {name for name in names if names.count(name) > 1}
    return tuple(f"{name} ({n})" if name in repeated else name for n, name in enumerate(names, 1))


def rows(found: Evaluation) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Heading and a row for each model, in words; columns that nothing is known of are left out."""
    names = found.metric_names
    head = ("model", *names, *(["drop"] if names else []), "SQNR", "same top-1", "size", "time", "speed", "runs in")
    table = [_row(found, n, names, label) for n, label in enumerate(labels(found))]
    kept = [n for n in range(len(head)) if n == 0 or any(row[n] for row in table)]
    return tuple(head[n] for n in kept), [tuple(row[n] for n in kept) for row in table]


def _row(found: Evaluation, number: int, names: tuple[str, ...], label: str) -> tuple[str, ...]:
    model, itself = found.models[number], number == found.reference
    metrics = {m.name: m for m in model.metrics}
    values = tuple(metric_value(n, metrics[n].value) if n in metrics else "" for n in names)
    drop = (_drop(metrics.get(names[0]), itself),) if names else ()
    close, latency = model.fidelity, model.latency
    same = percent(close.agreement) if close and close.agreement is not None else ""
    speed = "" if latency is None else "reference" if itself else ratio(latency.ratio)
    return (
        label,
        *values,
        *drop,
        decibel(close.sqnr_db) if close else "reference" if itself and found.data else "",
        same,
        size(model.bytes),
        duration(latency.ms * 1000) if latency else "",
        speed,
        model.runtime,
    )


def _drop(metric: Metric | None, itself: bool) -> str:
    if metric is None or itself:
        return ""
    interval = f" ({interval_of(metric.interval, metric.name in SHARES)})" if metric.interval else ""
    return metric_drop(metric) + interval


def headline(found: Evaluation) -> str:
    """What was done, in one line."""
    what = count(len(found.models), "model")
    if found.data is None:
        return f"{what}, without data: times are those of made-up inputs"
    kind = "labelled" if found.data.labelled else "unlabelled"
    return f"{what} on {count(found.data.samples, f'{kind} sample')}"


def footnotes(found: Evaluation) -> Iterator[str]:
    """Where the data is, how times were taken, and why some were not."""
    if found.data is not None:
        yield f"data: {found.data.folder}"
    timed = next((m.latency for m in found.models if m.latency), None)
    if timed is not None:
        yield f"times: medians of {count(timed.rounds, 'round')}, interleaved, {count(timed.threads, 'thread')}, {timed.clock} time, on {timed.host}"
    for label, model in zip(labels(found), found.models, strict=True):
        if model.timed_in and model.timed_in != model.runtime:
            yield f"{label}: values are those of {model.runtime}, times those of {model.timed_in}"
        if model.untimed:
            yield f"{label} was not timed: {model.untimed}"
        for core, before, after, change in map(emulation_row, model.emulated):
            yield f"{label} on {core}: {f'{before} -> {after}, ' if after else ''}{change}"


def evaluation_text(found: Evaluation) -> RenderableType:
    """For a terminal."""
    head, table_rows = rows(found)
    table = Table(*head, title=escape(headline(found)), title_justify="left", title_style="bold")
    for row in table_rows:
        table.add_row(*map(escape, row))
    notes = [Text(line) for line in footnotes(found)]
    return Group(table, *notes, *gate_lines(found.gates))


def gate_lines(gates: tuple[GateResult, ...]) -> Iterator[Text]:
    """Each condition with its fate."""
    for gate in gates:
        mark = Text("passed  ", "green") if gate.passed else Text("FAILED  ", "bold red")
        yield mark.append(gate.text, "default")


def evaluation_markdown(found: Evaluation) -> str:
    """A table for a summary or a comment."""
    return "\n".join(_markdown(found)) + "\n"


def _markdown(found: Evaluation) -> Iterator[str]:
    yield f"### {'✅' if found.status == 'done' else '❌'} {md_text(headline(found))}"
    yield ""
    head, table_rows = rows(found)
    yield from md_table(tuple(map(md_text, head)), [(md_code(r[0]), *map(md_text, r[1:])) for r in table_rows])
    for gate in found.gates:
        yield f"- {'passed' if gate.passed else '**failed**'}: {md_text(gate.text)}"
    for line in footnotes(found):
        yield f"<sub>{md_text(line)}</sub>"


_COLUMNS = ("model", "reference", "runtime", "bytes", "sqnr_db", "cosine", "agreement", "ms", "p95_ms", "speedup")


def evaluation_csv(found: Evaluation) -> str:
    """A row for each model, in numbers; what was not measured is empty."""
    out = StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow((*_COLUMNS, *(clean(name) for name in found.metric_names)))
    for n, model in enumerate(found.models):
        close, latency = model.fidelity, model.latency
        metrics = {m.name: m.value for m in model.metrics}
        writer.writerow(
            (
                cell(model.name),
                int(n == found.reference),
                cell(model.runtime),
                model.bytes,
                *((close.sqnr_db, close.cosine, close.agreement) if close else (None, None, None)),
                *((latency.ms, latency.p95_ms, latency.ratio) if latency else (None, None, None)),
                *(metrics.get(name) for name in found.metric_names),
            )
        )
    return out.getvalue()


def evaluation_json(found: Evaluation) -> str:
    """Everything."""
    return found.model_dump_json(indent=1) + "\n"


def evaluation_html(found: Evaluation) -> str:
    """One page that opens offline."""
    head, table_rows = rows(found)
    return page("evaluation.html", found=found, labels=labels(found), head=head, rows=table_rows, headline=headline(found), footnotes=tuple(footnotes(found)))  # fmt: skip


EVALUATION_FORMATS: Mapping[str, tuple[str, Callable[[Evaluation], str]]] = {
    "json": (".json", evaluation_json),
    "html": (".html", evaluation_html),
    "md": (".md", evaluation_markdown),
    "csv": (".csv", evaluation_csv),
}
