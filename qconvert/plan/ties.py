"""Constants that hold the same numbers in another order of axes: a decoder's embedding table and its last product."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import numpy as np

from ..graph import Array, Graph
from .model import WeightPlan

_ROWS = 4096  # compared at a time, so that mapped weights are never held as a whole


def ties(graph: Graph, weights: Mapping[tuple[str, int], WeightPlan]) -> dict[str, str]:
    """Weights of which every channel is that of another one stored in the same packed form, by name."""
    found: dict[str, str] = {}
    firsts: dict[tuple[object, ...], list[tuple[str, WeightPlan]]] = {}
    for (node, index), chosen in weights.items():
        name = graph.by_name[node].input(index)
        if chosen.form is None or not chosen.form.packed or name in found:
            continue
        shape = graph.weight_shape(name)
        known = firsts.setdefault((shape[chosen.axis or 0], prod(shape), chosen.format, chosen.block), [])
        if any(other == name for other, _ in known):
            continue
        original = next((other for other, plan in known if _equal(graph, other, plan, name, chosen)), None)
        if original is None:
            known.append((name, chosen))
        else:
            found[name] = original
    return found


def _equal(graph: Graph, one: str, first: WeightPlan, other: str, second: WeightPlan) -> bool:
    a, b = _channels(graph, one, first), _channels(graph, other, second)
    return a.shape == b.shape and all(
        np.array_equal(a[i : i + _ROWS], b[i : i + _ROWS]) for i in range(0, len(a), _ROWS)
    )


def _channels(graph: Graph, name: str, chosen: WeightPlan) -> Array:
    """A view with the channels first; matrices stay views, so that nothing is copied."""
    array = np.moveaxis(graph.weights[name].numpy(), chosen.axis or 0, 0)
    return array if array.ndim == 2 else array.reshape(len(array), -1)
