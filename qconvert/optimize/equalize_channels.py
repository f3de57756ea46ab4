"""Which channel each element of a tensor belongs to, kept as small arrays that broadcast against the tensor.

An array of channel numbers has the tensor's rank, and size 1 along every axis on which the channel does not depend. So a
Reshape into heads, a Transpose and a Flatten are what NumPy makes of the array, and channels that must share one scale are
tied afterwards.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from math import prod

import numpy as np

from ..graph import Array

Shape = tuple[int, ...]


class Channels:
    """Numbers for channels, and which of them are one and the same (union-find)."""

    def __init__(self) -> None:
        self._parent: list[int] = []

    def new(self, count: int) -> Array:
        """Numbers [count] that are not in use yet."""
        start = len(self._parent)
        self._parent += range(start, start + count)
        return np.arange(start, start + count)

    def tie(self, one: Array, other: Array) -> None:
        """Make the channels of two arrays that broadcast against each other the same, element by element."""
        pairs = np.stack([a.reshape(-1) for a in np.broadcast_arrays(one, other)])
        for a, b in set(zip(*pairs[:, pairs[0] != pairs[1]].tolist(), strict=True)):
            first, second = sorted((self._root(int(a)), self._root(int(b))))
            self._parent[second] = first

    def folded(self, ids: Array, axes: Iterable[int]) -> Array:
        """Channels that depend on the given axes alone; those that differ along others are tied."""
        kept = {axis % ids.ndim for axis in axes} if ids.ndim else set()
        result = ids[tuple(slice(None) if axis in kept else slice(0, 1) for axis in range(ids.ndim))]
        self.tie(ids, result)
        return result

    def numbers(self) -> Array:
        """For every number ever given out the final one, counted from 0."""
        roots = [self._root(number) for number in range(len(self._parent))]
        return np.unique(roots, return_inverse=True)[1] if roots else np.zeros(0, dtype=np.int64)

    def _root(self, number: int) -> int:
        while self._parent[number] != number:
            number = self._parent[number]
        return number


def reshaped(ids: Array, before: Shape, after: Shape) -> Array:
    """Channels after a Reshape from shape `before` to `after`.

    Raises:
        ValueError: the shapes do not hold the same number of elements.
    """
    if prod(before) != prod(after) or 0 in before or ids.ndim != len(before):
        raise ValueError(f"{before} does not become {after}")
    full, result = [1] * len(before), [1] * len(after)
    for old, new in _blocks(before, after):
        if any(size > 1 for size in ids.shape[old]):
            full[old], result[new] = before[old], after[new]
    return np.broadcast_to(ids, full).reshape(result)


def _blocks(before: Shape, after: Shape) -> Iterator[tuple[slice, slice]]:
    """Shortest runs of axes that hold the same number of elements before and after."""
    i = j = 0
    while i < len(before) and j < len(after):
        start, left, right = (i, j), before[i], after[j]
        i, j = i + 1, j + 1
        while left != right:
            if left < right:
                left, i = left * before[i], i + 1
            else:
                right, j = right * after[j], j + 1
        yield slice(start[0], i), slice(start[1], j)
    yield slice(i, len(before)), slice(j, len(after))


def operand(ids: Array, rank: int) -> Array:
    """Channels of an operand of lower rank from those of the result it is broadcast to."""
    while ids.ndim > rank and ids.shape[0] == 1:
        ids = ids[0]
    return ids


def result_of(ids: Array, rank: int) -> Array:
    """Channels of a result from those of an operand of the same or a lower rank."""
    return ids.reshape((1,) * (rank - ids.ndim) + ids.shape)
