"""The report in fewer than 60 lines of Markdown: for `GITHUB_STEP_SUMMARY` and comments on merge requests."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from math import isfinite
from pathlib import PurePath

from .record import RunRecord
from .rows import emulation_row, layer_rows, node_groups, urgent
from .verdict import Figure, figures, instructions, sentence
from .words import clean, decibel, percent

_ROWS = 6  # of a list; the other formats have them all
_LONGEST = 120


def to_markdown(record: RunRecord) -> str:
    """The verdict, the figures and what needs attention."""
    return "\n".join(_lines(record)) + "\n"


def _lines(record: RunRecord) -> Iterator[str]:
    mark = "✅" if record.status == "done" else "❌"
    yield f"### {mark} {code(PurePath(record.model.path).name)} for {code(record.target)}: {text(record.status)}"
    yield ""
    yield text(sentence(record), 400)
    yield ""
    rows = [_figure(f) for f in figures(record)]
    if record.device is not None:
        rows += [(text(name), "", f"**{text(words)}**", "estimated") for name, words in instructions(record.device)]
    yield from table(("", "FP32", "result", "change"), rows)
    if record.computed:
        yield f"Computed {text(record.computed, 400)}."
        yield ""
    if record.measurements.emulated:
        rows = [tuple(map(text, emulation_row(found))) for found in record.measurements.emulated]
        yield from table(("emulated core", "FP32", "result", ""), rows)
    yield from _gates(record)
    yield from _problems(record)
    yield from _layers(record)
    yield from _placement(record)
    yield f"<sub>qconvert {text(record.tool_version)}{_host(record)}</sub>"


def _figure(figure: Figure) -> tuple[str, ...]:
    return (
        text(figure.title),
        text(figure.before),
        f"**{text(figure.value)}**" if figure.value else "not measured",
        text(figure.change),
    )


def _gates(record: RunRecord) -> Iterator[str]:
    if record.gates:
        yield from table(
            ("gate", "", ""),
            [
                (code(g.name), "passed" if g.passed else "**failed**", text(g.text))
                for g in sorted(record.gates, key=lambda g: g.passed)[: 2 * _ROWS]
            ],
        )


def _problems(record: RunRecord) -> Iterator[str]:
    found = urgent(record)
    for problem in found[:_ROWS]:
        where = f" {code(problem.where)}:" if problem.where else ""
        hint = f" *hint:* {text(problem.hint)}" if problem.hint else ""
        yield f"- **{problem.severity} {text(problem.code)}**{where} {text(problem.message)}{hint}"
    if len(found) > _ROWS:
        yield f"- and {len(found) - _ROWS} more"
    if found:
        yield ""


def _layers(record: RunRecord) -> Iterator[str]:
    rows = [r for r in layer_rows(record) if r.sqnr_db is not None and isfinite(r.sqnr_db)]
    worst = sorted(rows, key=lambda row: row.sqnr_db or 0.0)[:_ROWS]
    if worst:
        yield from _folded(
            "Tensors furthest from FP32",
            ("tensor", "by", "SQNR"),
            [(code(r.tensor), text(r.op), decibel(r.sqnr_db or 0.0)) for r in worst],
        )


def _placement(record: RunRecord) -> Iterator[str]:
    share = record.readback.integer_macs if record.readback else record.plan.integer_share
    groups = [
        (str(g.count), text(g.kind), text(g.reason or ", ".join(g.ops[:4]))) for g in node_groups(record.plan)[:_ROWS]
    ]
    if groups:
        yield from _folded(
            f"{percent(share)} of the multiply-accumulates in integer kernels", ("nodes", "become", "why"), groups
        )


def _folded(title: str, head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    yield f"<details><summary>{text(title)}</summary>"
    yield ""
    yield from table(head, rows)
    yield "</details>"
    yield ""


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Iterator[str]:
    """Lines of a table, with an empty one behind it."""
    yield f"| {' | '.join(head)} |"
    yield f"|{' --- |' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""


def _host(record: RunRecord) -> str:
    return f", {text(record.host)}" if record.host else ""


_SPECIAL = re.compile(r"([\\`*_\[\]|~#$])")
_LIVE = re.compile(r"@|:(?=//)|(?<=www)\.")  # what becomes a mention or a link


def text(value: str, longest: int = _LONGEST) -> str:
    """Any text as one line of Markdown that shows as itself: no markup, no mention, no link."""
    flat = _flat(value, longest).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _LIVE.sub("\\g<0>\u200b", _SPECIAL.sub(r"\\\1", flat))


def code(value: str) -> str:
    """A name as code, also inside of tables."""
    flat = _flat(value, _LONGEST).replace("`", "'").replace("|", "\\|").strip()
    return f"`{flat}`" if flat else "` `"


def _flat(value: str, longest: int) -> str:
    flat = " ".join(clean(value).split())
    return flat if len(flat) <= longest else flat[: longest - 1] + "…"
