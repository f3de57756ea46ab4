"""The trade-off between accuracy, latency and size that a search found: for a terminal, and as a page with a picture."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil, floor, isfinite, log10

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from ..tune.model import Trial, TuneResult
from .charts import Tick, at
from .page import page
from .rows import EXACT_DB
from .words import decibel, number, size

COLUMNS = ("", "tried", "drop", "SQNR", "predicted", "measured", "size", "integer MACs")


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
    yield _changes(found)
    for limit in winner.limits:
        yield Text(f"what limits it: {limit}", style="red")
    if found.ended:
        yield Text(f"why it ended: {found.ended}")
    for warning in found.warnings:
        yield Text(f"warning: {warning}", style="yellow")
    if found.outputs:
        yield Text(f"wrote {', '.join(found.outputs)}")


def _table(found: TuneResult) -> Table:
    table = Table(
        *COLUMNS,
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


def _changes(found: TuneResult) -> Text:
    """What the best recipe changes; the first that was tried is the one that was given."""
    winner = found.trials[found.winner]
    if not winner.steps:
        return Text(_unchanged(found))
    text = Text("changed, and why", style="bold")
    for step in winner.steps:
        text.append(f"\n  {step}\n    {step.reason}", "default")
    return text


def _unchanged(found: TuneResult) -> str:
    winner = found.trials[found.winner]
    if found.winner and not winner.steps:
        return f"changed: {winner.name}"
    return "nothing had to be changed" if winner.met else "no change is part of the best recipe"


# --- page --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Dot:
    """One recipe in the picture: place in percent from the left and the top, width in pixels by the size of its file."""

    x: str
    y: str
    width: str
    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class Picture:
    """The recipes by what decided: better is up and to the right.

    Attributes:
        columns, rows: ticks of both axes; across, up: what these show.
        front: path through the Pareto set; right, top: places of the goals, "" where none is asked or seen.
    """

    dots: tuple[Dot, ...]
    columns: tuple[Tick, ...]
    rows: tuple[Tick, ...]
    across: str
    up: str
    front: str
    right: str
    top: str


def pareto_page(found: TuneResult) -> str:
    """One self-contained page: the picture, the table behind it, what was changed and why, and every decision."""
    rows = tuple((_mark(i, found), trial.name, *_figures(trial)) for i, trial in enumerate(found.trials))
    winner = found.trials[found.winner]
    changes = tuple((str(step), step.reason) for step in winner.steps)
    texts = {"rows": rows, "columns": COLUMNS, "changes": changes, "winner": winner, "same": _unchanged(found)}
    return page("tune.html", found=found, picture=picture(found), title=found.model, **texts)


def _mark(i: int, found: TuneResult) -> str:
    return " ".join(word for word, holds in (("winner", i == found.winner), ("Pareto", i in found.pareto)) if holds)


def picture(found: TuneResult) -> Picture:
    """The picture of a search."""
    across, xs, right = _across(found)
    up, ys, top = _up(found)
    x, y = Axis.over((*xs, *right), across == _SIZE), Axis.over((*ys, *top), up != _SQNR)
    largest = max(t.outcome.bytes for t in found.trials) or 1
    widths = [8 + 10 * (t.outcome.bytes / largest) ** 0.5 for t in found.trials]
    dots = tuple(
        Dot(
            x.place(a),
            y.place(b, up=True),
            f"{w:.1f}",
            _kind(i, found),
            f"{t.name}\n{', '.join(filter(None, _figures(t)))}",
        )
        for i, (a, b, w, t) in enumerate(zip(xs, ys, widths, found.trials, strict=True))
    )
    front = sorted((xs[i], ys[i]) for i in found.pareto)
    path = "M" + " L".join(f"{x.place(a)} {y.place(b, up=True)}" for a, b in front) if len(front) > 1 else ""
    ends = (x.place(right[0]) if right else "", y.place(top[0], up=True) if top else "")
    return Picture(dots, x.ticks(), y.ticks(up=True), across, up, path, *ends)


_SIZE = "size of the file in KiB"
_SQNR = "output SQNR in dB"


def _across(found: TuneResult) -> tuple[str, list[float], list[float]]:
    """What decides beside accuracy: measured speed where it is a goal, else what is predicted, else size."""
    goal = found.min_speedup
    name = "speed, times FP32, " + ("predicted" if goal is None else "measured")
    speeds = [t.outcome.speedup if goal is None else t.outcome.measured_speedup for t in found.trials]
    told = [float(v) for v in speeds if v is not None]
    if len(told) == len(speeds):
        return name, told, [] if goal is None else [float(goal)]
    return _SIZE, [t.outcome.bytes / 1024 for t in found.trials], []


def _up(found: TuneResult) -> tuple[str, list[float], list[float]]:
    """The accuracy that is asked for; of two goals the drop, unless the first recipe misses only the other one."""
    drops = [float(t.outcome.drop) for t in found.trials if t.outcome.drop is not None]
    goal = None if found.max_drop is None else float(found.max_drop)
    if goal is not None and len(drops) == len(found.trials) and (found.min_sqnr is None or drops[0] > goal):
        return f"drop of {found.metric}", drops, [goal]
    values = [float(t.outcome.sqnr_db) for t in found.trials]
    told = [v for v in values if isfinite(v)]
    exact = max(told, default=EXACT_DB) + 10  # stands above all others
    return _SQNR, [v if isfinite(v) else exact for v in values], _seen(found.min_sqnr, told)


def _seen(goal: float | None, values: Sequence[float]) -> list[float]:
    """A goal that is not so far from all values that these would become one point."""
    if goal is None or not values:
        return []
    span = max(values) - min(values) or 10.0
    return [float(goal)] if min(values) - span <= goal <= max(values) + span else []


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis with round steps; `turned` where less is better."""

    low: float
    high: float
    step: float
    turned: bool

    @staticmethod
    def over(values: Iterable[float], turned: bool) -> Axis:
        """The axis that shows all of the values."""
        found = sorted(values)
        span = found[-1] - found[0] or abs(found[0]) * 0.1 or 1.0
        step = next(s for s in _steps(span) if span / s <= _TICKS)
        return Axis(floor(found[0] / step - 0.2) * step, ceil(found[-1] / step + 0.2) * step, step, turned)

    def place(self, value: float, up: bool = False) -> str:
        """Percent from the left, or from the top."""
        share = 100 * (value - self.low) / (self.high - self.low)
        return at(100 - share if self.turned != up else share)

    def ticks(self, up: bool = False) -> tuple[Tick, ...]:
        """The round values."""
        values = (self.low + n * self.step for n in range(round((self.high - self.low) / self.step) + 1))
        return tuple(Tick(self.place(v, up), f"{0.0 if abs(v) < self.step / 2 else v:.4g}") for v in values)


_TICKS = 6


def _steps(span: float) -> Iterator[float]:
    """1, 2, 5, 10, ... around a sixth of the span."""
    base = 10.0 ** floor(log10(span / _TICKS))
    yield from (base * factor for factor in (1, 2, 5, 10, 20))


def _kind(i: int, found: TuneResult) -> str:
    return "low" if i == found.winner else "" if i in found.pareto else "beaten"
