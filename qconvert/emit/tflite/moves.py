"""Operators that move, repeat or select values: most of them change only the view."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ...plan.resize import resize_call
from .layout import View, channel_last, reshaped, squeezed, transposed
from .pointwise import Lowering
from .schema import TENSOR_TYPES
from .site import Site

_MOST_INPUTS = 10  # of CONCATENATION in TFLM (kernels/concatenation.cc, kMaxInputNum)


def reshape(site: Site) -> None:
    """Reshape, Flatten, Squeeze, Unsqueeze: the view regroups its axes."""
    site.put(reshaped(site.view(0), site.out_shape))


def transpose(site: Site) -> None:
    """The view composes permutations."""
    view = site.build.settled(site.view(0))
    rank = len(view.shape)
    site.put(transposed(view, tuple(site.node.attr("perm") or range(rank - 1, -1, -1))))


def concat(site: Site) -> None:
    """CONCATENATION, whose operands all have the scale of the result: a branch with another one is requantized.

    More than ten operands are joined in stages.
    """
    node, build = site.node, site.build
    rank = len(site.out_shape)
    axis = node.attr("axis", 0) % rank
    dynamic = [build.settled(site.view(i)) for i in range(len(node.inputs)) if not site.is_constant(i)]
    order = max(dynamic, key=lambda v: np.prod(v.shape)).order
    where = order.index(axis)
    parts = [_part(site, i, order) for i in range(len(node.inputs))]
    while len(parts) > 1:
        parts = [_joined(site, parts[:_MOST_INPUTS], where), *parts[_MOST_INPUTS:]]
    site.done(parts[0], order)


def _part(site: Site, index: int, order: tuple[int, ...]) -> int:
    if site.is_constant(index):
        array = site.array(index)
        assert array is not None
        return site.build.quantized(np.ascontiguousarray(array.transpose(order)), site.params)
    return site.build.at(site.build.rescaled(site.view(index), site.params), order)


def _joined(site: Site, parts: Sequence[int], axis: int) -> int:
    if len(parts) == 1:
        return parts[0]
    shapes = [site.build.tensors[p].shape for p in parts]
    shape = tuple(sum(s[axis] for s in shapes) if i == axis else size for i, size in enumerate(shapes[0]))
    return site.build.emit("CONCATENATION", parts, shape, site.params, {"axis": axis, "activation": 0}, site.result)


def split(site: Site) -> None:
    """SPLIT_V."""
    build, view = site.build, site.build.settled(site.view(0))
    rank = len(view.shape)
    axis = site.node.attr("axis", 0) % rank
    names = site.node.outputs
    sizes = [site.scene.plan.shapes[name][axis] for name in names]
    where = view.order.index(axis)
    stored = [tuple(size if i == where else s for i, s in enumerate(view.stored)) for size in sizes]
    outs = [build.tensor(name, shape, view.params) for name, shape in zip(names, stored, strict=True)]
    inputs = (build.at(view, view.order), build.integers(sizes), build.integers(where))
    build.op("SPLIT_V", inputs, outs, {"splits": len(outs)})
    for name, out in zip(names, outs, strict=True):
        site.put(View(out, site.scene.plan.shapes[name], view.order, view.params), name)


def slice_(site: Site) -> None:
    """STRIDED_SLICE, or REVERSE_V2 for a whole axis read backward; other steps below zero are refused by `limits`."""
    view = site.build.settled(site.view(0))
    rank = len(view.shape)
    steps = site.ints(4) or ()
    if any(step < 0 for step in steps):
        axes = site.ints(3) or tuple(range(len(steps)))
        _reverse(site, view, next(axis % rank for axis, step in zip(axes, steps, strict=True) if step < 0))
        return
    starts, ends = site.ints(1, "starts") or (), site.ints(2, "ends") or ()
    axes = site.ints(3, "axes") or tuple(range(len(starts)))
    steps = site.ints(4) or (1,) * len(starts)
    begin, stride = [0] * rank, [1] * rank
    for start, _, axis, step in zip(starts, ends, axes, steps, strict=True):
        size = view.shape[axis % rank]
        begin[axis % rank] = min(max(start + size if start < 0 else start, 0), size)
        stride[axis % rank] = step
    sliced(site, view, begin, stride)


def _reverse(site: Site, view: View, axis: int) -> None:
    """REVERSE_V2."""
    build = site.build
    inputs = (build.at(view, view.order), build.integers([view.order.index(axis)]))
    out = build.emit("REVERSE_V2", inputs, view.stored, view.params, {}, site.result)
    site.put(View(out, site.out_shape, view.order, view.params))


def sliced(site: Site, view: View, begin: Sequence[int], stride: Sequence[int]) -> None:
    """Cut out the result's shape from `begin` on."""
    build, shape = site.build, site.out_shape
    end = [b + (size - 1) * s + 1 for b, size, s in zip(begin, shape, stride, strict=True)]
    columns = [build.integers([values[o] for o in view.order]) for values in (begin, end, stride)]
    stored = tuple(shape[o] for o in view.order)
    out = build.emit("STRIDED_SLICE", (build.at(view, view.order), *columns), stored, view.params, {}, site.result)
    site.put(View(out, shape, view.order, view.params))


