"""The trade-off between accuracy, latency and size that a search found: for a terminal, and as a page with a picture."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape as html
from math import isfinite

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from ..tune.model import Trial, TuneResult
from .words import decibel, number, size

_WIDTH, _HEIGHT, _LEFT, _TOP = 720, 380, 70, 30


def tune_text(found: TuneResult) -> RenderableType:
    """The whole search for a terminal."""
    return Group(*_parts(found))


def _parts(found: TuneResult) -> Iterator[RenderableType]:
    winner = found.trials[found.winner]
    head = Text(
        f"{found.target}: {'goals met' if found.reached else 'goals not met'}",
        style="bold green" if found.reached else "bold red",
    )
    yield head.append(f"  {'; '.join(found.goals)}", "default")
    yield _table(found)
    yield _changes(winner, found.winner)
    for limit in winner.limits:
        yield Text(f"what limits it: {limit}", style="red")
    if found.ended:
        yield Text(f"why it ended: {found.ended}")
    if found.outputs:
        yield Text(f"wrote {', '.join(found.outputs)}")


def _table(found: TuneResult) -> Table:
    table = Table(
        "",
        "tried",
        "drop",
        "SQNR",
        "predicted",
        "measured",
        "size",
        "integer MACs",
        title="recipes that were tried; * is on the Pareto front, > is the winner",
        title_justify="left",
        title_style="bold",
    )
    for i, trial in enumerate(found.trials):
        mark = (">" if i == found.winner else "") + ("*" if i in found.pareto else "")
        table.add_row(mark, escape(trial.name), *_figures(trial))
    return table


def _figures(trial: Trial) -> tuple[str, ...]:
    x = trial.outcome
    return (
        "" if x.drop is None else number(x.drop),
        decibel(x.sqnr_db),
        "" if x.speedup is None else f"{x.speedup:.2f}x",
        "" if x.measured_speedup is None else f"{x.measured_speedup:.2f}x",
        size(x.bytes),
        f"{x.integer_share:.1%}",
    )


def _changes(winner: Trial, index: int) -> Text:
    """What the best recipe changes; the first that was tried is the one that was given."""
    if not winner.steps and index:
        return Text(f"changed: {winner.name}")
    if not winner.steps:
        return Text("nothing had to be changed" if winner.met else "no change is part of the best recipe")
    text = Text("changed, and why", style="bold")
    for step in winner.steps:
        why = f"the error at `{step.about}` limits the output to {decibel(step.before_db)}; without it {decibel(step.after_db)} are predicted, for {step.us:+.1f} us"
        text.append(f"\n  {step}\n    {why}", "default")
    return text


# --- page --------------------------------------------------------------------------------------------------------------


def pareto_page(found: TuneResult) -> str:
    """One self-contained page: the picture, and the table behind it."""
    title = f"{html(found.model)} for {html(found.target)}"
    rows = "".join(_row(i, trial, found) for i, trial in enumerate(found.trials))
    style = "body{font:15px system-ui,sans-serif;max-width:960px;margin:2em auto;padding:0 1em}table{border-collapse:collapse}td,th{padding:.3em .7em;border-bottom:1px solid #ccc;text-align:left}svg text{font:12px system-ui,sans-serif}"
    log = "".join(f"<li>{html(line)}</li>" for line in found.log)
    head = "<tr><th></th><th>tried</th><th>drop</th><th>SQNR</th><th>predicted</th><th>measured</th><th>size</th><th>integer MACs</th></tr>"
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{style}</style>'
        f"<h1>{title}</h1><p>{html('; '.join(found.goals))}: <b>{'met' if found.reached else 'not met'}</b></p>"
        f"{pareto_svg(found)}<table>{head}{rows}</table><h2>Log</h2><ol>{log}</ol></html>\n"
    )


def _row(i: int, trial: Trial, found: TuneResult) -> str:
    mark = ("winner " if i == found.winner else "") + ("Pareto" if i in found.pareto else "")
    cells = "".join(f"<td>{html(cell)}</td>" for cell in (mark, trial.name, *_figures(trial)))
    return f"<tr>{cells}</tr>"


def pareto_svg(found: TuneResult) -> str:
    """Accuracy over speed, the size of the file as the area of the dot."""
    points = [(_speed(t), float(t.outcome.sqnr_db), t) for t in found.trials]
    drawn = [(x, y if isfinite(y) else 100.0, t) for x, y, t in points]
    xs, ys = Scale([p[0] for p in drawn], _LEFT, _WIDTH - 20), Scale([p[1] for p in drawn], _HEIGHT - 50, _TOP)
    largest = max(t.outcome.bytes for _, _, t in drawn) or 1
    dots = "".join(
        _dot(i, xs(x), ys(y), 4 + 8 * (t.outcome.bytes / largest) ** 0.5, t, found) for i, (x, y, t) in enumerate(drawn)
    )
    front = sorted((xs(drawn[i][0]), ys(drawn[i][1])) for i in found.pareto)
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in front)
    ticks = "".join(_tick(drawn[i][0], drawn[i][1], xs, ys) for i in found.pareto)
    axes = f'<path d="M{_LEFT} {_TOP}V{_HEIGHT - 40}H{_WIDTH - 10}" fill="none" stroke="#888"/>'
    names = f'<text x="{_WIDTH // 2}" y="{_HEIGHT - 6}" text-anchor="middle">speed, times FP32</text><text x="14" y="{_HEIGHT // 2}" transform="rotate(-90 14 {_HEIGHT // 2})" text-anchor="middle">output SQNR, dB</text>'
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" role="img" aria-label="accuracy over speed">{axes}{names}{ticks}<polyline points="{line}" fill="none" stroke="#1769aa" stroke-dasharray="4 3"/>{dots}</svg>'


def _speed(trial: Trial) -> float:
    found = trial.outcome.measured_speedup or trial.outcome.speedup
    return float(found) if found is not None else 1.0


class Scale:
    """A linear map from the values' range to pixels."""

    def __init__(self, values: list[float], start: float, end: float) -> None:
        low, high = min(values), max(values)
        margin = (high - low) * 0.08 or max(abs(low) * 0.1, 0.1)
        self._low, self._span, self._start, self._end = low - margin, high - low + 2 * margin, start, end

    def __call__(self, value: float) -> float:
        """The pixel of a value."""
        return self._start + (value - self._low) / self._span * (self._end - self._start)


def _dot(i: int, x: float, y: float, radius: float, trial: Trial, found: TuneResult) -> str:
    colour = "#c62828" if i == found.winner else "#1769aa" if i in found.pareto else "#b0b0b0"
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="{colour}" fill-opacity=".8"><title>{html(trial.name)}: {html(", ".join(f for f in _figures(trial) if f))}</title></circle>'


def _tick(x: float, y: float, xs: Scale, ys: Scale) -> str:
    return f'<text x="{xs(x):.1f}" y="{_HEIGHT - 24}" text-anchor="middle">{x:.2f}</text><text x="{_LEFT - 6}" y="{ys(y) + 4:.1f}" text-anchor="end">{y:.1f}</text>'
