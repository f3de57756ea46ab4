"""Sizes that a model leaves open, as its samples have them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import median_low

import numpy as np

from ...errors import Diagnostic, Severity
from ...graph import Graph
from ...recipe import Recipe
from ...runtime import Feed

LOOKED_AT = 8  # samples


def typical(samples: Sequence[Feed]) -> Feed | None:
    """The sample of the median number of values, None of none."""
    counts = [sum(np.size(value) for value in feed.values()) for feed in samples]
    return samples[counts.index(median_low(counts))] if counts else None


def sizes_of(graph: Graph, samples: Sequence[Feed], same: bool) -> dict[str, int]:
    """Numbers for the dimensions that the graph's inputs name, those of the typical sample.

    Args:
        samples: values of all inputs.
        same: leave out what differs between samples.

    Returns:
        Nothing for a name that stands for two sizes in one sample: the exporter was wrong about it.
    """
    chosen = typical(samples)
    if chosen is None:
        return {}
    found = [_sizes(graph, feed) for feed in samples] if same else [_sizes(graph, chosen)]
    together = {name: set().union(*(each.get(name, {1}) for each in found)) for name in found[0]}
    return {name: min(sizes) for name, sizes in together.items() if len(sizes) == 1}


def open_sizes(graph: Graph) -> frozenset[str]:
    """Names of dimensions of the inputs that are neither fixed nor the first, which counts as a batch."""
    shapes = (graph.type_of(name).shape or () for name in graph.feeds)
    return frozenset(dim for shape in shapes for dim in shape[1:] if isinstance(dim, str))


def from_samples(sizes: Mapping[str, int], recipe: Recipe) -> Iterator[Diagnostic]:
    """A note about the sizes that the recipe does not give."""
    found = [f"{name}: {size}" for name, size in sizes.items() if name not in recipe.shapes]
    if found:
        text = f"the model leaves sizes open, they are planned as the samples have them: {', '.join(found)}"
        yield Diagnostic("M106", text, None, f"`shapes: {{{found[0]}}}` in the recipe says otherwise", Severity.NOTE)


def _sizes(graph: Graph, feed: Feed) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {}
    for name in graph.feeds:
        for place, (dim, size) in enumerate(zip(graph.type_of(name).shape or (), np.shape(feed[name]), strict=False)):
            if isinstance(dim, str) and (place or size > 1):  # a batch of one is assumed anyway
                found.setdefault(dim, set()).add(int(size))
    return found
