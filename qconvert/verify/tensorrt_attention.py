"""Attention between Q/DQ nodes: the warnings C110 and C111 of `check_tensorrt`.

Sources: "Fused Attention" of the TensorRT developer guide (query or key multiplied by the scale before the first product) and
the limits at which NVIDIA ModelOpt leaves the products of attention float.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ..errors import Diagnostic
from ..graph import Node
from .quantized import DEQUANTIZE, QUANTIZE, TRANSPARENT, QuantizedView
from .tensorrt_placement import behind_pair, warn

_LOGITS = frozenset({"Mul", "Div", "Add", "Where", "Cast", "Reshape", "Flatten", "Identity"})
_CONTEXT = frozenset({"Cast", "Dropout", "Identity", "Reshape"})


@dataclass(frozen=True, eq=False)
class _Attention:
    """softmax(Q·Kᵀ)·V: the two products and a scaling between the first and the softmax, if there is one."""

    first: Node
    second: Node
    scaling: Node | None


def _attentions(view: QuantizedView) -> Iterator[_Attention]:
    for node in view.graph.nodes:
        if node.op != "Softmax" or node.domain or not node.outputs:
            continue
        found = _first_product(view, behind_pair(view, node.input(0)))
        behind = list(view.sinks(node.output, lambda n: n.op in _CONTEXT | QUANTIZE | DEQUANTIZE))
        if found is not None and len(behind) == 1 and behind[0].op == "MatMul":
            yield _Attention(found[0], behind[0], found[1])


def _first_product(view: QuantizedView, name: str, depth: int = 8) -> tuple[Node, Node | None] | None:
    node = view.producer(name)
    if node is None or node.domain or depth == 0:
        return None
    if node.op == "MatMul":
        return None if any(i in view.constants for i in node.inputs) else (node, None)
    if node.op not in _LOGITS:
        return None
    computed = [behind_pair(view, i) for i in node.inputs if i and i not in view.constants]
    found = next((f for i in computed if (f := _first_product(view, i, depth - 1))), None)
    scaling = node if node.op in ("Mul", "Div") and len(computed) == 1 else None
    return found and (found[0], found[1] or scaling)


def attention_pattern(view: QuantizedView) -> Iterator[Diagnostic]:
    """C110: in quantized attention the scaling comes before the first product, and the DQ right before each product."""
    for item in _attentions(view):
        moved = {n: view.feed(n, TRANSPARENT | {"Cast"}) for node in (item.first, item.second) for n in node.inputs[:2]}
        if not any(moved.get(n) for n in item.first.inputs[:2]):
            continue
        if item.scaling is not None:
            yield warn(
                "C110",
                item.scaling,
                "attention scaled after the first product",
                "multiply the query (or the key) by the scale, in front of its Q",
            )
        for feed in moved.values():
            for node in feed.path if feed else ():
                if node.op in ("Transpose", "Cast"):
                    yield warn(
                        "C110", node, f"{node.op} between DQ and the product", f"move the {node.op} in front of the Q"
                    )


def attention_limits(view: QuantizedView) -> Iterator[Diagnostic]:
    """C111: fused attention has INT8 kernels up to a sequence of 512 and FP8 kernels for heads of 9 to 256 (ModelOpt's limits)."""
    for item in _attentions(view):
        feed, shape = view.feed(item.first.input(1)), view.shape(item.first.input(1))
        if feed is None or shape is None or len(shape) < 2:
            continue
        (head, length), dtype = shape[-2:], feed.dq.params.dtype
        if dtype == "int8" and length is not None and length > 512:
            yield warn(
                "C111",
                item.first,
                f"sequence length: {length}",
                "leave the products of this attention float, the kernels end at 512",
            )
        elif dtype == "float8_e4m3fn" and head is not None and not 8 < head <= 256:
            yield warn(
                "C111",
                item.first,
                f"head size: {head}",
                "leave the products of this attention float, the kernels take 9 to 256",
            )
