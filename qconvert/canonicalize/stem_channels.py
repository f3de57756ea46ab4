"""Images of 3 channels get a fourth one of zeros, as integer kernels work on groups of four."""

from __future__ import annotations

import numpy as np

from ..graph import Edit, Graph, Node, TensorType
from .layers import Layer, layer_at, pad_weight, put_layer
from .match import is_op, like
from .rewrite import Change, Rewrite, label, sweep

STEM, PADDED = 3, 4


def pad_stem_channels(graph: Graph) -> Rewrite:
    """Pad the input of the first Conv from 3 to 4 channels, and its weight with zeros.

    Exact: the new products are zero times zero. Also done for every Conv that reads a graph input directly.
    """
    first = next((node for node in graph.nodes if is_op(node, "Conv")), None)
    return sweep(graph, lambda now, node: _attempt(now, node, first is not None and node.name == first.name))


def _attempt(graph: Graph, node: Node, is_first: bool) -> Change | None:
    if not is_op(node, "Conv") or node.attr("group", 1) != 1 or not (is_first or node.inputs[0] in graph.inputs):
        return None
    layer = layer_at(graph, node)
    if not isinstance(layer, Layer) or layer.weight.shape[1] != STEM or like(graph, node.inputs[0], 0.0) is None:
        return None
    return Change(
        f"{label(node)} with {STEM} input channels -> {PADDED}", (node,), lambda edit: _pad(edit, graph, layer)
    )


def _pad(edit: Edit, graph: Graph, layer: Layer) -> None:
    node, rank = layer.node, layer.weight.ndim
    known, source = graph.type_of(node.inputs[0]), node.inputs[0]
    padded = edit.fresh(f"{source}_padded")
    edit.set_type(padded, TensorType(known.dtype, (known.shape[0], PADDED, *known.shape[2:]) if known.shape else None))
    amounts = np.zeros(2 * rank, np.int64)
    amounts[rank + 1] = PADDED - STEM
    pads = edit.add_weight(f"{source}_pads", amounts)
    put_layer(edit, graph, pad_weight(layer, axis=1, channels=PADDED), node.output)
    conv = edit.current(node)
    pad = Node("Pad", (source, pads), (padded,), {"mode": "constant"}, name=edit.fresh_node(f"{node.name}_pad"))
    if conv is not None:
        edit.replace(node, pad, conv.with_(inputs=(padded, *conv.inputs[1:])))
