"""Gemm without factors: `alpha` and `beta` move into the weight and the bias."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..errors import Diagnostic
from ..graph import Graph, Node
from .layers import Layer, layer_at, put_layer
from .match import is_op
from .rewrite import Change, Rewrite, label, left, sweep


def plain_gemm(graph: Graph) -> Rewrite:
    """Bring Gemm to `alpha = beta = 1`, as integer kernels and emitters ignore the factors.

    Exact up to one rounding: `alpha (A B) + beta C = A (alpha B) + (beta C)`. A transposed A stays and is noted.
    """
    return sweep(graph, _attempt)


def _attempt(graph: Graph, node: Node) -> Change | Diagnostic | None:
    if not is_op(node, "Gemm"):
        return None
    alpha, beta = float(node.attr("alpha", 1.0)), float(node.attr("beta", 1.0)) if node.input(2) else 1.0
    if alpha == 1.0 and beta == 1.0:
        return left(node, "its first input is transposed (transA)") if node.attr("transA", 0) else None
    layer = layer_at(graph, node)
    if not isinstance(layer, Layer):
        return left(node, f"alpha {alpha:g} and beta {beta:g} cannot be folded, as {layer}")
    plain = _without_factors(layer, alpha)
    if not plain.finite:
        return left(node, f"alpha {alpha:g} and beta {beta:g} would overflow {layer.weight.dtype}")
    line = f"{label(node)} with alpha {alpha:g}, beta {beta:g} -> 1, 1"
    return Change(line, (node,), lambda edit: put_layer(edit, graph, plain, node.output, drop=("alpha", "beta")))


def _without_factors(layer: Layer, alpha: float) -> Layer:
    """The same layer with alpha in its weight; `layer_at` has already multiplied the bias by beta."""
    with np.errstate(over="ignore"):
        weight = (layer.weight.astype(np.float64) * alpha).astype(layer.weight.dtype)
    return replace(layer, weight=weight)
