"""Layouts as permutations: where the logical axes of an ONNX value lie in the memory of the file's tensor.

A value of shape [N, C, H, W] stored channel-last has the order (0, 2, 3, 1): memory axis i holds logical axis order[i]. Transpose
composes permutations, Reshape regroups them, and neither moves a byte; only an operator that needs another order of axes that
are longer than 1 makes a real TRANSPOSE.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import TypeAlias

import numpy as np

from ...calibrate import QuantParams
from ...graph import Array

Shape: TypeAlias = tuple[int, ...]
Order: TypeAlias = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class View:
    """An ONNX value as it lies in a tensor of the file.

    Attributes:
        tensor: number of the tensor. Its declared shape may differ from `stored` in how axes are split, never in memory order.
        shape: logical shape; order: memory axis i is logical axis order[i].
        params: None for tensors that are not quantized.
        base: for a Reshape that the memory order does not allow without moving bytes: what is to be reshaped into `shape`.
    """

    tensor: int
    shape: Shape
    order: Order
    params: QuantParams | None
    base: View | None = None

    @property
    def stored(self) -> Shape:
        """Shape of the memory."""
        return tuple(self.shape[o] for o in self.order)

    def on(self, tensor: int, params: QuantParams | None) -> View:
        """The same layout over another tensor, as an element-by-element operator leaves it."""
        base = None if self.base is None else self.base.on(tensor, params)
        return replace(self, tensor=tensor, params=params, base=base)


def identity(rank: int) -> Order:
    """The order of ONNX itself."""
    return tuple(range(rank))


def channel_last(rank: int) -> Order:
    """Batch, space, channels."""
    return (0, *range(2, rank), 1) if rank > 2 else identity(rank)


def same_memory(shape: Shape, a: Order, b: Order) -> bool:
    """Whether two orders put every element at the same place: axes of length 1 do not matter."""
    return _long(shape, a) == _long(shape, b)


def _long(shape: Shape, order: Order) -> list[int]:
    return [o for o in order if shape[o] != 1]


def transposed(view: View, permutation: Order) -> View:
    """The view after ONNX Transpose: output axis i is input axis permutation[i]."""
    shape = tuple(view.shape[p] for p in permutation)
    return replace(view, shape=shape, order=tuple(permutation.index(o) for o in view.order))


def reshaped(view: View, shape: Shape) -> View:
    """The view after ONNX Reshape; a pending one where the memory order does not allow it."""
    if view.base is not None:
        return reshaped(view.base, shape)
    order = regrouped(view.shape, view.order, shape)
    if order is None:
        return replace(view, shape=shape, order=identity(len(shape)), base=view)
    return replace(view, shape=shape, order=order)


def regrouped(old: Shape, order: Order, new: Shape) -> Order | None:
    """Memory order of the axes of `new`, None if axes that are to be merged do not lie side by side.

    Axes are split into the smallest groups of equal size on both sides; a group moves as a whole.
    """
    memory = _long(old, order)
    groups = sorted((memory.index(olds[0]), olds, news) for olds, news in _groups(old, new))
    for start, olds, _ in groups:
        if memory[start : start + len(olds)] != olds:
            return None
    long_axes = [axis for _, _, news in groups for axis in news]
    if long_axes == sorted(long_axes):
        return identity(len(new))
    return (*(axis for axis, size in enumerate(new) if size == 1), *long_axes)


def _groups(old: Shape, new: Shape) -> list[tuple[list[int], list[int]]]:
    left = [axis for axis, size in enumerate(old) if size != 1]
    right = [axis for axis, size in enumerate(new) if size != 1]
    found: list[tuple[list[int], list[int]]] = []
    while left:
        olds, news = [left.pop(0)], [right.pop(0)]
        while (a := prod(old[i] for i in olds)) != (b := prod(new[i] for i in news)):
            if a < b:
                olds.append(left.pop(0))
            else:
                news.append(right.pop(0))
        found.append((olds, news))
    return found


def merged_axes(shape: Shape, order: Order, wanted: Order) -> tuple[Shape, tuple[int, ...]]:
    """Sizes and permutation of the smallest transposition: axes of length 1 are left out, those that stay together are one."""
    source, target = [[o] for o in _long(shape, order)], _long(shape, wanted)
    n = 0
    while n + 1 < len(source):
        after = target.index(source[n][-1]) + 1
        if after < len(target) and target[after] == source[n + 1][0]:
            source[n] += source.pop(n + 1)
        else:
            n += 1
    moves = sorted(range(len(source)), key=lambda group: target.index(source[group][0]))
    return tuple(prod(shape[o] for o in group) for group in source), tuple(moves)


def columns(view: View) -> Array | None:
    """For a pending reshape to [rows, columns]: the logical column of each column in memory; None if rows are mixed in."""
    base = view.base
    if base is None or len(view.shape) != 2 or base.shape[0] != view.shape[0]:
        return None
    if view.shape[0] != 1 and base.order[0] != 0:
        return None
    order = [o - 1 for o in base.order if o != 0]
    return np.arange(view.shape[1]).reshape(base.shape[1:]).transpose(order).reshape(-1)


def squeezed(view: View, rank: int) -> View:
    """The view with axes of length 1 put in front up to a rank, as ONNX broadcasting aligns shapes."""
    extra = rank - len(view.shape)
    if extra <= 0:
        return view
    order = (*range(extra), *(o + extra for o in view.order))
    return replace(view, shape=(*(1,) * extra, *view.shape), order=order)
