"""Static validator for TensorRT explicit quantization: what its importer refuses and what it runs slowly, without TensorRT.

Errors (C001 to C010) are refusals of the ONNX importer (onnx-tensorrt, `docs/operators.md` and the checks of its
QuantizeLinear / DequantizeLinear import) and formats that the developer guide excludes (section "Explicit Quantization").
Warnings (C101 to C112) are placements that the guide's "Q/DQ Layer-Placement Recommendations" advise against, read together with
what NVIDIA ModelOpt does. A file that follows the rules gives no finding at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from ..errors import Diagnostic
from ..graph import Graph
from . import tensorrt_attention as attention
from . import tensorrt_format as formats
from . import tensorrt_placement as placement
from . import tensorrt_precision as precisions
from .fusion import label
from .quantized import QuantizedView

_HALF = {"float16": "float16", "fp16": "float16", "bfloat16": "bfloat16", "bf16": "bfloat16"}


def check_tensorrt(graph: Graph, precision: str = "float32") -> tuple[Diagnostic, ...]:
    """Find everything in a Q/DQ graph that TensorRT refuses or runs slowly.

    Args:
        graph: the model; run `infer_types` first, as rules about sizes are silent where a shape is unknown.
        precision: type that the rest is meant to run in, "float32", "float16" or "bfloat16".

    Returns:
        Errors and warnings, each with the name of the node, sorted by code and then by the node's place in the graph.
    """
    found: list[tuple[str, int, int, Diagnostic]] = []
    for scope, view in enumerate(_views(QuantizedView(graph, precision=_HALF.get(precision, precision)))):
        place = {label(node): i for i, node in reversed(list(enumerate(view.graph.nodes)))}
        items = (item for check in CHECKS.values() for item in check(view))
        found += [(item.code, scope, place.get(item.where or "", -1), item) for item in items]
    return tuple(dict.fromkeys(item for *_, item in sorted(found, key=lambda f: (*f[:3], f[3].message))))


def _views(view: QuantizedView) -> Iterator[QuantizedView]:
    """The graph and, behind it, the bodies in it."""
    yield view
    for node in view.graph.nodes:
        for body in node.bodies:
            yield from _views(QuantizedView(body, view, view.precision))


CHECKS: Mapping[str, Callable[[QuantizedView], Iterator[Diagnostic]]] = {
    "C001": formats.int32_bias,
    "C002": formats.other_types,
    "C003": formats.zero_points,
    "C004": formats.scales,
    "C005": formats.axes,
    "C006": formats.integer_operators,
    "C007": formats.opsets,
    "C008": formats.blocks,
    "C009": formats.not_constant,
    "C010": precisions.float32_remainder,
    "C101": placement.half_quantized,
    "C102": placement.before_activation,
    "C103": placement.conv_side,
    "C104": placement.float_skip,
    "C105": placement.small,
    "C106": placement.one_side,
    "C107": placement.graph_outputs,
    "C108": placement.unequal_scales,
    "C109": placement.redundant,
    "C110": attention.attention_pattern,
    "C111": attention.attention_limits,
    "C112": placement.islands,
}
