"""Weights that are graph inputs too, as models of IR version 3 had to list them, become plain weights; later ones need a newer IR."""

from __future__ import annotations

from ..graph import Graph
from .rewrite import Rewrite

PLAIN_WEIGHTS = 4  # the IR version from which on weights need not be graph inputs


def weights_out_of_inputs(graph: Graph) -> Rewrite:
    """Take weights off the list of graph inputs.

    Exact for every caller that does not feed them; a weight that a caller replaces could not be quantized anyway.
    """
    both = [name for name in graph.inputs if name in graph.weights]
    if not both and graph.ir_version >= PLAIN_WEIGHTS:
        return Rewrite(graph)
    changed = graph.with_(inputs=graph.feeds, ir_version=max(graph.ir_version, PLAIN_WEIGHTS))
    lines = [f"graph input `{name}` with a default value -> weight `{name}`" for name in both]
    return Rewrite(changed, tuple(lines or [f"IR version {graph.ir_version} -> {PLAIN_WEIGHTS}"]))
