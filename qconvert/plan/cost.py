"""Predicted time of a call from its shapes: the target's cost rows applied to classes of calls. Nothing here measures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod

from ..graph import Graph, Node
from ..ops import NO_OPS, VIEWS, Role, inputs_with, macs, spec
from ..targets.costs import Cost, CostModel
from .limits import Call
from .patterns import is_activation_product, silu_product

_LARGE = 1 << 18  # float weights of more than 1 MiB no longer fit the level-2 cache


@dataclass(frozen=True, slots=True)
class Estimate:
    """Predicted ns of one call in each form; None where the form does not exist for its class."""

    float_ns: float
    integer_ns: float | None
    dynamic_ns: float | None


def estimate(call: Call, model: CostModel) -> Estimate:
    """Predicted time of one call in float, in integers, and with dynamic ranges."""
    names = classify(call)
    float_row = _row(names, model.real) or model.real["other"]
    return Estimate(_apply(float_row, call), _form(names, model.integer, call), _form(names, model.dynamic, call))


def _form(names: tuple[str, ...], rows: Mapping[str, Cost], call: Call) -> float | None:
    row = _row(names, rows)
    return None if row is None else _apply(row, call)


def _row(names: tuple[str, ...], rows: Mapping[str, Cost]) -> Cost | None:
    return next((rows[name] for name in names if name in rows), None)


def conversion_ns(cost: Cost, relayout: Cost, shape: tuple[int, ...]) -> float:
    """Predicted time of converting one tensor between float and integers."""
    rows = (cost, relayout) if len(shape) == 4 else (cost,)
    return sum(row.fixed + row.write * prod(shape) for row in rows)


# --- classes -----------------------------------------------------------------------------------------------------------


def classify(call: Call) -> tuple[str, ...]:
    """Classes of a call from the most particular to the most general: calls of one class share their kernels' speed."""
    node = call.node
    match node.op:
        case "Conv":
            return _classify_conv(call)
        case "Gemm" | "MatMul":
            return ("batched-matmul",) if is_activation_product(call.graph, node) else _classify_product(call)
        case "Attention" if node.domain:
            return _classify_product(call)  # the rest of it is float in either form
        case "Add" | "Mul" | "Sub" | "Div":
            return (*_classify_pair(call), "elementwise")
        case "Sigmoid" if silu_product(call.graph, node) is not None:
            return ("silu-gate", "sigmoid", "function")
        case "Transpose":
            return ("transpose",) if len(call.out) <= 4 else ("transpose-nd",)
        case op if op in VIEWS | NO_OPS:
            return ("view",)
        case op:
            return (op.lower(),)