def gather(site: Site) -> None:
    """GATHER along one axis, with constant indices or those of an input; a constant that is looked up keeps its own range."""
    indices = site.array(1)
    view = _table(site) if site.is_constant(0) else site.build.settled(site.view(0))
    rank, length = len(view.shape), len(site.shape(1))
    axis = site.node.attr("axis", 0) % rank
    order = view.order if length == 1 else tuple(range(rank))
    where = order.index(axis)
    if indices is None:
        positions = site.build.at(site.scene.views[site.node.input(1)], tuple(range(length)))
    else:
        positions = site.build.constant(np.where(indices < 0, indices + view.shape[axis], indices).astype(np.int32))
    stored = tuple(view.shape[o] for o in order)
    shape = (*stored[:where], *site.shape(1), *stored[where + 1 :])
    inputs, options = (site.build.at(view, order), positions), {"axis": where}
    out = site.build.emit("GATHER", inputs, shape, view.params, options, site.result)
    site.put(View(out, site.out_shape, order if length == 1 else tuple(range(len(shape))), view.params))


def _table(site: Site) -> View:
    array, params = site.array(0), site.weight(0)
    assert array is not None
    return View(site.build.quantized(array, params), array.shape, tuple(range(array.ndim)), params)


def place(name: str) -> Lowering:
    """ARG_MAX or ARG_MIN, as int32; the axis that ONNX keeps has length 1, so it takes no memory."""

    def lower(site: Site) -> None:
        build, view = site.build, site.build.settled(site.view(0))
        rank = len(view.shape)
        axis = site.node.attr("axis", 0) % rank
        stored = tuple(size for n, size in enumerate(view.shape) if n != axis)
        inputs = (build.at(view, tuple(range(rank))), build.integers([axis]))
        options = {"output_type": TENSOR_TYPES["int32"]}
        out = build.emit(name, inputs, stored, None, options, site.result, "int32")
        site.put(View(out, site.out_shape, tuple(range(len(site.out_shape))), None))

    return lower


_MIRROR = {"reflect": 0}


def pad(site: Site) -> None:
    """PAD, PADV2 for another value than zero, MIRROR_PAD for reflections."""
    build, view = site.build, site.build.settled(site.view(0))
    rank = len(view.shape)
    given = site.ints(1, "pads") or ()
    axes = site.ints(3) or tuple(range(rank))
    pads = [(0, 0)] * rank
    for n, axis in enumerate(axes):
        pads[axis % rank] = (given[n], given[n + len(axes)])
    table = build.integers([pads[o] for o in view.order])
    tensor, stored = build.at(view, view.order), tuple(site.out_shape[o] for o in view.order)
    mode = site.node.attr("mode", "constant")
    value = site.array(2)
    if mode in _MIRROR:
        out = build.emit("MIRROR_PAD", (tensor, table), stored, view.params, {"mode": _MIRROR[mode]}, site.result)
    elif value is None or not value.any():
        out = build.emit("PAD", (tensor, table), stored, view.params, {}, site.result)
    else:
        assert view.params is not None
        filler = build.quantized(value.reshape(1).astype(np.float32), view.params)
        out = build.emit("PADV2", (tensor, table, filler), stored, view.params, {}, site.result)
    site.put(View(out, site.out_shape, view.order, view.params))


def expand(site: Site) -> None:
    """BROADCAST_TO."""
    build = site.build
    view = squeezed(build.settled(site.view(0)), len(site.out_shape))
    stored = tuple(site.out_shape[o] for o in view.order)
    if stored == view.stored:
        site.put(view)
        return
    out = build.emit(
        "BROADCAST_TO", (build.at(view, view.order), build.integers(stored)), stored, view.params, {}, site.result
    )
    site.put(View(out, site.out_shape, view.order, view.params))


def blocks(name: str) -> Lowering:
    """DEPTH_TO_SPACE and SPACE_TO_DEPTH in the order of TensorFlow (ONNX mode DCR)."""

    def lower(site: Site) -> None:
        view = site.build.settled(site.view(0))
        order = channel_last(4)
        stored = tuple(site.out_shape[o] for o in order)
        options = {"block": int(site.node.attr("blocksize"))}
        out = site.build.emit(name, (site.build.at(view, order),), stored, view.params, options, site.result)
        site.put(View(out, site.out_shape, order, view.params))

    return lower


def resize(site: Site) -> None:
    """RESIZE_NEAREST_NEIGHBOR or RESIZE_BILINEAR."""
    view, order = site.build.settled(site.view(0)), channel_last(4)
    call = resize_call(site.node, view.shape, site.out_shape)
    assert call is not None
    options = {"half_pixel": call.half_pixel, "align_corners": call.align_corners}
    name = "RESIZE_BILINEAR" if call.bilinear else "RESIZE_NEAREST_NEIGHBOR"
    inputs = (site.build.at(view, order), site.build.integers(site.out_shape[2:]))
    out = site.build.emit(name, inputs, tuple(site.out_shape[o] for o in order), view.params, options, site.result)
    site.put(View(out, site.out_shape, order, view.params))
