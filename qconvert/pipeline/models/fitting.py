"""Models that answer the same question in other clothes: names in another order, channels first or last, other float types.

One model is the reference; its names, types and axes are what the dataset is read for and what outputs are compared in. The
others are fitted to it. Where shapes leave open which axis is which, the way that comes nearest to the reference on the first
sample is the right one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, product

import numpy as np

from ...errors import Diagnostic, QConvertError, Severity, fail
from ...evaluate import Comparison
from ...graph import Array, Dim, TensorType
from ...runtime import Feed
from ...runtime.timing import Run
from .runners import Runner

_MOST_WAYS = 16


@dataclass(frozen=True, slots=True)
class _Link:
    """An input or output of the reference and its equal: the axes in the other's order, None where they are the same."""

    name: str
    other: str
    order: tuple[int, ...] | None


@dataclass(frozen=True, eq=False)
class Fitted:
    """A model that takes the reference's inputs and gives the reference's outputs."""

    runner: Runner
    inputs: tuple[_Link, ...]
    outputs: tuple[_Link, ...]
    shapes: Mapping[str, tuple[int, ...]]

    def run(self, feed: Feed) -> dict[str, Array]:
        """Outputs under the reference's names, with its axes."""
        found = self.runner.run(self._translated(feed))
        return {link.name: _back(found[link.other], link, self.shapes.get(link.name)) for link in self.outputs}

    def timer(self, feed: Feed) -> Run | None:
        """A run without translation."""
        return self.runner.timer(self._translated(feed))

    def _translated(self, feed: Feed) -> dict[str, Array]:
        types = self.runner.inputs
        return {link.other: _forth(feed[link.name], link.order, types[link.other]) for link in self.inputs}


def fitted(runner: Runner, reference: Runner, feed: Feed) -> tuple[Fitted, tuple[Diagnostic, ...]]:
    """Fit a model to the reference, by one sample.

    Returns:
        The model, and a note where inputs or outputs were matched by their order.

    Raises:
        QConvertError: M015 where inputs or outputs have no equal.
    """
    expected = reference.run(feed)
    notes: list[Diagnostic] = []
    ins = _matched(runner, "input", tuple(feed), tuple(runner.inputs), notes)
    ways = [[_Link(n, o, order) for order in _orders(runner, n, feed[n], runner.inputs[o])] for n, o in ins]
    outs = _matched(runner, "output", tuple(expected), runner.outputs, notes)
    candidates = list(islice(_candidates(runner, ways, outs, feed, expected), _MOST_WAYS))
    if not candidates:
        raise _unequal_outputs(runner, outs, ways, feed, expected)
    if len(candidates) == 1:
        return candidates[0], tuple(notes)
    return max(candidates, key=lambda c: _closeness(c, feed, expected)), tuple(notes)


def _candidates(
    runner: Runner,
    ways: Sequence[Sequence[_Link]],
    outs: Sequence[tuple[str, str]],
    feed: Feed,
    expected: Mapping[str, Array],
) -> Iterator[Fitted]:
    shapes = {name: array.shape for name, array in expected.items() if isinstance(array, np.ndarray)}
    for inputs in product(*ways):
        found = Fitted(runner, inputs, (), {})
        got = runner.run(found._translated(feed))
        orders = [[_Link(n, o, order) for order in _output_orders(expected[n], got[o])] for n, o in outs]
        for outputs in product(*orders):
            yield Fitted(runner, inputs, outputs, shapes)


def _closeness(candidate: Fitted, feed: Feed, expected: Mapping[str, Array]) -> float:
    compared = Comparison()
    compared.add(expected, candidate.run(feed))
    return float(compared.result("evaluation").sqnr_db)


def _matched(
    runner: Runner, what: str, names: tuple[str, ...], others: tuple[str, ...], notes: list[Diagnostic]
) -> list[tuple[str, str]]:
    if set(names) <= set(others) and (what == "output" or len(names) == len(others)):
        return [(name, name) for name in names]
    if len(names) != len(others):
        text = f"{len(others)} {what}s ({', '.join(others)}), the reference has {len(names)} ({', '.join(names)})"
        raise fail("M015", text, runner.path, "only models with the same inputs and outputs can be compared")
    pairs = list(zip(names, others, strict=True))
    said = ", ".join(f"`{other}` for `{name}`" for name, other in pairs if name != other)
    notes.append(
        Diagnostic("M102", f"{what}s were matched by their order: {said}", str(runner.path), None, Severity.NOTE)
    )
    return pairs


