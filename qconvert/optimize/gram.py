"""Second moments of a layer's inputs, as its weights see them: im2col rows for convolutions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ..graph import Array, Node

ROWS = 256  # rows of one sample that enter; neighbouring positions tell little new


@dataclass(frozen=True, eq=False)
class Moments:
    """Moments of the inputs of one group of output channels.

    Attributes:
        gram: [G, K, K] moments of the delivered inputs, G groups of channels (1 unless grouped).
        cross: [G, O, K] moments of what the outputs lack with the delivered inputs; None where nothing was said about it.
        rows: number of rows behind them.
    """

    gram: Array
    cross: Array | None
    rows: int


@dataclass(frozen=True, eq=False)
class Sums:
    """Sums over rows of inputs q [G, N, K], and of what the outputs lack e [G, N, O]: of q qᵀ, e qᵀ, q and e."""

    gram: Array
    cross: Array
    mean: Array
    lack: Array
    rows: int

    def __add__(self, other: Sums) -> Sums:
        return Sums(
            self.gram + other.gram,
            self.cross + other.cross,
            self.mean + other.mean,
            self.lack + other.lack,
            self.rows + other.rows,
        )

    def moments(self, centred: bool = True) -> Moments:
        """Moments, around the means where these are the business of a bias correction."""
        mean = self.mean / self.rows * centred
        gram = self.gram / self.rows - mean[:, :, None] * mean[:, None, :]
        if not self.cross.ndim:
            return Moments(gram, None, self.rows)
        lack = self.lack / self.rows
        return Moments(gram, self.cross / self.rows - lack[:, :, None] * mean[:, None, :], self.rows)


def moments(
    node: Node,
    kernel: tuple[int, ...],
    lacking: Sequence[Array] | None,
    got: Sequence[Array],
    centred: bool = True,
    inputs: slice = slice(None),
) -> Moments:
    """Second moments over all samples (see `sums`), around the means if `centred`."""
    return sums(node, kernel, lacking, got, inputs).moments(centred)


def sums(
    node: Node,
    kernel: tuple[int, ...],
    lacking: Sequence[Array] | None,
    got: Sequence[Array],
    inputs: slice = slice(None),
) -> Sums:
    """Sums over all samples, one of which is unfolded at a time; products in float32, sums in float64.

    Args:
        kernel: shape of the weight.
        lacking: what is wanted of the outputs less what they are, one array a sample.
        got: delivered inputs, one array a sample.
        inputs: those of a neuron that are looked at.
    """
    gram, cross, mean, lack = (np.zeros(()) for _ in range(4))
    total = 0
    for n, array in enumerate(got):
        q = rows(node, kernel, array)[..., inputs]
        gram = gram + np.matmul(q.transpose(0, 2, 1), q)
        mean = mean + q.sum(axis=1, dtype=np.float64)
        total += q.shape[1]
        if lacking is not None:
            e = output_rows(node, lacking[n])
            cross = cross + np.matmul(e.transpose(0, 2, 1), q)
            lack = lack + e.sum(axis=1, dtype=np.float64)
    return Sums(gram, cross, mean, lack, total)


def output_rows(node: Node, array: Array) -> Array:
    """The outputs [G, N, O/G] that belong to `rows`, float32."""
    if node.op == "Conv":
        group, (batch, channels) = int(node.attr("group", 1)), array.shape[:2]
        split = array.reshape(batch, group, channels // group, -1)
        thin = max(1, -(-batch * split.shape[3] // ROWS))
        found = split[..., ::thin].transpose(1, 0, 3, 2).reshape(group, -1, channels // group)
    else:
        found = array.reshape(1, -1, array.shape[-1])
    return np.asarray(_spread(found), dtype=np.float32)


def rows(node: Node, kernel: tuple[int, ...], array: Array) -> Array:
    """Rows [G, N, K] that the weights are multiplied with, thinned to ROWS a sample, float32."""
    found = _windows(node, kernel, array) if node.op == "Conv" else array.reshape(1, -1, array.shape[-1])
    return np.asarray(_spread(found), dtype=np.float32)


def _spread(found: Array) -> Array:
    """At most ROWS rows of [G, N, ...]."""
    return found[:, :: max(1, -(-found.shape[1] // ROWS))]


def _windows(node: Node, kernel: tuple[int, ...], array: Array) -> Array:
    """im2col of a convolution's input: [G, positions, Cin/G * area]."""
    spatial = len(kernel) - 2
    group = int(node.attr("group", 1))
    pads = node.attr("pads", (0,) * (2 * spatial))
    strides, dilations = node.attr("strides", (1,) * spatial), node.attr("dilations", (1,) * spatial)
    padded = np.pad(array, [(0, 0), (0, 0), *((pads[i], pads[i + spatial]) for i in range(spatial))])
    reach = tuple((k - 1) * d + 1 for k, d in zip(kernel[2:], dilations, strict=True))
    view = sliding_window_view(padded, reach, axis=tuple(range(2, 2 + spatial)))
    spaced: tuple[Any, ...] = tuple(slice(None, None, step) for step in (*strides, *dilations))
    view = view[(slice(None), slice(None), *spaced)]
    batch, channels = view.shape[:2]
    positions = int(np.prod(view.shape[2 : 2 + spatial]))
    thin = max(1, -(-batch * positions // ROWS))
    split = (
        view.reshape(batch, group, channels // group, positions, -1)
        if thin == 1
        else _thinned(view, group, positions, thin)
    )
    return np.ascontiguousarray(split.transpose(1, 0, 3, 2, 4)).reshape(group, -1, kernel[1] * int(np.prod(kernel[2:])))


def _thinned(view: Array, group: int, positions: int, thin: int) -> Array:
    """Every `thin`-th position only, before anything is copied."""
    batch, channels = view.shape[:2]
    spatial = (view.ndim - 2) // 2
    index = np.unravel_index(np.arange(0, positions, thin), view.shape[2 : 2 + spatial])
    everything: tuple[Any, ...] = (slice(None), slice(None))
    picked: Array = view[everything + index]
    return picked.reshape(batch, group, channels // group, len(index[0]), -1)