def _classify_conv(call: Call) -> tuple[str, ...]:
    weight, group = call.shape(1), int(call.node.attr("group", 1))
    if len(weight) < 3:
        return ("conv",)
    cout, cin, area = weight[0], weight[1] * group, prod(weight[2:])
    line = "-1d" if len(weight) == 3 else ""
    if group > 1 and weight[1] == 1:
        sizes = tuple(f"depthwise-{n}" for n in (16, 8, 4) if cout % n == 0) or ("depthwise-odd",)
        return (f"depthwise{line}", *sizes, "depthwise-4") if line else (*sizes, "depthwise-4")
    if group > 1:
        return ("grouped-16", "grouped") if weight[1] % 16 == 0 and (cout // group) % 16 == 0 else ("grouped",)
    kind = "conv-1x1" if area == 1 else "conv"
    stem = (f"{kind}-stem",) if cin <= 3 else ()
    thin = (f"{kind}-thin",) if cin < 16 else ()
    odd = (f"{kind}-odd",) if cin % 4 or cout % 4 or cout < 16 else ()
    narrow = (f"{kind}-unaligned",) if cin >= 16 and cin % 4 else ()
    return (*((f"conv{line}",) if line else ()), *stem, *thin, *narrow, *odd, kind)


def _classify_product(call: Call) -> tuple[str, ...]:
    rows = prod(call.out[:-1])
    size = "-row" if rows == 1 else "-few" if rows <= 4 else ""
    large = (f"gemm{size}-large",) if prod(call.shape(1)) > _LARGE else ()
    return (*large, f"gemm{size}", "gemm")


def _classify_pair(call: Call) -> tuple[str, ...]:
    node, shapes = call.node, [call.shape(0), call.shape(1)]
    op = node.op.lower()
    if node.op == "Mul" and any(_silu_gate(call.graph, name) for name in node.inputs):
        return ("silu-product", op)
    if prod(shapes[0]) == prod(shapes[1]):
        return ("residual-add", op) if node.op == "Add" and _behind_conv(call.graph, node) else (op,)
    channel = len(call.out) == 4 and any(len(s) >= 3 and prod(s[-2:]) == 1 and prod(s) > 1 for s in shapes)
    return (f"{op}-channel", "pair-channel") if channel else (f"{op}-broadcast", "pair-broadcast")


def _behind_conv(graph: Graph, node: Node) -> bool:
    return any(
        (p := graph.producer.get(name)) is not None and p.op == "Conv" and graph.sole_consumer(name) is node
        for name in node.inputs
    )


def _silu_gate(graph: Graph, name: str) -> bool:
    producer = graph.producer.get(name)
    return producer is not None and producer.op == "Sigmoid" and silu_product(graph, producer) is not None


# --- sizes -------------------------------------------------------------------------------------------------------------


def _apply(cost: Cost, call: Call) -> float:
    read, written = _elements(call)
    block = _block_factor(call.out, cost) if cost.blocked else 1.0
    pixels, taps, columns = _positions(call)
    work = macs(call.node, call.graph, call.shapes) or _pooled(call)
    return (
        cost.fixed
        + cost.mac * work * _padding(call, cost)
        + (cost.read * read + cost.write * written) * block
        + cost.weight * _weight_elements(call)
        + cost.row * _rows(call)
        + cost.pixel * pixels
        + cost.tap * taps
        + cost.column * columns
    )


def _elements(call: Call) -> tuple[int, int]:
    node, graph = call.node, call.graph
    data = inputs_with(node, Role.DATA) if spec(node) else range(len(node.inputs))
    read = sum(prod(call.shape(i)) for i in data if call.shape(i) and node.input(i) not in graph.weights)
    return read, sum(prod(call.shapes[o]) for o in node.outputs if o in call.shapes)


def _weight_elements(call: Call) -> int:
    row = spec(call.node)
    return prod(call.shape(1)) if row is not None and row.weighted and call.shape(1) else 0


def _pooled(call: Call) -> int:
    """For pools, the values that enter a window, summed over outputs."""
    return prod(call.out) * prod(call.node.attr("kernel_shape", (0,))) if call.out else 0


def _positions(call: Call) -> tuple[int, int, int]:
    """Output positions, those times the kernel's area, and those times the input channels that a position reads."""
    if len(call.out) < 3:
        return 0, 0, 0
    pixels = call.out[0] * prod(call.out[2:])
    weight = call.shape(1) if call.node.op == "Conv" else ()
    area = prod(weight[2:]) if weight else prod(call.node.attr("kernel_shape", (1,)))
    return pixels, pixels * area, pixels * area * (weight[1] * int(call.node.attr("group", 1)) if weight else 1)


def _rows(call: Call) -> int:
    """Kernel rows times output rows times blocks of 16 channels: how often a depthwise kernel starts its inner loop."""
    weight = call.shape(1)
    return (
        call.out[2] * -(-call.out[1] // 16) * weight[2]
        if call.node.op == "Conv" and len(call.out) == 4 and len(weight) == 4
        else 0
    )


def _padding(call: Call, cost: Cost) -> float:
    """Factor by which the kernel's blocks enlarge the work."""
    weight = call.shape(1)
    if len(weight) < 2 or cost.out_block == cost.in_block == 1:
        return 1.0
    if call.node.op == "Conv":
        depthwise = weight[1] == 1  # its blocks go over all channels, not over those of a group
        out, inner = weight[0] // (1 if depthwise else int(call.node.attr("group", 1))), prod(weight[1:])
    else:
        transposed = call.node.op == "Gemm" and call.node.attr("transB", 0)
        inner, out = (weight[-1], weight[-2]) if transposed else (weight[-2], weight[-1])
    return _up(out, cost.out_block) * _up(inner, cost.in_block) / max(out * inner, 1)


def _block_factor(shape: tuple[int, ...], cost: Cost) -> float:
    return _up(shape[1], cost.out_block) / shape[1] if len(shape) == 4 and shape[1] else 1.0


def _up(value: int, multiple: int) -> int:
    return -(-value // multiple) * multiple
