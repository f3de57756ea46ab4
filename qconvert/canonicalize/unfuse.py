"""Operators that onnxruntime's optimizer has fused become the standard operators that they were made of.

A saved optimized model is a form for one runtime and one kind of number: other targets do not know its operators, and none of
them has an integer kernel. The runtime fuses again when it loads the result. Source: ContribOperators.md of onnxruntime.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import sqrt
from typing import Any

from ..errors import Diagnostic
from ..graph import Graph, Node
from .chain import Chain, Decomposition, always, taken_apart
from .match import like, without
from .rewrite import Change, Rewrite, sweep

_LAYER_NORM, _GELU = 17, 20  # opsets that have the operators
_SUM = 3  # output of SkipLayerNormalization that is the sum in front of it


def unfuse(graph: Graph) -> Rewrite:
    """Take apart FusedConv, FusedGemm, FusedMatMul, SkipLayerNormalization, BiasGelu, Gelu and QuickGelu of com.microsoft."""
    return sweep(graph, _attempt)


def _attempt(graph: Graph, node: Node) -> Change | Diagnostic | None:
    row = _ROWS.get(node.op) if node.domain == "com.microsoft" else None
    return None if row is None else taken_apart(graph, node, row, "standard operators")


def _number(chain: Chain, value: float) -> Any:
    """A number in the element type of the node's input."""
    found = like(chain.graph, chain.node.input(0), value)
    return value if found is None else found


# --- layers with an activation -----------------------------------------------------------------------------------------

_PARAMS: Mapping[str, tuple[str, ...]] = {  # activation to the attributes that its parameters are, in order
    "Relu": (),
    "Sigmoid": (),
    "Tanh": (),
    "Softplus": (),
    "Softsign": (),
    "LeakyRelu": ("alpha",),
    "Elu": ("alpha",),
    "HardSigmoid": ("alpha", "beta"),
    "Clip": ("min", "max"),
}


def _why_not_layer(_: Graph, node: Node) -> str:
    kind = node.attr("activation")
    return "" if kind is None or kind in _PARAMS else f"its activation {kind} is not known"


def _activation(chain: Chain, name: str, params: Mapping[str, float]) -> None:
    """The activation behind a layer, whose parameters are inputs of Clip and attributes of the others."""
    node = chain.node
    kind = str(node.attr("activation"))
    if kind == "Clip":
        bounds = (_number(chain, params[key]) if key in params else "" for key in _PARAMS[kind])
        chain.add(kind, name, *bounds, last=node.output)
    else:
        chain.add(kind, name, last=node.output, **params)


def _conv(chain: Chain) -> None:
    node = chain.node
    plain = without(node, "activation", "activation_params")
    kind, added = node.attr("activation"), node.input(3)
    inputs = node.inputs[:3] if node.input(2) else node.inputs[:2]
    last = chain.add("Conv", *inputs, last="" if kind or added else node.output, **plain)
    if added:
        last = chain.add("Add", last, added, last="" if kind else node.output)
    if kind:
        _activation(chain, last, dict(zip(_PARAMS[kind], node.attr("activation_params") or (), strict=False)))


def _gemm(chain: Chain) -> None:
    node = chain.node
    kind = node.attr("activation")
    params = {key: node.attr(f"activation_{key}") for key in ("alpha", "beta")}
    plain = without(node, "activation", "activation_alpha", "activation_beta", "activation_gamma")
    last = chain.add("Gemm", *node.inputs, last="" if kind else node.output, **plain)
    if kind:
        given = {key: value for key, value in params.items() if value is not None and key in _PARAMS[kind]}
        _activation(chain, last, given)


# --- products ----------------------------------------------------------------------------------------------------------


def _why_not_matmul(graph: Graph, node: Node) -> str:
    if node.attr("transBatchA", 0) or node.attr("transBatchB", 0):
        return "its batch axes are moved"
    turned = [i for i, key in enumerate(("transA", "transB")) if node.attr(key, 0)]
    return "" if all(_rank(graph, node.inputs[i]) for i in turned) else "the rank of a factor is not known"


def _rank(graph: Graph, name: str) -> int:
    return graph.type_of(name).rank or 0


def _matmul(chain: Chain) -> None:
    node, alpha = chain.node, float(chain.node.attr("alpha", 1.0))
    factors = [
        _turned(chain, name) if node.attr(key, 0) and _rank(chain.graph, name) > 1 else name
        for name, key in zip(node.inputs, ("transA", "transB"), strict=True)
    ]
    product = chain.add("MatMul", *factors, last="" if alpha != 1 else node.output)
    if alpha != 1:
        chain.add("Mul", product, _number(chain, alpha), last=node.output)


def _turned(chain: Chain, name: str) -> str:
    rank = _rank(chain.graph, name)
    return chain.add("Transpose", name, perm=(*range(rank - 2), rank - 1, rank - 2))


# --- between the layers ------------------------------------------------------------------------------------------------


def _why_not_norm(graph: Graph, node: Node) -> str:
    if graph.opset < _LAYER_NORM:
        return f"the opset has no LayerNormalization before {_LAYER_NORM}"
    read = [n for n in node.outputs[1:_SUM] if n and (graph.consumers_of(n) or n in graph.outputs)]
    return "its mean or deviation is read" if read else ""


def _skip_norm(chain: Chain) -> None:
    node = chain.node
    bias, total = node.input(4), node.outputs[_SUM] if len(node.outputs) > _SUM else ""
    added = chain.add("Add", node.inputs[0], node.inputs[1], last="" if bias else total)
    if bias:
        added = chain.add("Add", added, bias, last=total)
    scale = [name for name in node.inputs[2:4] if name]
    chain.add("LayerNormalization", added, *scale, last=node.output, axis=-1, epsilon=node.attr("epsilon", 1e-12))


def _bias_gelu(chain: Chain) -> None:
    _gelu_of(chain, chain.add("Add", *chain.node.inputs))


def _gelu(chain: Chain) -> None:
    _gelu_of(chain, chain.node.inputs[0])


def _gelu_of(chain: Chain, name: str) -> None:
    """The operator, or x / 2 (1 + erf(x / sqrt(2)))."""
    if chain.graph.opset >= _GELU:
        chain.add("Gelu", name, last=chain.node.output)
        return
    erf = chain.add("Erf", chain.add("Div", name, _number(chain, sqrt(2.0))))
    product = chain.add("Mul", name, chain.add("Add", erf, _number(chain, 1.0)))
    chain.add("Mul", product, _number(chain, 0.5), last=chain.node.output)


def _quick_gelu(chain: Chain) -> None:
    name, alpha = chain.node.inputs[0], float(chain.node.attr("alpha", 1.702))
    gate = chain.add("Sigmoid", chain.add("Mul", name, _number(chain, alpha)))
    chain.add("Mul", name, gate, last=chain.node.output)


_ROWS: dict[str, Decomposition] = {
    "FusedConv": Decomposition(_why_not_layer, _conv),
    "FusedGemm": Decomposition(_why_not_layer, _gemm),
    "FusedMatMul": Decomposition(_why_not_matmul, _matmul),
    "SkipLayerNormalization": Decomposition(_why_not_norm, _skip_norm),
    "BiasGelu": Decomposition(always, _bias_gelu),
    "Gelu": Decomposition(always, _gelu),
    "QuickGelu": Decomposition(always, _quick_gelu),
}
