"""MatMul and the Add of its bias become one Gemm, for targets whose integer kernels want the bias inside."""

from __future__ import annotations

from ..errors import Diagnostic
from ..graph import Edit, Graph, Node
from .layers import Layer, layer_at
from .match import is_op, put_weight
from .rewrite import Change, Rewrite, label, left, sweep


def matmul_add_to_gemm(graph: Graph) -> Rewrite:
    """Write `MatMul(x, W) + bias` as Gemm where x is a matrix and W and the bias are constant.

    Exact: Gemm is this sum. Gemm takes matrices only, so inputs of a higher rank are left to the runtime.
    """
    return sweep(graph, _attempt)


def _attempt(graph: Graph, node: Node) -> Change | Diagnostic | None:
    layer = layer_at(graph, node) if is_op(node, "Add") else None
    if not isinstance(layer, Layer):
        return None
    rank = graph.type_of(layer.node.inputs[0]).rank
    if rank is None:
        return left(layer.node, "whether its input is a matrix, as Gemm wants, is not known")
    line = f"{label(layer.node)} + {label(node)} -> Gemm `{layer.node.name}`"
    return Change(line, (layer.node, node), lambda edit: _fuse(edit, graph, layer, node)) if rank == 2 else None


def _fuse(edit: Edit, graph: Graph, layer: Layer, add: Node) -> None:
    name = next(name for name in add.inputs if name != layer.node.output)
    if layer.bias is not None and graph.weights[name].shape != layer.bias.shape:
        name = put_weight(edit, graph, name, add, layer.bias)
    edit.replace(layer.node)
    edit.replace(add, Node("Gemm", (*layer.node.inputs, name), add.outputs, name=layer.node.name))
