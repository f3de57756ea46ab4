"""Pools and means."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from ...calibrate import QuantParams, params_for_range
from ...graph import Array
from .layout import Order, View, channel_last
from .linear import Window, explicit_pad, finish_plane, padded, plane, two, windows
from .pointwise import Lowering
from .schema import VALID
from .site import Site


def max_pool(site: Site) -> None:
    """MAX_POOL_2D; padding that SAME cannot express is the smallest code, not the zero point."""
    pair, view = _pool(site)
    params = _params(view)
    tensor, padding = padded(site, site.build.at(view, channel_last(4)), pair, params.format.qmin)
    _emit_pool(site, "MAX_POOL_2D", tensor, padding, pair, params)


def global_max_pool(site: Site) -> None:
    """REDUCE_MAX over space."""
    _reduce(site, "REDUCE_MAX", tuple(range(2, len(site.shape(0)))), True, _params(site.view(0)))


def average_pool(site: Site) -> None:
    """AVERAGE_POOL_2D where its windows divide as ONNX says: SAME leaves padding out, VALID has none.

    Anything else is zero padding, a plain average, and a constant map of (window size / counted cells).
    """
    pair, view = _pool(site)
    params = _params(view)
    tensor = site.build.at(view, channel_last(4))
    counted = [_counts(w, bool(site.node.attr("count_include_pad", 0))) for w in pair]
    if any(any(w.needed) for w in pair):
        if all(w.same for w in pair) and all(
            np.array_equal(c, _counts(w, False)) for w, c in zip(pair, counted, strict=True)
        ):
            tensor, padding = padded(site, tensor, pair)
            _emit_pool(site, "AVERAGE_POOL_2D", tensor, padding, pair, params)
            return
        tensor = explicit_pad(site, tensor, [(0, 0), *(w.needed for w in pair), (0, 0)])
    factors = np.outer(*(w.kernel / c for w, c in zip(pair, counted, strict=True)))
    tensor = _pooled(site, "AVERAGE_POOL_2D", tensor, VALID, pair, params)
    if not np.allclose(factors, 1.0):
        tensor = _scaled(site, tensor, factors, params)
    finish_plane(site, tensor, params)


def _counts(window: Window, padding_counts: bool) -> Array:
    """Cells by which each window divides; what ceil_mode adds beyond the padding never counts."""
    low, high = (-window.low, window.size + window.high) if padding_counts else (0, window.size)
    starts = np.arange(window.out) * window.stride - window.low
    return np.asarray(np.minimum(starts + window.kernel, high) - np.maximum(starts, low))


def _scaled(site: Site, tensor: int, factors: Array, params: QuantParams) -> int:
    build, shape = site.build, site.build.tensors[tensor].shape
    array = factors[None, :, :, None].astype(np.float32)
    constant = build.quantized(array, params_for_range(params.format, 0.0, float(array.max())))
    return build.emit("MUL", (tensor, constant), shape, params, {"activation": 0})


def _pool(site: Site) -> tuple[tuple[Window, Window], View]:
    return two(windows(site, tuple(site.node.attr("kernel_shape")))), plane(site.view(0))


def _params(view: View) -> QuantParams:
    assert view.params is not None
    return view.params


def _pooled(site: Site, name: str, tensor: int, padding: int, pair: tuple[Window, Window], params: QuantParams) -> int:
    h, w = pair
    options = {
        "padding": padding,
        "stride_h": h.stride,
        "stride_w": w.stride,
        "filter_h": h.kernel,
        "filter_w": w.kernel,
        "activation": 0,
    }
    n, c = site.out_shape[:2]
    return site.build.emit(name, (tensor,), (n, h.out, w.out, c), params, options, site.result)


def _emit_pool(
    site: Site, name: str, tensor: int, padding: int, pair: tuple[Window, Window], params: QuantParams
) -> None:
    finish_plane(site, _pooled(site, name, tensor, padding, pair, params), params)


# --- reductions ----------------------------------------------------------------------------------------------------------


def global_average_pool(site: Site) -> None:
    """MEAN over space: unlike AVERAGE_POOL_2D it has a scale of its own, which keeps what averaging wins."""
    _reduce(site, "MEAN", tuple(range(2, len(site.shape(0)))), True, site.params)


def reduction(name: str, same: bool = False) -> Lowering:
    """A lowering of an ONNX reduction; `same`: the kernel keeps its input's scale."""

    def lower(site: Site) -> None:
        _reduce(
            site, name, _axes(site), bool(site.node.attr("keepdims", 1)), _params(site.view(0)) if same else site.params
        )

    return lower


def _axes(site: Site) -> tuple[int, ...]:
    rank = len(site.shape(0))
    return tuple(sorted(a % rank for a in site.ints(1, "axes") or tuple(range(rank))))


def reduce_sum(site: Site) -> None:
    """MEAN in the scale of the result over n, and MUL by n, which leaves the codes as they are."""
    axes, result = _axes(site), site.params
    count = prod(site.shape(0)[a] for a in axes)
    _reduce(
        site,
        "MEAN",
        axes,
        bool(site.node.attr("keepdims", 1)),
        replace(result, scale=np.asarray(result.scale / np.float32(count))),
    )
    view, build = site.scene.views[site.result], site.build
    factor = build.quantized(np.full((1,), count, np.float32), params_for_range(result.format, 0.0, count))
    out = build.emit(
        "MUL", (view.tensor, factor), build.tensors[view.tensor].shape, result, {"activation": 0}, site.result
    )
    site.put(view.on(out, result))


def _reduce(site: Site, name: str, axes: tuple[int, ...], keep: bool, params: QuantParams) -> None:
    build, view = site.build, site.build.settled(site.view(0))
    tensor = build.at(view, view.order)
    where = sorted(view.order.index(a) for a in axes)
    stored = tuple(1 if i in where else size for i, size in enumerate(view.stored) if keep or i not in where)
    out = build.emit(name, (tensor, build.integers(where)), stored, params, {"keep_dims": keep}, site.result)
    left = [a for a in range(len(view.shape)) if a not in axes]
    order: Order = view.order if keep else tuple(left.index(o) for o in view.order if o not in axes)
    site.put(View(out, site.out_shape, order, params))
