"""BatchNormalization moves into the layer in front of it, or into the one behind it."""

from __future__ import annotations

import numpy as np

from ..errors import Diagnostic
from ..graph import Edit, Graph, Node
from .fold import fold_behind
from .layers import Affine, Layer, layer_at, put_layer, scale_input
from .match import CHANNEL_AXIS, is_op, why_shared
from .rewrite import Change, Rewrite, label, left, sweep

_EPSILON = 1e-5


def fold_batchnorm(graph: Graph) -> Rewrite:
    """Fold BatchNormalization (inference form) into Conv, ConvTranspose, Gemm or MatMul.

    At inference it is `scale * x + shift` per channel, and a layer is linear, so either direction is exact up to one rounding:

    * into the layer in front, also through operators that keep a channel together (Reshape, Squeeze, Transpose, ...), if nobody
      else reads what lies between. Not through Pad: its zeros would be scaled and shifted too;
    * else into the layer behind. A shift meets the zeros at a padded border, so then the layer must not pad unless the shift is 0.
    """
    return sweep(graph, _attempt)


def _attempt(graph: Graph, node: Node) -> Change | Diagnostic | None:
    if not is_op(node, "BatchNormalization"):
        return None
    affine = _affine(graph, node)
    if isinstance(affine, str):
        return left(node, affine)
    behind = fold_behind(graph, node, node.inputs[0], CHANNEL_AXIS, affine)
    if isinstance(behind, Change):
        return behind
    ahead = _fold_ahead(graph, node, affine)
    return ahead if isinstance(ahead, Change) else left(node, f"{behind}; {ahead}")


def _affine(graph: Graph, node: Node) -> Affine | str:
    """The factor and the offset per channel, in float64."""
    if node.attr("training_mode", 0):
        return "it is in training mode"
    if any(out and (graph.consumers_of(out) or out in graph.outputs) for out in node.outputs[1:]):
        return "its statistics are used"
    given = [graph.constant(name) for name in node.inputs[1:5]]
    if any(value is None for value in given):
        return "a parameter is not constant"
    gamma, beta, mean, variance = (v.astype(np.float64) for v in given if v is not None)
    scale = gamma / np.sqrt(variance + float(node.attr("epsilon", _EPSILON)))
    return Affine(scale, beta - mean * scale) if np.isfinite(scale).all() else "a variance is negative or not finite"


def _fold_ahead(graph: Graph, node: Node, affine: Affine) -> Change | str:
    """Fold into the layer that reads the result, directly or through a Flatten of [N, C, ...] to [N, C * ...]."""
    shared = why_shared(graph, node.output)
    if shared:
        return shared
    user = graph.consumers_of(node.output)[0]
    flat = user if is_op(user, "Flatten") and user.attr("axis", 1) == CHANNEL_AXIS else None
    if flat and (shared := why_shared(graph, flat.output)):
        return shared
    layer = layer_at(graph, graph.consumers_of(flat.output)[0] if flat else user)
    if not isinstance(layer, Layer) or layer.add is not None:
        return layer if isinstance(layer, str) else f"{label(user)} behind it is no layer with a constant weight"
    reason = _why_not_ahead(graph, node, layer, flat, affine)
    return reason or _ahead(graph, node, layer, flat, affine)


def _why_not_ahead(graph: Graph, node: Node, layer: Layer, flat: Node | None, affine: Affine) -> str | None:
    target, data = layer.node, flat.output if flat else node.output
    if target.input(0) != data or target.attr("transA", 0):
        return f"it is not the plain data input of {label(target)}"
    if layer.node.op in ("Gemm", "MatMul") and not flat and graph.type_of(node.inputs[0]).rank != 2:
        return f"its channels are not the last axis, as {label(target)} wants"
    if not affine.shift.any():
        return None
    if target.op == "ConvTranspose":
        return f"{label(target)} does not treat border pixels like the others"
    padded = any(target.attr("pads") or ()) or target.attr("auto_pad", "NOTSET") not in ("NOTSET", "VALID")
    return f"{label(target)} pads with zeros, which the shift would change" if padded else None


def _ahead(graph: Graph, node: Node, layer: Layer, flat: Node | None, affine: Affine) -> Change | str:
    repeats = layer.layout.channels(layer.layout.into) // affine.scale.size
    new = scale_input(layer, Affine(np.repeat(affine.scale, repeats), np.repeat(affine.shift, repeats)))
    if not new.finite:
        return f"the weight would overflow {layer.weight.dtype}"

    def apply(edit: Edit) -> None:
        edit.replace(node)
        edit.redirect(node.output, node.inputs[0])
        put_layer(edit, graph, new, layer.node.output)

    touched = (node, layer.node) if flat is None else (node, flat, layer.node)
    return Change(f"{label(node)} + {label(layer.node)} -> {label(layer.node)}", touched, apply)
