"""From statistics to scales: activations by the chosen range method, weights per channel, biases in the accumulator's scale."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import reduce

import numpy as np

from ..graph import Array, Graph
from ..ops import Role, inputs_with
from ..plan import Plan, WeightPlan
from ..recipe.types import Calibration
from ..targets.formats import Format
from .collect import check_finite
from .given import params_for_span
from .grid import grid_reach
from .half import SMALLEST
from .levels import FLOATS, fitted
from .methods import RANGE_METHODS, MethodOptions
from .params import PIECE, SMALLEST_SCALE, QuantParams, fake_quantize, params_fixed, params_for_range, pieces
from .refit import refitted
from .sketch import LEVELS, Sketch


def activation_params(plan: Plan, sketches: Mapping[str, Sketch], settings: Calibration) -> dict[str, QuantParams]:
    """Scale and zero point of every quantized activation; those of one group are the same object.

    Raises:
        QConvertError: M013 where a statistic is not finite.
    """
    by_group: dict[int, QuantParams] = {}
    for group, taps in plan.group_taps.items():
        members = [name for name, tensor in plan.tensors.items() if tensor.group == group]
        fixed = plan.tensors[members[0]].fixed
        if fixed is not None:
            by_group[group] = params_fixed(plan.tensors[members[0]].format, *fixed)
            continue
        given = plan.tensors[members[0]].given
        if given is not None and (settings.given != "ignore" or not taps):
            by_group[group] = params_for_span(given, plan.tensors[members[0]].format, _shared_bounds(plan, members))
            continue
        for name in taps:
            check_finite(name, sketches[name].low, sketches[name].high)
        merged = reduce(Sketch.merged, (sketches[name] for name in taps))
        by_group[group] = _params(plan, members, taps, merged, settings)
    return {name: by_group[tensor.group] for name, tensor in plan.tensors.items()}


def _shared_bounds(plan: Plan, names: Sequence[str]) -> tuple[float, float] | None:
    """Interval that none of the tensors leaves; None where one of them has no bounds."""
    bounds = [plan.tensors[name].bounds for name in names]
    known = [b for b in bounds if b is not None]
    return (min(b[0] for b in known), max(b[1] for b in known)) if len(known) == len(bounds) else None


def _params(
    plan: Plan, members: list[str], taps: tuple[str, ...], sketch: Sketch, settings: Calibration
) -> QuantParams:
    first = plan.tensors[members[0]]
    method = next((plan.tensors[m].method for m in members if plan.tensors[m].method), settings.method)
    if sketch.step is not None and not first.format.symmetric and first.format.bits == 8 and not first.method:
        start = min(sketch.low, 0.0)
        return params_for_range(first.format, start, start + (LEVELS - 1) * sketch.step)  # every value has its code
    method = "min-max" if first.format.floating else method  # floats have the digits for outliers, but saturate
    low, high = RANGE_METHODS[method](sketch, first.format, MethodOptions(settings.percentile))
    bounds = _shared_bounds(plan, taps)
    if bounds is not None:
        low, high = max(low, bounds[0]), min(high, bounds[1])
    return params_for_range(first.format, low, high)


def weight_params(
    graph: Graph,
    plan: Plan,
    activations: Mapping[str, QuantParams],
    settings: Calibration,
    progress: Callable[[int, int], None] | None = None,
) -> dict[tuple[str, int], QuantParams]:
    """Scales of every quantized constant input, by (node name, input index).

    Args:
        progress: called with (constants done, constants in all).
    """
    found: dict[tuple[str, int], QuantParams] = {}
    for (name, index), chosen in plan.weights.items():
        if progress is not None:
            progress(len(found), len(plan.weights))
        node = graph.by_name[name]
        array = graph.weights[node.input(index)].numpy()
        params = constant_params(array, chosen, settings.weights)
        bias = next((graph.constant(node.inputs[i]) for i in inputs_with(node, Role.BIAS) if index == 1), None)
        reading = activations.get(node.input(0))
        found[name, index] = params if bias is None or reading is None else fit_bias(params, reading.scale, bias)
    return _tied(graph, plan, found)


def _tied(graph: Graph, plan: Plan, found: dict[tuple[str, int], QuantParams]) -> dict[tuple[str, int], QuantParams]:
    """The same scales for constants that share their channels: sums in another order of axes may differ in the last bit."""
    if not plan.ties:
        return found
    names = {key: graph.by_name[key[0]].input(key[1]) for key in found}
    firsts = {name: key for key, name in reversed(names.items())}
    origins = {key: firsts.get(plan.ties.get(name, name), key) for key, name in names.items()}
    return {key: replace(found[origins[key]], axis=params.axis) for key, params in found.items()}


_SHRINK = np.array([1.0, 0.97, 0.94, 0.91, 0.88, 0.84, 0.8, 0.75, 0.7, 0.6, 0.5])


def constant_params(array: Array, chosen: WeightPlan, method: str = "mse") -> QuantParams:
    """Scale of a constant, along its channel axis if the plan says so.

    Args:
        method: "min-max"; "mse": each channel's range is cut by the factor with the least squared error; "hqq": below
            7 bits the scale is then refitted to the codes, under a norm that forgives outliers. Values on a grid
            keep it, whatever the method. In arrays of more than PIECE elements some values of each channel stand for all.
    """
    if array.size <= PIECE or chosen.axis is None or chosen.gates or chosen.levels:
        return _constant_params(array, chosen, method)
    before = (slice(None),) * chosen.axis
    stretches = pieces(array.shape, chosen.axis)
    parts = [_constant_params(array[(*before, part)], chosen, method, _ENOUGH) for part in stretches]
    scale, zero_point = (np.concatenate(each) for each in zip(*((p.scale, p.zero_point) for p in parts), strict=True))
    return replace(parts[0], scale=scale, zero_point=zero_point)


_ENOUGH = 1024


def _constant_params(array: Array, chosen: WeightPlan, method: str, enough: int | None = None) -> QuantParams:
    rows = block_rows(array, chosen.axis, chosen.block)
    if chosen.levels:
        return table_params(array, rows, chosen)
    rows = rows.reshape(chosen.gates, -1) if chosen.axis is not None and chosen.gates else rows
    low, high = rows.min(axis=1, initial=0.0), rows.max(axis=1, initial=0.0)
    if chosen.format.symmetric:
        high = np.maximum(-low, high)
        low = -high
    on_grid = chosen.format.symmetric and rows.size
    known = grid_reach(rows, high, chosen.format) if on_grid else np.full(len(rows), np.nan)
    if (
        method != "min-max"
        and np.isnan(known).any()
        and rows.size
        and (chosen.format.symmetric or chosen.block or chosen.axis is not None)
    ):
        some = rows if enough is None else rows[:, :: max(1, rows.shape[1] // enough)]
        factor = _best_shrink(some, low, high, chosen.format)
        low, high = low * factor, high * factor
    low, high = np.where(np.isnan(known), low, -known), np.where(np.isnan(known), high, known)
    if chosen.axis is not None and chosen.gates:
        low, high = (np.repeat(end, array.shape[chosen.axis] // chosen.gates) for end in (low, high))
    params = params_for_range(chosen.format, low, high, chosen.axis, chosen.block)
    if chosen.format.bits < 7 and method == "hqq" and rows.size and not chosen.gates and np.isnan(known).all():
        params = refitted(rows, params)
    shape = () if chosen.axis is None else (array.shape[chosen.axis], -1) if chosen.block else (-1,)
    return replace(params, scale=params.scale.reshape(shape), zero_point=params.zero_point.reshape(shape))


def table_params(array: Array, rows: Array, chosen: WeightPlan, importance: Array | None = None) -> QuantParams:
    """Levels and scales of a weight; scales are float16 numbers where these are precise enough.

    Args:
        rows: the values that share a scale, see `block_rows`.
        importance: of the squared error of each value of `rows`; None for all alike.
    """
    table, scale = fitted(rows, chosen.levels, chosen.format.bits, importance)
    small = scale.astype(np.float16).astype(np.float32)
    short = chosen.levels not in FLOATS and np.isfinite(small).all() and small.min(initial=1.0) >= SMALLEST["float16"]
    scale = small if short else scale
    shape = (array.shape[chosen.axis or 0], -1) if chosen.block else (-1,)
    zero = np.zeros(scale.shape, dtype=chosen.format.dtype)
    scale, zero = scale.reshape(shape), zero.reshape(shape)
    return QuantParams(chosen.format, scale, zero, chosen.axis, chosen.block, table)


def block_rows(array: Array, axis: int | None, block: int) -> Array:
    """The values that share a scale as rows [scales, n]; the last block of a channel is filled up with zeros."""
    if axis is None:
        return array.reshape(1, -1)
    rows = np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1)
    if not block:
        return rows
    missing = -rows.shape[1] % block
    filled = np.pad(rows, ((0, 0), (0, missing))) if missing else rows
    return filled.reshape(-1, block)


_IN_CACHE = 1 << 17  # elements whose intermediate results stay near the processor


def _best_shrink(rows: Array, low: Array, high: Array, format_: Format) -> Array:
    """Factor [rows] on each row's range with the least squared rounding and clipping error."""
    if rows.size <= _IN_CACHE or len(rows) == 1:
        return _shrunk(rows, low, high, format_)
    step = max(1, _IN_CACHE // max(rows.shape[1], 1))
    parts = (slice(start, start + step) for start in range(0, len(rows), step))
    return np.concatenate([_shrunk(rows[part], low[part], high[part], format_) for part in parts])


def _shrunk(rows: Array, low: Array, high: Array, format_: Format) -> Array:
    best, factor = np.full(len(rows), np.inf), np.ones(len(rows))
    for shrink in _SHRINK:
        params = params_for_range(format_, low * shrink, high * shrink, 0)
        error = np.square(fake_quantize(rows, params) - rows).sum(axis=1, dtype=np.float64)
        better = error < best
        best, factor = np.where(better, error, best), np.where(better, shrink, factor)
    return factor


_INT32 = 2.0**31 - 1


def fit_bias(params: QuantParams, reading: Array, bias: Array) -> QuantParams:
    """Widen scales of channels whose bias would not fit into int32 at scale (input scale * weight scale).

    That product must be a normal number as well.
    """
    least = np.abs(bias.reshape(-1).astype(np.float64)) / (float(reading) * _INT32)
    if least.shape != params.scale.shape:
        least = np.full(params.scale.shape, least.max(initial=0.0))
    least = np.maximum(least, SMALLEST_SCALE / float(reading)) * 1.01
    wide = np.maximum(params.scale, least)
    if params.format.exponents is not None:
        wide = np.where(params.scale >= least, params.scale, 2.0 ** np.ceil(np.log2(wide)))
    return replace(params, scale=np.asarray(wide, dtype=np.float32))
