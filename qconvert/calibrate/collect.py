"""The one streaming pass over the calibration data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

import numpy as np

from ..data import Sample
from ..errors import fail
from ..graph import Array, Graph, Node
from ..ops import Role, Tie, inputs_with, spec
from ..runtime import Options, opened
from .cells import cell_states, with_cell_states


class Observer(Protocol):
    """Statistics of one tensor, fed sample by sample."""

    def add(self, values: Array) -> None:
        """Take in one sample's tensor."""

    def result(self) -> Any:
        """The statistics so far."""


def collect(
    graph: Graph,
    samples: Iterable[Sample],
    observers: Mapping[str, tuple[Observer, ...]],
    threads: int = 1,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Run every sample once and show the observed tensors to their observers.

    The same tensors are exposed whatever is observed, so that how the runtime fuses, and with it the last bits of every tensor,
    does not depend on the target that asks. Only one sample is in memory.

    Args:
        observers: tensor name to its observers; they are filled in place.
        progress: called with the number of samples done.

    Returns:
        The number of samples.

    Raises:
        QConvertError: M009 where the model does not run, M013 where it produces NaN or infinity.
    """
    names = [name for name in observers if name not in graph.feeds]
    outputs = tuple(dict.fromkeys([*_computed(graph), *names])) or graph.outputs[:1]
    exposed = with_cell_states(graph.with_(outputs=outputs), cell_states(graph).intersection(outputs))
    count = 0
    with opened(exposed, Options(threads=threads)) as session:
        for sample in samples:
            _show({**sample.feed, **session.run(sample.feed, names or None)}, observers)
            count += 1
            if progress is not None:
                progress(count)
    return count


def watchable(graph: Graph) -> tuple[str, ...]:
    """Every activation that a target may want to quantize, graph inputs included, in graph order.

    That is what known operators read as data and write, except where values are only moved; what a clamp cuts is seen behind it.
    """
    return (*(name for name in graph.feeds if graph.type_of(name).dtype == "float32"), *_computed(graph))


def _computed(graph: Graph) -> tuple[str, ...]:
    found = {name for node in graph.nodes for name in _around(node) if graph.type_of(name).dtype == "float32"}
    found -= {*graph.feeds, *cell_states(graph)}
    return tuple(name for name in graph.values() if name in found and not _clamped(graph, name))


def _around(node: Node) -> tuple[str, ...]:
    row = spec(node)
    if row is None or row.tie is Tie.SAME:
        return ()
    read = (node.inputs[i] for role in (Role.DATA, Role.WEIGHT) for i in inputs_with(node, role))
    return (*(name for name in read if name), node.output)


def _clamped(graph: Graph, name: str) -> bool:
    reader = graph.sole_consumer(name)
    row = None if reader is None else spec(reader)
    return row is not None and row.tie is Tie.CLAMP


def _show(values: Mapping[str, Array], observers: Mapping[str, tuple[Observer, ...]]) -> None:
    """Hand one sample's tensors to their observers; they are freed on return, so that the next run gets the same memory."""
    for name, watching in observers.items():
        for observer in watching:
            observer.add(values[name])


def check_finite(name: str, low: float, high: float) -> None:
    """Refuse statistics with NaN or infinity.

    Raises:
        QConvertError: M013 naming the tensor.
    """
    if not (np.isfinite(low) and np.isfinite(high)):
        raise fail(
            "M013",
            f"the FP32 model produces values that are not finite: {low} to {high}",
            f"tensor `{name}`",
            "check the sample and its preprocessing",
        )
