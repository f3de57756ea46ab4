"""Explicit pads in place of `auto_pad`."""

from __future__ import annotations

from ..errors import Diagnostic
from ..graph import Graph, Node
from .match import is_op, static_dims, without
from .rewrite import Change, Rewrite, label, left, sweep

_SLIDING = ("Conv", "MaxPool", "AveragePool", "LpPool")


def explicit_pads(graph: Graph) -> Rewrite:
    """Write out the pads that SAME_UPPER, SAME_LOWER and VALID stand for.

    Exact: the pads are what the runtime computes from the input's size, which therefore has to be static for SAME, but for
    axes of stride 1, where it does not matter; VALID is zero.
    """
    return sweep(graph, _attempt)


def _attempt(graph: Graph, node: Node) -> Change | Diagnostic | None:
    mode = node.attr("auto_pad", "NOTSET")
    if not is_op(node, *_SLIDING) or mode == "NOTSET":
        return None
    pads = _pads(graph, node, mode)
    if isinstance(pads, str):
        return left(node, f"auto_pad {mode} {pads}")
    new = node.with_(attributes={**without(node, "auto_pad"), "pads": pads})
    return Change(
        f"{label(node)} with auto_pad {mode} -> pads {list(pads)}", (node,), lambda edit: edit.replace(node, new)
    )


def _pads(graph: Graph, node: Node, mode: str) -> tuple[int, ...] | str:
    kernel = kernel_of(graph, node)
    if kernel is None:
        return "needs a kernel of known size"
    if mode == "VALID":
        return (0,) * (2 * len(kernel))
    if node.attr("ceil_mode", 0):
        return "with ceil_mode has no explicit form"
    strides, dilations = (node.attr(name) or (1,) * len(kernel) for name in ("strides", "dilations"))
    shape = (graph.type_of(node.inputs[0]).shape or ())[2:] or (None,) * len(kernel)
    sizes = static_dims(tuple(1 if step == 1 else size for size, step in zip(shape, strides, strict=True)))
    if sizes is None:
        return "needs a static input size"
    total = [_same(*numbers) for numbers in zip(sizes, kernel, strides, dilations, strict=True)]
    less, more = [t // 2 for t in total], [t - t // 2 for t in total]
    return (*less, *more) if mode == "SAME_UPPER" else (*more, *less)


def _same(size: int, kernel: int, stride: int, dilation: int) -> int:
    """Pads in all along one axis, so that there are ceil(size / stride) results."""
    return max((-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size, 0)


def kernel_of(graph: Graph, node: Node) -> tuple[int, ...] | None:
    """Spatial size of the kernel of a Conv or pool, from its attribute or its weight."""
    given = node.attr("kernel_shape")
    return tuple(given) if given else static_dims((graph.type_of(node.input(1)).shape or (None,) * 3)[2:])
