"""Convolutions and matrix products."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from ...calibrate import QuantParams, quantize
from ...graph import Array
from ..weights import bias_codes
from .layout import Order, View, channel_last, columns, identity, reshaped
from .schema import SAME, VALID
from .site import Site


@dataclass(frozen=True, slots=True)
class Window:
    """A sliding window along one axis: sizes of input, output and window, step, dilation, padding in front and behind."""

    size: int
    out: int
    kernel: int
    stride: int
    dilation: int
    low: int
    high: int

    @property
    def reach(self) -> int:
        """Input positions from the first to the last tap."""
        return (self.kernel - 1) * self.dilation + 1

    @property
    def needed(self) -> tuple[int, int]:
        """Padding that windows really touch; ceil_mode asks for more than the model gives, a stride may leave some untouched."""
        return self.low, max(0, (self.out - 1) * self.stride + self.reach - self.size - self.low)

    @property
    def same(self) -> bool:
        """Whether TensorFlow's SAME means just this: half of the padding in front, rounded down."""
        if self.out != -(-self.size // self.stride):
            return False
        total = max(0, (self.out - 1) * self.stride + self.reach - self.size)
        return self.needed == (total // 2, total - total // 2)


def windows(site: Site, kernel: tuple[int, ...]) -> tuple[Window, ...]:
    """Windows along the spatial axes of a Conv or pool."""
    node, n = site.node, len(kernel)
    strides, dilations = (tuple(node.attr(key) or (1,) * n) for key in ("strides", "dilations"))
    pads = tuple(node.attr("pads") or (0,) * 2 * n)
    sizes, outs = site.shape(0)[2:], site.out_shape[2:]
    return tuple(Window(sizes[i], outs[i], kernel[i], strides[i], dilations[i], pads[i], pads[i + n]) for i in range(n))


def two(found: tuple[Window, ...]) -> tuple[Window, Window]:
    """Windows of a plane; a line gets a height of 1."""
    return (found[0], found[1]) if len(found) == 2 else (Window(1, 1, 1, 1, 1, 0, 0), found[0])


def plane(view: View) -> View:
    """A value with one spatial axis as a plane of height 1."""
    n, c, *space = view.shape
    return view if len(space) != 1 else reshaped(view, (n, c, 1, space[0]))


def finish_plane(site: Site, tensor: int, params: QuantParams) -> None:
    """Hand over a channel-last plane, or the line that it stands for."""
    n, c, *space = site.out_shape
    full = (n, c, *space) if len(space) == 2 else (n, c, 1, space[0])
    site.put(reshaped(View(tensor, full, channel_last(4), params), site.out_shape))


def padded(site: Site, tensor: int, pair: tuple[Window, Window], value: int | None = None) -> tuple[int, int]:
    """The input and the padding mode: SAME or VALID where one of them is exact, else behind a PAD (PADV2 with `value`)."""
    needed = [w.needed for w in pair]
    if not any(map(any, needed)):
        return tensor, VALID
    if all(w.same for w in pair):
        return tensor, SAME
    return explicit_pad(site, tensor, [(0, 0), *needed, (0, 0)], value), VALID


def explicit_pad(site: Site, tensor: int, pads: list[tuple[int, int]], value: int | None = None) -> int:
    """PAD with the zero point, or PADV2 with the code `value`."""
    build, source = site.build, site.build.tensors[tensor]
    shape = tuple(size + low + high for size, (low, high) in zip(source.shape, pads, strict=True))
    params = site.view(0).params
    assert params is not None
    if value is None or value == int(params.zero_point):
        return build.emit("PAD", (tensor, build.integers(pads)), shape, params)
    filler = build.constant(
        np.full((1,), value, params.format.dtype),
        params.format.dtype,
        np.asarray(params.scale),
        np.asarray(params.zero_point),
    )
    return build.emit("PADV2", (tensor, build.integers(pads), filler), shape, params)


# --- convolution ---------------------------------------------------------------------------------------------------------


def conv(site: Site) -> None:
    """CONV_2D, or DEPTHWISE_CONV_2D where each group has one input channel."""
    weight = site.array(1)
    assert weight is not None
    depthwise = weight.shape[1] == 1 and site.node.attr("group", 1) > 1
    view = plane(site.view(0))
    pair, codes = two(windows(site, weight.shape[2:])), _plane_kernel(quantize(weight, site.weight(1)))
    if site.node.name in site.scene.widened:
        pair, codes = _widened(pair, codes)
    tensor, padding = padded(site, site.build.at(view, channel_last(4)), pair)
    codes = codes.transpose(1, 2, 3, 0) if depthwise else codes.transpose(0, 2, 3, 1)
    bias = bias_tensor(site, weight.shape[0]) or zero_bias(site, weight.shape[0])
    inputs = (tensor, filter_tensor(site, codes, 3 if depthwise else 0), *bias)
    options = _window_options(pair, padding) | {"activation": site.activation()}
    name = "CONV_2D"
    if depthwise:
        name, options = "DEPTHWISE_CONV_2D", options | {"multiplier": weight.shape[0] // view.shape[1]}
    n, c, *space = site.out_shape
    shape = (n, *((1,) * (2 - len(space))), *space, c)
    finish_plane(site, site.build.emit(name, inputs, shape, site.params, options, site.result), site.params)


def _widened(pair: tuple[Window, Window], codes: Array) -> tuple[tuple[Window, Window], Array]:
    """Windows with taps of zero around them, so that SAME is exact; unchanged where a few taps will not do."""
    found = [wider(w) for w in pair]
    h, w = found[0], found[1]
    if h is None or w is None:
        return pair, codes
    return (h[0], w[0]), np.pad(codes, ((0, 0), (0, 0), h[1], w[1]))


def wider(window: Window) -> tuple[Window, tuple[int, int]] | None:
    """The window with the fewest extra taps in front and behind under which SAME pads as the window wants."""
    for extra in range(4):
        for front in range(extra + 1):
            low = window.low + front * window.dilation
            new = replace(window, kernel=window.kernel + extra, low=low)
            if new.same:
                return new, (front, extra - front)
    return None


def _plane_kernel(codes: Array) -> Array:
    return codes if codes.ndim == 4 else codes[:, :, None, :]


def _window_options(pair: tuple[Window, Window], padding: int) -> dict[str, Any]:
    h, w = pair
    return {
        "padding": padding,
        "stride_h": h.stride,
        "stride_w": w.stride,
        "dilation_h": h.dilation,
        "dilation_w": w.dilation,
    }


def filter_tensor(site: Site, codes: Array, axis: int, index: int = 1) -> int:
    """A weight's codes in the file's order, with one scale or one along `axis`."""
    params = site.weight(index)
    dtype = "int4" if params.format.bits == 4 else "int8"
    scale = np.asarray(params.scale).reshape(-1)
    return site.build.constant(np.ascontiguousarray(codes).astype(np.int8), dtype, scale, axis=axis)


def bias_tensor(site: Site, channels: int) -> tuple[int, ...]:
    """The bias in the accumulator's scale, input scale times weight scale; none where the node has none."""
    bias = site.array(2)
    if bias is None:
        return ()
    reading = site.view(0).params
    assert reading is not None
    scale = np.asarray(reading.scale * site.weight(1).scale, np.float32).reshape(-1)
    row = np.broadcast_to(bias.reshape(-1), (channels,))
    wide = reading.format.bits == 16
    codes = _int64_codes(row, scale) if wide else bias_codes(row, scale)
    return (site.build.constant(codes, "int64" if wide else "int32", scale),)


def zero_bias(site: Site, channels: int) -> tuple[int, ...]:
    """A bias of zeros, for kernels of LiteRT that want one."""
    reading = site.view(0).params
    assert reading is not None
    scale = np.asarray(reading.scale * site.weight(1).scale, np.float32).reshape(-1)
    dtype = "int64" if reading.format.bits == 16 else "int32"
    return (site.build.constant(np.zeros(channels, dtype), dtype, scale),)


def _int64_codes(row: Array, scale: Array) -> Array:
    """A 16-bit activation leaves a product scale so small that TFLM takes biases of 64 bits, of which it uses 48."""
    limit = 2.0**39
    return np.asarray(
        np.clip(np.rint(row.astype(np.float64) / scale.astype(np.float64)), -limit, limit).astype(np.int64)
    )


def conv_transpose(site: Site) -> None:
    """TRANSPOSE_CONV; what the padding cuts from the full result is cut by a STRIDED_SLICE where SAME or VALID do not."""
    weight = site.array(1)
    assert weight is not None
    view = plane(site.view(0))
    codes = quantize(weight, site.weight(1))
    codes = (codes if codes.ndim == 4 else codes[:, :, None, :]).transpose(1, 2, 3, 0)
    strides = tuple(site.node.attr("strides") or (1,) * (weight.ndim - 2))
    strides = strides if len(strides) == 2 else (1, *strides)
    pads, space = _crop(site)
    full = tuple((size - 1) * s + k for size, s, k in zip(view.shape[2:], strides, codes.shape[1:3], strict=True))
    shape = (view.shape[0], *full, codes.shape[0])
    build = site.build
    inputs = (
        build.integers(shape),
        filter_tensor(site, codes, 0),
        build.at(view, channel_last(4)),
        *bias_tensor(site, codes.shape[0]),
    )
    options = {"padding": VALID, "stride_h": strides[0], "stride_w": strides[1]}
    tensor = build.emit("TRANSPOSE_CONV", inputs, shape, site.params, options, site.result)
    tensor = _cropped(site, tensor, shape, pads, space)
    finish_plane(site, tensor, site.params)


def _crop(site: Site) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Where the result begins in the full one, and its size."""
    space = site.out_shape[2:]
    given = site.node.attr("pads") or (0,) * 2 * len(space)
    start = tuple(given[: len(space)])
    return (start, space) if len(space) == 2 else ((0, *start), (1, *space))


def _cropped(site: Site, tensor: int, shape: tuple[int, ...], start: tuple[int, ...], space: tuple[int, ...]) -> int:
    build = site.build
    short = [max(0, b + size - have) for b, size, have in zip(start, space, shape[1:3], strict=True)]
    if any(short):  # output_padding reaches beyond the full result: zeros there, before the bias is added; see `limits`
        tensor = build.emit(
            "PAD",
            (tensor, build.integers([(0, 0), (0, short[0]), (0, short[1]), (0, 0)])),
            (shape[0], shape[1] + short[0], shape[2] + short[1], shape[3]),
            site.params,
        )
    if (0, *start, 0) == (0, 0, 0, 0) and space == shape[1:3]:
        return tensor
    begin = (0, *start, 0)
    end = (shape[0], *(b + s for b, s in zip(start, space, strict=True)), shape[3])
    return build.emit(
        "STRIDED_SLICE",
        (tensor, *(build.integers(v) for v in (begin, end, (1, 1, 1, 1)))),
        (shape[0], *space, shape[3]),
        site.params,
    )


# --- matrix products -----------------------------------------------------------------------------------------------------


def gemm(site: Site) -> None:
    """FULLY_CONNECTED; a reshape in front that would need a transposition moves the weight's columns instead."""
    weight = site.array(1)
    assert weight is not None
    codes = quantize(weight, site.weight(1))
    _fully_connected(site, codes if site.node.attr("transB", 0) else codes.T)


def matmul(site: Site) -> None:
    """FULLY_CONNECTED for a constant matrix, else BATCH_MATMUL."""
    weight = site.array(1)
    if weight is None:
        _batch_matmul(site)
    else:
        _fully_connected(site, quantize(weight, site.weight(1)).reshape(weight.shape[-2:]).T)


def _fully_connected(site: Site, codes: Array) -> None:
    view, build = site.view(0), site.build
    shape, rank = site.out_shape, len(site.shape(0))
    moved = columns(view)
    if moved is not None and view.base is not None:
        tensor, codes = view.base.tensor, codes[:, moved]
    else:
        tensor = _rows(site, view)
    keep = rank != 2 and len(build.tensors[tensor].shape) == rank
    stored = shape if keep or rank == 2 else (prod(shape[:-1]), shape[-1])
    order = _rows_order(build_view(site, view)) if rank != 2 else identity(2)
    if keep:
        stored = tuple(shape[o] for o in order)
    inputs = (tensor, filter_tensor(site, codes, 0), *bias_tensor(site, codes.shape[0]))
    options = {"activation": site.activation(), "keep_num_dims": keep}
    out = build.emit("FULLY_CONNECTED", inputs, stored, site.params, options, site.result)
    site.done(out, order)


def build_view(site: Site, view: View) -> View:
    """The view without a pending reshape."""
    return site.build.settled(view)


def _rows(site: Site, view: View) -> int:
    """Memory whose last axis is that of the product; for one matrix its declared shape does not matter."""
    settled = site.build.settled(view)
    order = _rows_order(settled)
    if len(view.shape) == 2 and settled.order == order:
        return settled.tensor
    return site.build.at(settled, order)


def _rows_order(view: View) -> Order:
    last = len(view.shape) - 1
    return (*(o for o in view.order if o != last), last)


def _batch_matmul(site: Site) -> None:
    """Products of two activations; a transposed operand is read as it lies."""
    a, b = (site.build.settled(site.view(i)) for i in (0, 1))
    (left, adj_x), (right, adj_y) = _matrix(site, a), _matrix(site, b)
    options = {"adj_x": adj_x, "adj_y": adj_y}
    site.done(site.build.emit("BATCH_MATMUL", (left, right), site.out_shape, site.params, options, site.result))


def _matrix(site: Site, view: View) -> tuple[int, bool]:
    from .layout import same_memory

    n = len(view.shape)
    swapped = (*range(n - 2), n - 1, n - 2)
    adjoint = not same_memory(view.shape, view.order, identity(n)) and same_memory(view.shape, view.order, swapped)
    return site.build.at(view, swapped if adjoint else identity(n)), adjoint
