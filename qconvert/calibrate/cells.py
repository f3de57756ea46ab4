"""Cell states of an LSTM at every step, which ONNX gives for the last step only, so that their range can be seen.

A batch of copies of the sequence, each cut to another length, ends in the states of all those steps.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from ..graph import Edit, Graph, Node

_MOST = 64  # lengths that are looked at, spread evenly: a state changes little from one step to the next


def cell_states(graph: Graph) -> frozenset[str]:
    """Names of cell states that nothing reads: they stand for those of all steps, inside the kernel."""
    found = (node.outputs[2] for node in graph.nodes if node.op == "LSTM" and len(node.outputs) > 2)
    return frozenset(name for name in found if name not in graph.outputs and not graph.consumers_of(name))


def with_cell_states(graph: Graph, names: Collection[str]) -> Graph:
    """The graph, in which they are exposed, with these cell states as [1, lengths * batch, hidden] of many steps."""
    layers = [n for n in graph.nodes if n.op == "LSTM" and n.outputs[2:3] and n.outputs[2] in names]
    if not layers:
        return graph
    edit = Edit(graph)
    for node in layers:
        edit.replace(node, node.with_(outputs=node.outputs[:2]), *_cells(graph, edit, node))
    return edit.graph()


def _cells(graph: Graph, edit: Edit, node: Node) -> tuple[Node, Node]:
    steps, batch = (int(d) for d in (graph.type_of(node.input(0)).shape or ())[:2] if isinstance(d, int))
    lengths = np.unique(np.linspace(1, steps, min(steps, _MOST)).astype(np.int32))
    copies = edit.add_weight(f"{node.name}_copies", np.array([1, lengths.size, 1], np.int64))
    ends = edit.add_weight(f"{node.name}_lengths", np.repeat(lengths, batch))
    rows = edit.fresh(f"{node.name}_rows")
    tiled = Node("Tile", (node.inputs[0], copies), (rows,), name=edit.fresh_node(f"{node.name}_tile"))
    inputs = (rows, *node.inputs[1:3], node.input(3), ends)
    return tiled, node.with_(
        inputs=inputs, outputs=("", "", node.outputs[2]), name=edit.fresh_node(f"{node.name}_cells")
    )
