"""What reports show beyond the figures: histograms of the worst tensors, sizes of the weights, how calibration converged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from ...calibrate import QuantParams, Sketch, block_rows, fake_quantize, params_for_range
from ...evaluate import sqnr_db
from ...graph import Array, Graph
from ...optimize import Draft
from ...plan import Plan, WeightPlan
from ...report.record import Histogram, RunRecord, TensorSize
from ..drafting.statistics import Statistics

BINS = 64
WORST_ACTIVATIONS, WORST_WEIGHTS = 12, 8
LARGEST = 64
_ENOUGH = 65_536  # values of a weight that are looked at


def with_details(record: RunRecord, draft: Draft, found: Statistics) -> RunRecord:
    """The record with what only pictures need."""
    calibration = record.calibration
    if calibration is not None:
        calibration = calibration.model_copy(update={"convergence": found.convergence})
    return record.model_copy(
        update={
            "calibration": calibration,
            "histograms": (
                *activation_histograms(draft.activations, draft.sketches),
                *weight_histograms(draft),
            ),
            "sizes": weight_sizes(draft.graph, draft.plan),
        }
    )


def activation_histograms(
    activations: Mapping[str, QuantParams], sketches: Mapping[str, Sketch]
) -> tuple[Histogram, ...]:
    """The tensors that lose most by their own rounding and clipping."""
    found = [
        _histogram(name, "activation", sketches[name].bins, params)
        for name, params in activations.items()
        if name in sketches and sketches[name].size
    ]
    return _worst(found, WORST_ACTIVATIONS)


def weight_histograms(draft: Draft) -> tuple[Histogram, ...]:
    """The weights that lose most: the values that were quantized in the end, with the error of the codes that are stored."""
    found: dict[str, Histogram] = {}
    for (node, index), params in draft.weights.items():
        stored = draft.graph.by_name[node].input(index)
        if stored in found or stored not in draft.graph.weights:
            continue
        name, values = _quantized_values(draft, node, index)
        if values.size:
            codes = fake_quantize(draft.graph.weights[stored].numpy(), params)
            found[stored] = _weight_histogram(name, node, _rows(values, params), _rows(codes, params), params)
    return _worst(list(found.values()), WORST_WEIGHTS)


def _quantized_values(draft: Draft, node: str, index: int) -> tuple[str, Array]:
    """Name and values of a weight after equalization and before rounding, which algorithms may have done already."""
    stored = draft.graph.by_name[node].input(index)
    twin = draft.reference.by_name.get(node)
    name = twin.input(index) if twin is not None else ""
    values = draft.graph.weights[stored]
    before = draft.reference.weights.get(name)
    return (name, before.numpy()) if before is not None and before.shape == values.shape else (stored, values.numpy())


def _rows(values: Array, params: QuantParams) -> Array:
    """Some values [scales, n]."""
    if params.axis is None or params.scale.ndim == 0:
        return _thinned(values.reshape(1, -1))
    return _thinned(block_rows(values, params.axis, params.block))


def _thinned(rows: Array) -> Array:
    step = max(rows.size // _ENOUGH, 1)
    return rows[:, :: min(step, max(rows.shape[1], 1))]


def _weight_histogram(name: str, node: str, values: Array, codes: Array, params: QuantParams) -> Histogram:
    """Values [scales, n] beside what their codes stand for; where there are several scales in units of each one's range."""
    shown, units = params, values
    if params.axis is not None and params.scale.ndim:
        shown = params_for_range(params.format, -1.0, 1.0) if params.table is None else _units(params, params.table)
        reach = np.maximum(np.maximum(params.high, -params.low).astype(np.float64), np.finfo(np.float32).tiny)
        units = values / reach.reshape(-1, 1)
    flat = np.sort(units.reshape(-1).astype(np.float64))
    wide = values.astype(np.float64)
    own = {
        "node": node,
        "channels": int(params.scale.size),
        "scale_low": float(params.scale.min()),
        "scale_high": float(params.scale.max()),
        "sqnr_db": sqnr_db(float(np.square(wide).sum()), float(np.square(codes - wide).sum())),
    }
    return _histogram(name, "weight", (flat, np.ones(flat.size)), shown).model_copy(update=own)


def _units(params: QuantParams, table: Array) -> QuantParams:
    """One scale under which the levels reach 1."""
    scale = np.asarray(1.0 / max(float(np.abs(table).max()), 1e-30), dtype=np.float32)
    return replace(params, scale=scale, zero_point=np.zeros((), params.zero_point.dtype), axis=None, block=0)


def _histogram(name: str, kind: str, bins: tuple[Array, Array], params: QuantParams) -> Histogram:
    centres, counts = bins
    finite = np.isfinite(centres)
    centres, counts = centres[finite], counts[finite]
    low, high = _span(float(centres[0]), float(centres[-1])) if centres.size else (-0.5, 0.5)
    heights, _ = np.histogram(centres, BINS, (low, high), weights=counts)
    error = float(((fake_quantize(centres, params) - centres) ** 2) @ counts)
    scale = float(params.scale.reshape(-1)[0])
    bottom, top = float(params.low.reshape(-1)[0]), float(params.high.reshape(-1)[0])
    beyond = (centres < bottom - scale / 2) | (centres > top + scale / 2)
    return Histogram(
        name=name, kind="weight" if kind == "weight" else "activation", format=str(params.format), low=low, high=high, counts=tuple(int(c) for c in heights),
        range_low=bottom, range_high=top, clipped=float(counts[beyond].sum() / max(counts.sum(), 1)),
        sqnr_db=sqnr_db(float(centres**2 @ counts), error), scale_low=scale, scale_high=scale,
    )  # fmt: skip


def _span(low: float, high: float) -> tuple[float, float]:
    """An interval that can be cut into bins, around a single value too."""
    reach = max(abs(low), abs(high))
    if high - low > 1e-9 * reach:
        return low, high
    half = max(reach * 0.01, 1e-30)
    return low - half, high + half


def _worst(found: list[Histogram], count: int) -> tuple[Histogram, ...]:
    return tuple(sorted(found, key=lambda h: (h.sqnr_db, h.name))[:count])


def weight_sizes(graph: Graph, plan: Plan) -> tuple[TensorSize, ...]:
    """The largest weights."""
    plans = {graph.by_name[node].input(index): chosen for (node, index), chosen in plan.weights.items()}
    return tuple(sorted(_sizes(graph, plans), key=lambda size: (-size.float_bytes, size.name))[:LARGEST])


def _sizes(graph: Graph, plans: Mapping[str, WeightPlan]) -> Iterator[TensorSize]:
    for name, weight in graph.weights.items():
        plan = plans.get(name)
        before = int(weight.nbytes)
        after = before if plan is None else plan.nbytes(weight.shape)
        kind = (
            graph.type_of(name).dtype
            if plan is None
            else f"{plan.levels} {plan.format.bits} bits"
            if plan.levels
            else plan.format
        )
        yield TensorSize(name=name, format=str(kind), float_bytes=before, bytes=after)
