"""A Pad in front of a Conv becomes part of the Conv."""

from __future__ import annotations

from ..errors import Diagnostic
from ..graph import Edit, Graph, Node
from .match import integers, is_op, produced_by, scalar, why_shared, without
from .rewrite import Change, Rewrite, label, left, sweep


def pad_into_conv(graph: Graph) -> Rewrite:
    """Merge a zero Pad of the spatial axes into the pads of the Conv behind it.

    Exact: a Conv pads with zeros too. Not done for pools, which pad with minus infinity or leave the padding out of the mean, and
    not for other values than zero or negative pads (crops).
    """
    return sweep(graph, _attempt)


def _attempt(graph: Graph, node: Node) -> Change | Diagnostic | None:
    pad = produced_by(graph, node.input(0), "Pad") if is_op(node, "Conv") else None
    if pad is None:
        return None
    amounts = pad_amounts(graph, pad)
    if isinstance(amounts, tuple) and any(a for i, a in enumerate(amounts) if i % (len(amounts) // 2) < 2):
        return None  # pads the batch or the channels: another thing
    reason = amounts if isinstance(amounts, str) else _why_not(graph, pad, node, amounts)
    if reason or isinstance(amounts, str):
        return left(pad, f"it cannot move into Conv `{node.name}`: {reason}")
    return Change(
        f"{label(pad)} + {label(node)} -> {label(node)}", (pad, node), lambda edit: _merge(edit, pad, node, amounts)
    )


def _why_not(graph: Graph, pad: Node, conv: Node, amounts: tuple[int, ...]) -> str | None:
    if conv.attr("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        return f"the Conv has auto_pad {conv.attr('auto_pad')}"
    if any(a < 0 for a in amounts):
        return "it crops"
    return why_shared(graph, pad.output)


def _merge(edit: Edit, pad: Node, conv: Node, amounts: tuple[int, ...]) -> None:
    half = len(amounts) // 2
    spatial = (*amounts[2:half], *amounts[half + 2 :])
    own = conv.attr("pads") or (0,) * len(spatial)
    pads = tuple(a + b for a, b in zip(own, spatial, strict=True))
    edit.replace(pad)
    edit.replace(
        conv,
        conv.with_(inputs=(pad.inputs[0], *conv.inputs[1:]), attributes={**without(conv, "auto_pad"), "pads": pads}),
    )


def pad_amounts(graph: Graph, pad: Node) -> tuple[int, ...] | str:
    """Pads of a Pad node, all begins and then all ends, one an axis; or why it is not a constant padding with zeros."""
    if pad.attr("mode", "constant") != "constant":
        return f"its mode is {pad.attr('mode')}"
    value = scalar(graph, pad.input(2)) if pad.input(2) else float(pad.attr("value", 0.0))
    given = integers(graph, pad, "pads", 1)
    axes = integers(graph, pad, "axes", 3)
    rank = graph.type_of(pad.inputs[0]).rank or (len(given) // 2 if given and not pad.input(3) else None)
    if value != 0.0 or given is None or rank is None or (pad.input(3) and axes is None):
        return "its amounts are not constant" if value == 0.0 else "its value is not the constant 0"
    full = [0] * (2 * rank)
    for i, axis in enumerate(axes if axes is not None else range(rank)):
        full[axis % rank], full[axis % rank + rank] = given[i], given[i + len(given) // 2]
    return tuple(full)
