"""Some tensors rounded in a model that is float otherwise."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ...calibrate import QuantParams
from ...graph import Edit, Graph, Node


def rounded(graph: Graph, tensors: Iterable[str], params: Mapping[str, QuantParams]) -> Graph:
    """The FP32 graph with a Q/DQ pair between each of the tensors and all of its readers."""
    edit = Edit(graph)
    fresh: dict[str, str] = {}
    for name in tensors:
        codes, fresh[name] = edit.fresh(f"{name}/q"), edit.fresh(f"{name}/dq")
        constants = (
            edit.add_weight(f"{name}/scale", params[name].scale),
            edit.add_weight(f"{name}/zero_point", params[name].zero_point),
        )
        edit.add(
            Node("QuantizeLinear", (name, *constants), (codes,), name=edit.fresh_node(f"{name}/q")),
            Node("DequantizeLinear", (codes, *constants), (fresh[name],), name=edit.fresh_node(f"{name}/dq")),
        )
    for node in graph.nodes:
        if any(name in fresh for name in node.inputs):
            edit.replace(node, node.with_(inputs=tuple(fresh.get(name, name) for name in node.inputs)))
    return edit.graph()
