"""What `compare` found: two models or two run records beside each other, as a value and in every format."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import isfinite
from typing import Final, Literal

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from ..evaluate.model import GateResult, Number, Value
from .charts import PairCurves, pair_curves
from .evaluation import EvaluationData, gate_lines, short_names
from .markdown import code as md_code
from .markdown import table as md_table
from .markdown import text as md_text
from .page import page
from .record import Problem
from .words import count, decibel, duration, percent, ratio, size

COMPARISON_VERSION: Final = 1
_SHOWN = 8  # rows of long lists on a terminal; JSON and HTML have more


class Side(Value):
    """One of the two.

    Attributes:
        name: the path as it was given.
        what: "FP32 model", "quantized model", ".tflite file" or "run record".
        integer, float_: nodes that run in integers and those that do not; None where that is not known.
    """

    name: str
    what: str
    bytes: int
    nodes: int
    integer: int | None
    float_: int | None
    quantized_tensors: int


class FigurePair(Value):
    """A figure of both; None where one of them was not measured.

    Attributes:
        kind: "metric" for a task metric, which has the name that the metric has.
        unit: "metric", "share", "db", "bytes", "ms", "times" or "number".
        change: of the second against the first, in words.
    """

    name: str
    unit: str
    a: Number | None
    b: Number | None
    change: str = ""
    kind: Literal["metric", "figure"] = "figure"


class NodeChange(Value):
    """A node that runs otherwise, or that only one side has ("" on the other)."""

    node: str
    op: str
    a: str
    b: str
    why: str = ""


class Codes(Value):
    """How a tensor is stored: the type of its codes, scale and zero point (the first of several scales)."""

    format: str
    scale: Number | None = None
    zero_point: int | None = None
    scales: int = 1


class TensorChange(Value):
    """A tensor whose codes differ; None on the side where it is float or absent."""

    tensor: str
    a: Codes | None
    b: Codes | None


class WeightChange(Value):
    """A weight that is stored otherwise or whose values differ; sqnr_db: of the second's values against the first's."""

    weight: str
    a: str
    b: str
    sqnr_db: Number | None = None


class LayerPair(Value):
    """Error of a tensor: a: of the first against FP32 (records); b: of the second, against FP32 (records) or the first (models).

    Attributes:
        rescaled: its channels are scaled otherwise; b is what is left with the factor of each channel taken out.
    """

    tensor: str
    op: str
    a: Number | None
    b: Number | None
    rescaled: bool = False


class Setting(Value):
    """A key of the recipe, or a version, that differs."""

    key: str
    a: str
    b: str


class Comparison(Value):
    """Everything that differs between two models or two runs, and the figures of both."""

    schema_version: Literal[1] = COMPARISON_VERSION
    tool_version: str
    status: Literal["done", "gates failed"]
    a: Side
    b: Side
    data: EvaluationData | None = None
    figures: tuple[FigurePair, ...] = ()
    nodes: tuple[NodeChange, ...] = ()
    same_nodes: int = 0
    tensors: tuple[TensorChange, ...] = ()
    same_tensors: int = 0
    weights: tuple[WeightChange, ...] = ()
    same_weights: int = 0
    layers: tuple[LayerPair, ...] = ()
    settings: tuple[Setting, ...] = ()
    gates: tuple[GateResult, ...] = ()
    diagnostics: tuple[Problem, ...] = ()

    @property
    def moved(self) -> tuple[NodeChange, ...]:
        """Nodes of both sides that run otherwise."""
        return tuple(n for n in self.nodes if n.a and n.b)

    @property
    def alone(self) -> tuple[NodeChange, ...]:
        """Nodes of one side only."""
        return tuple(n for n in self.nodes if not (n.a and n.b))


_WORDS = {
    "sqnr": "output SQNR",
    "cosine": "output cosine",
    "agreement": "same top-1",
    "size": "size",
    "latency": "time of a run",
    "speedup": "speed",
    "int8_macs": "MACs in integers",
    "arena": "arena to reserve",
}


def figure_rows(found: Comparison) -> list[tuple[str, str, str, str]]:
    """Name, both values and the change, in words; what another row says already is left out."""
    pairs = [f for f in found.figures if f.name not in ("metric_drop", "speedup")]
    return [(_WORDS.get(f.name, f.name), shown(f.a, f.unit), shown(f.b, f.unit), f.change) for f in pairs]


def names(found: Comparison) -> tuple[str, str]:
    """Short names of the two."""
    first, second = short_names([found.a.name, found.b.name])
    return first, second


def shown(value: float | None, unit: str) -> str:
    """A figure in its unit."""
    if value is None:
        return ""
    forms: Mapping[str, Callable[[float], str]] = {
        "share": lambda v: percent(v, 2),
        "db": decibel,
        "bytes": lambda v: size(int(v)) if isfinite(v) else str(v),
        "ms": lambda v: duration(v * 1000),
        "times": ratio,
    }
    form = forms.get(unit)
    return f"{value:.5g}" if form is None else form(value)


def codes_text(codes: Codes | None) -> str:
    """How a tensor is stored, in words."""
    if codes is None:
        return "float"
    if codes.scales > 1:
        return f"{codes.format}, {codes.scales} scales"
    scale = f" scale {codes.scale:.4g}" if codes.scale is not None else ""
    return f"{codes.format}{scale}" + (f" zero {codes.zero_point}" if codes.zero_point is not None else "")


def summary(found: Comparison) -> tuple[str, ...]:
    """What differs, a line each."""
    lines = [
        f"{count(len(found.moved), 'node')} placed otherwise, {found.same_nodes:,} alike"
        + (f", {len(found.alone):,} on one side only" if found.alone else ""),
        f"{count(len(found.tensors), 'tensor')} with other codes, {found.same_tensors:,} alike",
        f"{count(len(found.weights), 'weight')} stored otherwise, {found.same_weights:,} alike",
    ]
    if found.settings:
        lines.append(f"{count(len(found.settings), 'setting')} of recipe or versions changed")
    return tuple(lines)


def worst_layers(found: Comparison) -> tuple[LayerPair, ...]:
    """Tensors by what the second loses against the first (records), or by their SQNR against it (models)."""
    known = [p for p in found.layers if p.b is not None and p.b == p.b]
    return tuple(sorted(known, key=lambda p: (_loss(p), p.tensor)))


def _loss(pair: LayerPair) -> float:
    b = pair.b if pair.b is not None else 0.0
    if pair.a is None or not (isfinite(pair.a) and isfinite(b)):
        return b
    return b - pair.a


def comparison_text(found: Comparison) -> RenderableType:
    """For a terminal."""
    return Group(*_text_parts(found))


def _text_parts(found: Comparison) -> Iterator[RenderableType]:
    one, two = names(found)
    yield _table("figures", ("", one, two, ""), figure_rows(found))
    yield from (Text(line) for line in summary(found))
    if found.moved:
        yield _table("placement", ("node", "operator", one, two, "why"), [(n.node, n.op, n.a, n.b, n.why) for n in found.moved[:_SHOWN]])  # fmt: skip
    if found.tensors:
        yield _table("scales and zero points", ("tensor", one, two), [(t.tensor, codes_text(t.a), codes_text(t.b)) for t in found.tensors[:_SHOWN]])  # fmt: skip
    if found.weights:
        yield _table("weights", ("weight", one, two, "SQNR"), [(w.weight, w.a, w.b, shown(w.sqnr_db, "db")) for w in found.weights[:_SHOWN]])  # fmt: skip
    if worst := worst_layers(found)[:_SHOWN]:
        yield _table("tensors that lose most", ("tensor", "by", one, two), [(p.tensor, p.op, shown(p.a, "db"), shown(p.b, "db")) for p in worst])  # fmt: skip
    if found.settings:
        yield _table("recipe and versions", ("key", one, two), [(s.key, s.a, s.b) for s in found.settings])
    yield from gate_lines(found.gates)


def _table(title: str, head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> Table:
    table = Table(*map(escape, head), title=title, title_justify="left", title_style="bold")
    for row in rows:
        table.add_row(*map(escape, row))
    return table


def comparison_markdown(found: Comparison) -> str:
    """A table and what differs, for a summary or a comment."""
    return "\n".join(_markdown(found)) + "\n"


def _markdown(found: Comparison) -> Iterator[str]:
    one, two = names(found)
    yield f"### {'✅' if found.status == 'done' else '❌'} {md_code(one)} against {md_code(two)}"
    yield ""
    rows = [tuple(map(md_text, row)) for row in figure_rows(found)]
    yield from md_table(("", md_text(one), md_text(two), ""), rows)
    yield from (f"- {md_text(line)}" for line in summary(found))
    yield from (f"- {'passed' if g.passed else '**failed**'}: {md_text(g.text)}" for g in found.gates)


def comparison_json(found: Comparison) -> str:
    """Everything."""
    return found.model_dump_json(indent=1) + "\n"


def comparison_html(found: Comparison) -> str:
    """One page that opens offline."""
    one, two = names(found)
    return page("comparison.html", found=found, one=one, two=two, figures=figure_rows(found), shown=shown, codes=codes_text, summary=summary(found), worst=worst_layers(found), curves=_curves(found.layers))  # fmt: skip


def _curves(layers: Sequence[LayerPair]) -> PairCurves | None:
    """The errors of both through the graph."""
    return pair_curves([(f"{p.tensor}\n{p.op}", p.a, p.b) for p in layers])


COMPARISON_FORMATS: Mapping[str, tuple[str, Callable[[Comparison], str]]] = {
    "json": (".json", comparison_json),
    "html": (".html", comparison_html),
    "md": (".md", comparison_markdown),
}
