"""Geometry of the charts, in percent of their width and height; templates draw it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import floor, isfinite, isnan, log10

from ..evaluate.model import Confusion
from .record import CalibrationInfo, Histogram, NodeInfo
from .rows import EXACT_DB, LayerRow
from .words import decibel


@dataclass(frozen=True, slots=True)
class Tick:
    """A line across a chart with its label."""

    at: str
    label: str


@dataclass(frozen=True, slots=True)
class Point:
    """A point of a curve; `low` marks those that a person should look at first."""

    number: int
    x: str
    y: str
    low: bool = False


@dataclass(frozen=True, slots=True)
class Curve:
    """Points in order, joined by a path."""

    points: tuple[Point, ...]
    path: str
    ticks: tuple[Tick, ...]


def at(value: float) -> str:
    """A coordinate: two decimals, never out of the picture."""
    return f"{min(max(value, 0.0), 100.0):.2f}".rstrip("0").rstrip(".") if isfinite(value) else "0"


_WORST = 5
_FAR = 400.0  # dB: more is beyond the precision of any float


def sqnr_curve(rows: Sequence[LayerRow]) -> Curve | None:
    """SQNR through the graph; exact tensors (100 dB and more) stand at the top, NaN is left out. None for less than two points."""
    shown = [(row.number, row.sqnr_db) for row in rows if row.sqnr_db is not None and not isnan(row.sqnr_db)]
    values = [value for _, value in shown if isfinite(value)]
    if len(shown) < 2 or not values:
        return None
    step, low, high = _axis(values)
    worst = {number for number, _ in sorted(shown, key=lambda pair: pair[1])[:_WORST]}
    points = tuple(
        Point(number, at(100 * (n + 0.5) / len(shown)), at(_up(value, low, high)), number in worst)
        for n, (number, value) in enumerate(shown)
    )
    ticks = tuple(Tick(at(_up(t, low, high)), f"{t:g} dB") for t in _between(low, high, step))
    return Curve(points, path_of(points), ticks)


@dataclass(frozen=True, slots=True)
class Named:
    """A point with what is said of it."""

    x: str
    y: str
    label: str
    low: bool


@dataclass(frozen=True, slots=True)
class PairCurves:
    """Two curves over the same tensors; `first` is "" where only the second was measured."""

    first: str
    second: str
    points: tuple[Named, ...]
    ticks: tuple[Tick, ...]


def pair_curves(pairs: Iterable[tuple[str, float | None, float | None]]) -> PairCurves | None:
    """SQNR of both sides through the graph; None for less than two points.

    Args:
        pairs: what is said of a tensor, and its SQNR in dB on either side, None or NaN where there is none.
    """
    shown = [(label, first, second) for label, first, second in pairs if second is not None and not isnan(second)]
    both = [v for _, *sides in shown for v in sides if v is not None and isfinite(v)]
    if len(shown) < 2 or not both:
        return None
    step, low, high = _axis(both)
    places = [at(100 * (n + 0.5) / len(shown)) for n in range(len(shown))]
    worst = sorted(range(len(shown)), key=lambda n: shown[n][2])[:_WORST]
    points = tuple(
        Named(places[n], at(_up(b, low, high)), f"{label} {_db(a)}{_db(b)}", n in worst)
        for n, (label, a, b) in enumerate(shown)
    )
    before = [
        f"{x} {at(_up(a, low, high))}"
        for x, (_, a, _) in zip(places, shown, strict=True)
        if a is not None and not isnan(a)
    ]
    first = "M" + " L".join(before) if len(before) > 1 else ""
    second = "M" + " L".join(f"{p.x} {p.y}" for p in points)
    ticks = tuple(Tick(at(_up(t, low, high)), f"{t:g} dB") for t in _between(low, high, step))
    return PairCurves(first, second, points, ticks)


def _db(value: float | None) -> str:
    return "" if value is None else f" {decibel(value)}"


def _up(value: float, low: float, high: float) -> float:
    """Percent from the top."""
    return 100 * (high - min(max(value, low), high)) / (high - low)


def _axis(values: Sequence[float]) -> tuple[float, float, float]:
    """As `_decades`, for decibels: exact tensors stand at the top and do not stretch the axis for the others."""
    told = [value for value in values if value < EXACT_DB] or values
    return _decades(max(min(told), -_FAR), min(max(told), _FAR))


def _decades(low: float, high: float) -> tuple[float, float, float]:
    """Step and ends of an axis with about five round steps."""
    step = max(10.0, 10.0 ** floor(log10(max(high - low, 1.0))))
    while (high - low) / step > 6:
        step *= 2
    return step, floor(low / step) * step, (floor(high / step) + 1) * step


def _between(low: float, high: float, step: float) -> list[float]:
    return [low + n * step for n in range(round((high - low) / step) + 1)]


def path_of(points: Iterable[Point]) -> str:
    """The path through the points."""
    return "M" + " L".join(f"{p.x} {p.y}" for p in points)


@dataclass(frozen=True, slots=True)
class Loss:
    """A bar: decibels that one tensor loses against what it is computed from."""

    number: int
    x: str
    width: str
    height: str
    low: bool


def losses(rows: Sequence[LayerRow]) -> tuple[Loss, ...]:
    """Bars under the curve, at the same places; gains have none."""
    shown = [row for row in rows if row.sqnr_db is not None and not isnan(row.sqnr_db)]
    top = max((row.lost_db for row in shown if row.lost_db is not None), default=0.0)
    if top <= 0:
        return ()
    worst = sorted((row.lost_db or 0.0 for row in shown), reverse=True)[:3][-1]
    width = 100 / len(shown)
    return tuple(
        Loss(row.number, at(width * (n + 0.15)), at(width * 0.7), at(100 * row.lost_db / top), row.lost_db >= worst)
        for n, row in enumerate(shown)
        if row.lost_db is not None and row.lost_db > 0
    )


@dataclass(frozen=True, slots=True)
class Bars:
    """A histogram: bars inside and outside of the chosen range, and where the range lies in the picture."""

    inside: str
    outside: str
    left: str
    width: str
    low: float
    high: float


def bars(histogram: Histogram) -> Bars:
    """Heights on a logarithmic scale, so that rare values can be seen."""
    ends = [v for v in (histogram.low, histogram.high, histogram.range_low, histogram.range_high) if isfinite(v)]
    low, high = (min(ends), max(ends)) if ends else (0.0, 0.0)
    width = high - low if isfinite(high - low) and high > low else 1.0
    step = (histogram.high - histogram.low) / max(len(histogram.counts), 1)
    top = log10(1 + max((*histogram.counts, 1)))
    cells = []
    for n, count in enumerate(histogram.counts):
        middle = histogram.low + (n + 0.5) * step
        height = 100 * log10(1 + max(count, 0)) / top
        beyond = not histogram.range_low <= middle <= histogram.range_high
        cells.append(
            _Cell(100 * (middle - step / 2 - low) / width, 100 * (middle + step / 2 - low) / width, height, beyond)
        )
    start = 100 * (histogram.range_low - low) / width
    reach = 100 * (histogram.range_high - histogram.range_low) / width
    return Bars(_outline(cells, False), _outline(cells, True), at(start), at(reach), low, high)


@dataclass(frozen=True, slots=True)
class _Cell:
    left: float
    right: float
    height: float
    beyond: bool


def _outline(cells: Sequence[_Cell], beyond: bool) -> str:
    """One path around neighbouring bars, so that no seams show between them."""
    path, open_ = "", False
    for cell in cells:
        wanted = cell.beyond == beyond and cell.height > 0 and isfinite(cell.left)
        if wanted:
            path += ("" if open_ else f"M{at(cell.left)} 100") + f"V{at(100 - cell.height)}H{at(cell.right)}"
        elif open_:
            path += "V100z"
        open_ = wanted
    return path + ("V100z" if open_ else "")


@dataclass(frozen=True, slots=True)
class Run:
    """Neighbouring nodes of one kind, for the strip of the graph."""

    kind: str
    x: str
    width: str
    label: str


_CELLS = {"integer": "integer", "dynamic": "integer", "lookup": "integer", "absorbed": "absorbed"}


def strip(nodes: Sequence[NodeInfo]) -> tuple[Run, ...]:
    """The graph as a strip, neighbours of one kind and reason together; as wide as their predicted FP32 time where that is known."""
    runs: list[list[NodeInfo]] = []
    for node in nodes:
        same = runs and (runs[-1][0].kind, runs[-1][0].reason_code) == (node.kind, node.reason_code)
        runs[-1].append(node) if same else runs.append([node])
    widths = _run_widths(runs, timed(nodes))
    starts = accumulate(widths, initial=0.0)
    return tuple(
        Run(_CELLS.get(run[0].kind, "float"), at(start), at(width), _run_label(run))
        for run, width, start in zip(runs, widths, starts, strict=False)
    )


def timed(nodes: Sequence[NodeInfo]) -> bool:
    """Whether the predicted times say how wide the nodes should be."""
    times = [node.float_us for node in nodes]
    return all(t is not None and isfinite(t) and t >= 0 for t in times) and 0 < sum(t or 0.0 for t in times) < float(
        "inf"
    )


def _run_widths(runs: Sequence[Sequence[NodeInfo]], by_time: bool) -> list[float]:
    sizes = [sum(n.float_us or 0.0 for n in run) if by_time else float(len(run)) for run in runs]
    return [100 * size / sum(sizes) for size in sizes]


def _run_label(run: list[NodeInfo]) -> str:
    first, last = run[0], run[-1]
    names = first.name if len(run) == 1 else f"{len(run)} nodes, {first.name} to {last.name}"
    return f"{names} ({first.op if len(run) == 1 else ', '.join(dict.fromkeys(n.op for n in run))}): {first.kind}" + (
        f", {first.reason}" if first.reason else ""
    )


def convergence_curve(calibration: CalibrationInfo) -> Curve | None:
    """Share of the final ranges over the number of samples, which is on a logarithmic axis."""
    shown = [c for c in calibration.convergence if c.samples > 0 and isfinite(c.share)]
    if len(shown) < 3 or shown[-1].samples <= shown[0].samples:
        return None
    width = log10(shown[-1].samples / shown[0].samples)
    points = tuple(
        Point(c.samples, at(100 * log10(c.samples / shown[0].samples) / width), at(100 * (1 - c.share))) for c in shown
    )
    return Curve(points, path_of(points), tuple(Tick(at(100 - s), f"{s} %") for s in (0, 50, 100)))


@dataclass(frozen=True, slots=True)
class ConfusionCell:
    """Rows of a label with one answer: how many, how many more than FP32 had, and their share of the label in percent."""

    count: int
    change: int
    share: str
    right: bool


@dataclass(frozen=True, slots=True)
class ConfusionRow:
    """The answers to one label."""

    label: int
    cells: tuple[ConfusionCell, ...]


def confusion_cells(table: Confusion) -> tuple[ConfusionRow, ...]:
    """The whole matrix; () where there are too many classes, or where the tables are no matrices."""
    size = len(table.classes)
    if not size or any(
        len(t) != size or any(len(row) != size for row in t) for t in (table.float_counts, table.counts)
    ):
        return ()
    return tuple(
        ConfusionRow(
            label,
            tuple(
                ConfusionCell(n, n - b, share_of(n, max(sum(now), 1)), label == answer)
                for answer, b, n in zip(table.classes, before, now, strict=True)
            ),
        )
        for label, before, now in zip(table.classes, table.float_counts, table.counts, strict=True)
    )


def nice(value: float) -> str:
    """An end of an axis."""
    return f"{value:.3g}" if isfinite(value) else str(value)


def share_of(value: float, whole: float) -> str:
    """Percent of a whole, for the length of a bar."""
    return at(100 * value / whole) if whole > 0 and isfinite(value) and isfinite(whole) else "0"


def whole_of(values: Iterable[float]) -> float:
    """The longest bar."""
    return max((v for v in values if isfinite(v)), default=0.0) or 1.0
