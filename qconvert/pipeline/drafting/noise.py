"""Sums that cancel: what is left of them is the rounding of float32, and means nothing."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ...calibrate import Sketch, sketch_of
from ...graph import Graph, Node
from ...ops import CLAMPS

# float32 keeps 24 bits, of which several roundings take some; integer kernels shift sums by 20 bits at most.
_NOISE = 2.0**-18


def without_noise(graph: Graph, sketches: Mapping[str, Sketch]) -> Mapping[str, Sketch]:
    """Statistics in which sums and differences that are next to nothing beside what they are made of are zero.

    A scale of their own would show noise, and kernels that add in integers cannot take one that is so much smaller than those of
    their inputs.
    """
    found = dict(sketches)
    for node in graph.nodes:
        if node.op in ("Add", "Sub"):
            inputs = max((sketches[name].reach for name in node.inputs if name in sketches), default=0.0)
            seen = [name for name in _seen(graph, node) if name in found and found[name].reach < inputs * _NOISE]
            found |= dict.fromkeys(seen, sketch_of(np.zeros(1, np.float32)))
    return found


def _seen(graph: Graph, node: Node) -> tuple[str, ...]:
    """The result of a node, and what a clamp makes of it."""
    return (node.output, *(n.output for n in graph.consumers_of(node.output) if n.op in CLAMPS))
