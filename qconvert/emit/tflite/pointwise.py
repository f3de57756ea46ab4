"""Element-by-element operators, activations and softmax."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from ...calibrate import QuantParams
from ...ops import clamp_bounds
from .layout import Order, squeezed
from .schema import ACTIVATIONS
from .site import Site

Lowering = Callable[[Site], None]


def unary(name: str, options: Callable[[Site], dict[str, Any]] | None = None) -> Lowering:
    """An operator on each element: any layout will do, even a reshape that is still to come."""

    def lower(site: Site) -> None:
        view, build = site.view(0), site.build
        shape = build.tensors[view.tensor].shape
        out = build.emit(name, (view.tensor,), shape, site.params, options(site) if options else None, site.result)
        site.put(view.on(out, site.params))

    return lower


def leaky_slope(site: Site) -> dict[str, Any]:
    """The slope, 0.01 by default (ONNX LeakyRelu)."""
    return {"alpha": float(site.node.attr("alpha", 0.01))}


def binary(name: str, fuses: bool = True, pot: bool = False) -> Lowering:
    """An operator on two operands that are broadcast to each other; more operands are taken one after the other.

    Args:
        fuses: it applies a fused activation.
        pot: tell it that scales of 16-bit operands are no powers of two.
    """

    def lower(site: Site) -> None:
        order = _common_order(site)
        shape = tuple(site.out_shape[o] for o in order)
        rank = len(order)
        options: dict[str, Any] = {"activation": site.activation()} if fuses else {}
        if pot:
            options["pot"] = site.params.format.bits != 16
        left, right = site.operand(0, rank, order), site.operand(1, rank, order)
        site.done(site.build.emit(name, (left, right), shape, site.params, options, site.result), order)

    return lower


def extreme(name: str) -> Lowering:
    """MINIMUM or MAXIMUM, which compare codes: both operands and the result under one scale."""

    def lower(site: Site) -> None:
        order = _common_order(site)
        rank, shape = len(order), tuple(site.out_shape[o] for o in order)
        operands = [_under(site, i, rank, order, site.params) for i in range(len(site.node.inputs))]
        tensor = operands[0]
        for other in operands[1:]:
            tensor = site.build.emit(name, (tensor, other), shape, site.params, {}, site.result)
        site.done(tensor, order)

    return lower


def _under(site: Site, index: int, rank: int, order: Order, params: QuantParams) -> int:
    if site.is_constant(index):
        array = site.array(index)
        assert array is not None
        aligned = array.reshape((1,) * (rank - array.ndim) + array.shape).transpose(order)
        return site.build.quantized(np.ascontiguousarray(aligned), params)
    return site.build.at(squeezed(site.build.rescaled(site.view(index), params), rank), order)


def _common_order(site: Site) -> Order:
    """The layout of the operand that is largest, as moving it would cost most."""
    rank = len(site.out_shape)
    dynamic = [site.build.settled(site.view(i)) for i in range(len(site.node.inputs)) if not site.is_constant(i)]
    largest = max(dynamic, key=lambda v: np.prod(v.shape))
    return squeezed(largest, rank).order


def relu(site: Site) -> None:
    """RELU, which takes any output scale."""
    unary("RELU")(site)


def clip(site: Site) -> None:
    """RELU; for other bounds the end of the output's range clamps, or MINIMUM and MAXIMUM do. RELU6 does not rescale."""
    bounds = clamp_bounds(site.node, site.scene.graph) or (-np.inf, np.inf)
    if bounds == (0.0, np.inf):
        relu(site)
        return
    view = site.build.rescaled(site.view(0), site.params)
    site.put(view.on(clamped(site, view.tensor, bounds, site.params), site.params))


def clamped(site: Site, tensor: int, bounds: tuple[float, float], params: QuantParams) -> int:
    """A tensor cut to an interval: nothing to do where its range already ends there."""
    build = site.build
    half = float(params.scale) / 2
    for bound, end, name, past in (
        (bounds[0], float(params.low), "MAXIMUM", -1),
        (bounds[1], float(params.high), "MINIMUM", 1),
    ):
        if np.isfinite(bound) and (end - bound) * past > half:
            limit = build.quantized(np.full((1,), bound, np.float32), params)
            tensor = build.emit(name, (tensor, limit), build.tensors[tensor].shape, params, {}, site.result)
    return tensor


def finish_clamp(site: Site) -> None:
    """Apply the clamp that the node takes in, where its operator has not done so."""
    if site.bounds is None or site.fused:
        return
    view = site.scene.views[site.result]
    tensor = clamped(site, view.tensor, site.bounds, site.params)
    site.put(view.on(tensor, site.params))


def softmax(name: str, options: dict[str, Any]) -> Lowering:
    """SOFTMAX or LOG_SOFTMAX, along the last axis of memory."""

    def lower(site: Site) -> None:
        view = site.build.settled(site.view(0))
        rank = len(view.shape)
        axis = site.node.attr("axis", -1) % rank
        order = (*(o for o in view.order if o != axis), axis)
        tensor = site.build.at(view, order)
        shape = tuple(view.shape[o] for o in order)
        site.done(site.build.emit(name, (tensor,), shape, site.params, options, site.result), order)

    return lower


def prelu(site: Site) -> None:
    """PRELU with its slopes as a tensor in the layout of the input, without the batch."""
    view = site.build.settled(site.view(0))
    rank, slope = len(view.shape), site.array(1)
    assert slope is not None
    aligned = slope.reshape((1,) * (rank - slope.ndim) + slope.shape).transpose(view.order)
    alpha = site.build.quantized(np.ascontiguousarray(aligned), site.weight(1))
    tensor = site.build.at(view, view.order)
    site.done(site.build.emit("PRELU", (tensor, alpha), view.stored, site.params, None, site.result), view.order)


def power(site: Site) -> None:
    """The exponents that have a kernel: 2 as a product, -0.5 as RSQRT; `limits` lets no other through."""
    exponent = site.array(1)
    assert exponent is not None
    if float(exponent.reshape(-1)[0]) == -0.5:
        unary("RSQRT")(site)
        return
    view, build = site.view(0), site.build
    out = build.emit(
        "MUL", (view.tensor, view.tensor), build.tensors[view.tensor].shape, site.params, {"activation": 0}, site.result
    )
    site.put(view.on(out, site.params))


def negative(site: Site) -> None:
    """0 - x, as NEG has no integer kernel."""
    view, build = site.view(0), site.build
    assert view.params is not None
    zero = build.quantized(np.zeros((1,), np.float32), view.params)
    out = build.emit(
        "SUB",
        (zero, view.tensor),
        build.tensors[view.tensor].shape,
        site.params,
        {"activation": ACTIVATIONS[""], "pot": view.params.format.bits != 16},
        site.result,
    )
    site.put(view.on(out, site.params))


def reciprocal(site: Site) -> None:
    """1 / x."""
    view, build = site.view(0), site.build
    assert view.params is not None
    from ...calibrate import params_for_range

    one = build.quantized(np.ones((1,), np.float32), params_for_range(view.params.format, 0.0, 1.0))
    out = build.emit(
        "DIV", (one, view.tensor), build.tensors[view.tensor].shape, site.params, {"activation": 0}, site.result
    )
    site.put(view.on(out, site.params))
