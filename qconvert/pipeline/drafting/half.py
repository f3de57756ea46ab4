"""Ranges of a model in 16-bit floats: what does not fit stays in float32, and what loses digits is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from ...calibrate import Sketch
from ...calibrate.half import LARGEST, Census, census_of_array, census_of_sketch
from ...errors import Diagnostic, Severity
from ...graph import Graph
from ...plan import Exceptions, Kind, Plan, Reason
from ...recipe import Recipe, SourceMap
from ...report.record import HalfRange
from ..planning import Planned, replanned

_MARGIN = 2.0  # other data than those seen may reach further
_FEW = 0.01  # share of subnormal values that is not worth a word
_SHOWN = 20


def within_range(planned: Planned, sketches: Mapping[str, Sketch], recipe: Recipe, source: SourceMap | None) -> Planned:
    """The plan with the nodes around every activation in float32 that leaves, or nearly leaves, the 16-bit type."""
    dtype = recipe.half
    if dtype is None:
        return planned
    peaks = {name: census_of_sketch(sketches[name], dtype).peak for name in planned.plan.watched if name in sketches}
    kept = _around(planned.graph, planned.plan, {n: p for n, p in peaks.items() if p * _MARGIN > LARGEST[dtype]}, dtype)
    if not kept:
        return planned
    widened = replace(planned, kept={**planned.kept, **kept})
    return replace(widened, plan=replanned(widened, recipe, source, Exceptions(), planned.graph))


def _around(graph: Graph, plan: Plan, peaks: Mapping[str, float], dtype: str) -> dict[str, Reason]:
    found: dict[str, Reason] = {}
    for name, peak in peaks.items():
        producer = graph.producer.get(name)
        for node in (*([producer] if producer is not None else []), *graph.consumers_of(name)):
            if plan.nodes[node.name].kind is Kind.HALF:
                reason = f"`{name}` reaches {peak:.3g}, {dtype} ends at {LARGEST[dtype]:.6g}"
                found.setdefault(node.name, Reason("P014", reason))
    return found


def ranges_of(planned: Planned, sketches: Mapping[str, Sketch], recipe: Recipe) -> tuple[HalfRange, ...]:
    """Tensors with values that a 16-bit type does not hold as they are, the worst first."""
    dtype = recipe.half
    if dtype is None:
        return ()
    graph, plan = planned.graph, planned.plan
    found = []
    for name in (n for n in plan.watched if n in sketches):
        found.append((name, "activation", _kept(graph, plan, name), census_of_sketch(sketches[name], dtype)))
    for name, weight in graph.weights.items():
        readers = [n for n in graph.consumers_of(name) if plan.nodes[n.name].kind is Kind.HALF]
        if weight.dtype == "float32" and readers:
            found.append((name, "weight", False, census_of_array(weight.numpy(), dtype)))
    rows = [_row(name, kind, kept, census) for name, kind, kept, census in found if not census.clean]
    return tuple(sorted(rows, key=lambda r: (-r.overflow, -(r.subnormal + r.lost) / max(r.size, 1), r.name)))


def _kept(graph: Graph, plan: Plan, name: str) -> bool:
    producer = graph.producer.get(name)
    return producer is not None and plan.nodes[producer.name].kind is Kind.FLOAT


def _row(name: str, kind: str, kept: bool, census: Census) -> HalfRange:
    return HalfRange(
        name=name,
        kind="weight" if kind == "weight" else "activation",
        size=census.size,
        overflow=census.overflow,
        subnormal=census.subnormal,
        lost=census.lost,
        peak=census.peak,
        float32=kept,
    )


def range_notes(ranges: tuple[HalfRange, ...], planned: Planned, recipe: Recipe, measured: bool) -> list[Diagnostic]:
    """What the counts mean, in a few lines."""
    dtype = recipe.half
    if dtype is None:
        return []
    found = [Diagnostic("P104", text, None, None, Severity.NOTE) for text in _texts(ranges, dtype)]
    if not measured:
        hint = "give a dataset with `-d`; overflow of activations shows on data only"
        found.append(
            Diagnostic("P104", f"no activation was checked for the range of {dtype}", None, hint, Severity.WARNING)
        )
    if planned.target.floats.not_gained and recipe.mode == dtype:
        found.append(Diagnostic("P105", planned.target.floats.not_gained, None, None, Severity.NOTE))
    return found


def _texts(ranges: tuple[HalfRange, ...], dtype: str) -> list[str]:
    texts = []
    beyond = [r for r in ranges if r.overflow and r.kind == "activation"]
    if beyond:
        worst = max(beyond, key=lambda r: r.peak)
        texts.append(
            f"{len(beyond)} activations leave {dtype}, furthest `{worst.name}` with {worst.peak:.3g}: float32 around them"
        )
    clipped = [r for r in ranges if r.overflow and r.kind == "weight"]
    if clipped:
        texts.append(
            f"{len(clipped)} constants reach beyond {dtype}, such as `{clipped[0].name}`: cut to its largest number"
        )
    small = [r for r in ranges if not r.float32 and (r.subnormal + r.lost) > _FEW * r.size]
    if small:
        worst = max(small, key=lambda r: (r.subnormal + r.lost) / r.size)
        share = (worst.subnormal + worst.lost) / worst.size
        texts.append(
            f"{len(small)} tensors have more than {_FEW:.0%} of their values below the normal numbers of {dtype}, "
            f"most `{worst.name}`: {share:.1%}, {worst.lost} of them become zero"
        )
    return texts