def _orders(runner: Runner, name: str, array: Array, wanted: TensorType) -> list[tuple[int, ...] | None]:
    if not _castable(array.dtype, wanted.dtype):
        text = f"input of type {wanted}, the reference's `{name}` is {array.dtype}{list(array.shape)}"
        raise fail("M015", text, runner.path, "only models with the same inputs can be compared")
    found = [order for order in _ways(array.ndim) if _fits(_moved(array.shape, order), wanted.shape)]
    if not found:
        text = f"input {wanted} does not fit to the reference's `{name}` {array.dtype}{list(array.shape)}"
        raise fail("M015", text, runner.path, "only models with the same inputs can be compared")
    return _distinct(found, array.shape)


def _output_orders(expected: Array, got: Array) -> list[tuple[int, ...] | None]:
    """Ways from the reference's axes to those of the other; outputs whose shape depends on the data stay as they are."""
    if not isinstance(expected, np.ndarray) or not isinstance(got, np.ndarray):
        return [None]
    found = [order for order in _ways(expected.ndim) if _fits(_moved(expected.shape, order), got.shape)]
    return _distinct(found, expected.shape) or (
        [None] if expected.ndim == got.ndim and expected.size != got.size else []
    )


def _ways(rank: int) -> list[tuple[int, ...] | None]:
    """The axes as they are, channels first to last, last to first."""
    if rank < 3:
        return [None]
    inner = tuple(range(2, rank))
    return [None, (0, *inner, 1), (0, rank - 1, *range(1, rank - 1))]


def _moved(shape: tuple[int, ...], order: tuple[int, ...] | None) -> tuple[int, ...]:
    return shape if order is None else tuple(shape[axis] for axis in order)


def _fits(shape: tuple[int, ...], wanted: Sequence[Dim] | None) -> bool:
    """Whether a shape is one of those wanted; axes of length 1 do not matter where every dimension is a number."""
    if wanted is None:
        return True
    if len(shape) == len(wanted) and all(not isinstance(w, int) or w == s for s, w in zip(shape, wanted, strict=True)):
        return True
    return all(isinstance(w, int) for w in wanted) and [s for s in shape if s != 1] == [w for w in wanted if w != 1]


def _distinct(orders: list[tuple[int, ...] | None], shape: tuple[int, ...]) -> list[tuple[int, ...] | None]:
    """Without ways that only move axes of length 1 and give the same values in the same order."""
    kept: dict[tuple[int, ...], tuple[int, ...] | None] = {}
    for order in orders:
        axes = order or tuple(range(len(shape)))
        kept.setdefault(tuple(axis for axis in axes if shape[axis] != 1), order)
    return list(kept.values())


def _castable(have: np.dtype[np.generic], want: str | None) -> bool:
    """The same type, or both real numbers of whatever width."""
    if want is None or str(have) == want or have.kind == "O":
        return True
    return have.kind == "f" and "float" in want


def _forth(array: Array, order: tuple[int, ...] | None, wanted: TensorType) -> Array:
    moved = array if order is None else array.transpose(order)
    dims = wanted.shape
    if dims is not None and len(dims) != moved.ndim:
        moved = moved.reshape([d for d in dims if isinstance(d, int)])
    dtype = moved.dtype if wanted.dtype is None or moved.dtype.kind == "O" else np.dtype(wanted.dtype)
    return np.ascontiguousarray(moved, dtype=dtype)


def _back(array: Array, link: _Link, shape: tuple[int, ...] | None) -> Array:
    if shape is None or not isinstance(array, np.ndarray):
        return array
    if link.order is None:
        return array.reshape(shape) if array.ndim != len(shape) and array.size == np.prod(shape) else array
    stored = array.reshape(_moved(shape, link.order)) if array.ndim != len(link.order) else array
    return np.ascontiguousarray(stored.transpose(np.argsort(link.order)))


def _unequal_outputs(
    runner: Runner,
    outs: Sequence[tuple[str, str]],
    ways: Sequence[Sequence[_Link]],
    feed: Feed,
    expected: Mapping[str, Array],
) -> QConvertError:
    got = runner.run(Fitted(runner, tuple(w[0] for w in ways), (), {})._translated(feed))
    shapes = ", ".join(f"`{o}` {list(got[o].shape)} for {list(expected[n].shape)}" for n, o in outs)
    hint = "only models with the same outputs can be compared"
    return fail("M015", f"outputs do not fit to those of the reference: {shapes}", runner.path, hint)
