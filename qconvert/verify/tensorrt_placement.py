"""Where Q/DQ nodes stand in a graph for TensorRT: most warnings of `check_tensorrt`.

Sources: "Q/DQ Layer-Placement Recommendations" of the TensorRT developer guide, and the placement and
exclusion rules in the ONNX part of NVIDIA ModelOpt. A rule that cannot be judged, for want of a shape or a type, is silent.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from ..errors import Diagnostic, Severity
from ..graph import Node
from ..ops import WEIGHTED
from .fusion import ABSORBING, ACTIVATIONS, NORMS, affine_input, head_of, label, residual
from .quantized import (
    COMMUTING,
    DEQUANTIZE,
    QUANTIZE,
    TRANSPARENT,
    Dequantize,
    Params,
    Quantize,
    QuantizedView,
    Weighted,
)

_FOLLOWERS = ACTIVATIONS | {"BatchNormalization"}
_NEUTRAL = NORMS | {"Cast", "Shape", "Size", "If", "Loop", "Scan"}
_BYTES = {"float16": 2, "bfloat16": 2}


def warn(code: str, node: Node, message: str, hint: str) -> Diagnostic:
    """One warning about a node."""
    return Diagnostic(code, message, label(node), hint, Severity.WARNING)


def half_quantized(view: QuantizedView) -> Iterator[Diagnostic]:
    """C101: quantize all inputs of weighted operators. INT4 and FP4 weights alone, and a DQ shared with an INT8 operator, are right."""
    for op in view.weighted:
        feeds = [view.feed(op.node.input(i)) for i in (0, 1)]
        given = next((f for f in feeds if f is not None), None)
        if (
            given is None
            or all(feeds)
            or given.dq.params.dtype in ("int4", "uint4", "float4_e2m1fn")
            or given.dq.params.dtype == "int32"
        ):
            continue
        q = given.dq.quantize
        if not given.dq.weight and q is not None and any(view.int8(n) for n in view.users(q)):
            continue
        float_side = op.node.input(feeds.index(None))
        yield warn(
            "C101",
            op.node,
            f"float input: {float_side}",
            f"quantize `{float_side}` too, or take the Q/DQ off the other input",
        )


def before_activation(view: QuantizedView) -> Iterator[Diagnostic]:
    """C102: a layer, its bias, BatchNormalization and activation are one kernel, so no Q/DQ may stand between them."""
    for q in view.quantizes.values():
        if (where := _inside_kernel(view, q)) is not None:
            yield warn(
                "C102",
                q.node,
                f"Q/DQ {where}",
                "move the pair behind the activation, in front of the next operator that runs in INT8",
            )


def _inside_kernel(view: QuantizedView, q: Quantize) -> str | None:
    """Where a pair stands if it splits what would be one kernel."""
    if q.constant or view.sole_consumer(q.data) is not q.node or not (tails := _only_tails(view, q)):
        return None
    if (layer := _layer(view, q.data)) is not None and _follows(view, tails):
        return f"between `{label(layer)}` and `{label(tails[0])}`"
    if (layer := _gate_layer(view, q.data, tails)) is not None:
        return f"inside x·sigmoid(x) behind `{label(layer)}`"
    return None


def _only_tails(view: QuantizedView, q: Quantize) -> tuple[Node, ...]:
    """All that reads a quantized tensor through its DQ nodes, nothing if a graph output or an integer reader is among them."""
    readers, outs = view.consumers(q.node.output), [dq.node.output for dq in view.pairs_of(q)]
    if len(readers) != len(outs) or any(name in view.graph.outputs for name in (q.node.output, *outs)):
        return ()
    return tuple(n for out in outs for n in view.consumers(out))


def _layer(view: QuantizedView, name: str) -> Node | None:
    """The weighted operator whose kernel computes a value, a residual Add included."""
    node = view.producer(name)
    found = residual(view, node) if node is not None and node.op == "Add" else None
    return found.head if found else head_of(view, name)


def _follows(view: QuantizedView, tails: tuple[Node, ...]) -> bool:
    if all(n.op in _FOLLOWERS or affine_input(view, n) is not None for n in tails):
        return True
    gate = next((n for n in tails if n.op in ("Sigmoid", "HardSigmoid")), None)
    if gate is not None:
        product = [n for n in tails if n is not gate]
        return all(n.op == "Mul" and any(behind_pair(view, i) == gate.output for i in n.inputs) for n in product)
    erf = [n for n in tails if n.op == "Erf" or any(c.op == "Erf" for out in n.outputs for c in view.consumers(out))]
    return bool(erf) and all(n.op in ("Mul", "Div", "Erf") for n in tails)


def behind_pair(view: QuantizedView, name: str) -> str:
    """The value that a Q/DQ pair was put on; the value itself if there is none."""
    dq = view.dq(name)
    return dq.quantize.data if dq is not None and dq.quantize is not None else name


def _gate_layer(view: QuantizedView, name: str, tails: tuple[Node, ...]) -> Node | None:
    """The layer behind x, if the value is sigmoid(x) and all that reads it is the Mul by x."""
    gate = view.producer(name)
    if gate is None or gate.op not in ("Sigmoid", "HardSigmoid") or len(tails) != 1 or tails[0].op != "Mul":
        return None
    x = behind_pair(view, gate.input(0))
    return head_of(view, x) if any(behind_pair(view, i) == x for i in tails[0].inputs) else None


def conv_side(view: QuantizedView) -> Iterator[Diagnostic]:
    """C103: quantize the skip input of a residual Add and leave the conv side, so that Conv and Add fuse."""
    for node in view.graph.nodes:
        found = residual(view, node)
        if found is None or not _has_pair(view, node.input(found.conv)):
            continue
        skip = _has_pair(view, node.input(found.skip))
        if found.both and not skip:
            continue
        hint = "take the Q/DQ off this input" if skip else "move the Q/DQ to the other input, the skip connection"
        yield warn("C103", node, f"Q/DQ on the input from `{label(found.head)}`: {node.input(found.conv)}", hint)


def _has_pair(view: QuantizedView, name: str) -> bool:
    return (feed := view.feed(name)) is not None and not feed.dq.weight


def float_skip(view: QuantizedView) -> Iterator[Diagnostic]:
    """C104: the skip input decides the type of the fused output; if it is float, the Q behind the Add cannot fold."""
    for node in view.graph.nodes:
        found = residual(view, node)
        if found is None or not found.head.op.startswith("Conv") or not view.int8(found.head):
            continue
        raw = not _has_pair(view, node.input(found.skip)) and not _has_pair(view, node.input(found.conv))
        if raw and view.reaches_quantize(node.output, lambda n: n.op in _FOLLOWERS | COMMUTING):
            yield warn("C104", node, f"float skip input: {node.input(found.skip)}", "put a Q/DQ pair on the skip input")


def small(view: QuantizedView) -> Iterator[Diagnostic]:
    """C105: sizes for which the tensor cores have no fast INT8 kernel (ModelOpt excludes the same operators)."""
    for op in view.weighted:
        if view.int8(op.node) and (
            why := _small_conv(view, op) if op.node.op.startswith("Conv") else _small_matrix(view, op)
        ):
            yield warn("C105", op.node, why, "leave this operator float: without Q/DQ on its inputs")


def _small_conv(view: QuantizedView, op: Weighted) -> str | None:
    shape = view.shape(op.node.input(1)) or ()
    if op.node.op != "Conv" or len(shape) < 3 or None in shape:
        return None
    cout, cin, *kernel = (d or 0 for d in shape)
    group, dtype = op.node.attr("group", 1), _dtype(view, op)
    if dtype == "float8_e4m3fn" and cin > 16 and cout > 16:
        return f"FP8 kernel volume: {prod(kernel)}" if prod(kernel) > 32 else None
    if (cin >= 16 and cout >= 16) or (dtype in ("int8", "uint8") and _conv_kernel_exists(view, op, cout, cin, *kernel)):
        return None
    return f"input channels (in a group): {cin}, output channels: {cout}, groups: {group}"


def _dtype(view: QuantizedView, op: Weighted) -> str | None:
    feed = view.feed(op.node.input(1))
    return feed.dq.params.dtype if feed else None


def _conv_kernel_exists(view: QuantizedView, op: Weighted, cout: int, cin: int, *kernel: int) -> bool:
    if op.node.attr("group", 1) > 1:
        return cout % 8 == 0 and all(k >= 3 for k in kernel)
    source = behind_pair(view, op.node.input(0))
    cast = view.graph.producer.get(source)
    first = (cast.input(0) if cast is not None and cast.op == "Cast" else source) in view.graph.inputs
    return (cin % 8 == 0 or cout % 8 == 0) and (first or max(cin, cout) >= 16) and len(set(kernel)) == 1


def _small_matrix(view: QuantizedView, op: Weighted) -> str | None:
    a, b, out = (view.shape(n) for n in (op.node.input(0), op.node.input(1), op.node.output))
    inner = None if b is None or len(b) < 2 else b[-1 if op.node.attr("transB", 0) else -2]
    inner = inner if inner is not None or not a else a[0 if op.node.attr("transA", 0) else -1]
    columns = out[-1] if out else None if b is None or len(b) < 2 else b[-2 if op.node.attr("transB", 0) else -1]
    if (columns is not None and columns < 16) or (inner is not None and inner < 16):
        return f"matrix of {inner or '?'} x {columns or '?'}"
    rows = out[:-1] if out and op.weight == 1 else out[-2:-1] if out else ()
    return "one row only: a matrix by vector product" if rows and all(d == 1 for d in rows) else None


def one_side(view: QuantizedView) -> Iterator[Diagnostic]:
    """C106: an operator without weights reads and writes INT8 or neither; one that only reads it needs no Q/DQ of its own."""
    for node in view.graph.nodes:
        if (
            node.op in _NEUTRAL | COMMUTING | WEIGHTED | QUANTIZE | DEQUANTIZE | {"Concat"}
            or residual(view, node) is not None
        ):
            continue
        feeds = [f for f in map(view.feed, node.inputs) if f is not None and not f.dq.weight]
        if not feeds or _ends_quantized(view, node):
            continue
        own = [f.dq.quantize for f in feeds if f.dq.quantize is not None]
        if len(own) == len(feeds) and not any(_needed(view, q) or _inside_kernel(view, q) for q in own):
            hint = "quantize the result too, or take the Q/DQ off the input"
            yield warn("C106", node, f"{node.op} reads INT8 and writes float", hint)


def _ends_quantized(view: QuantizedView, node: Node) -> bool:
    return any(
        view.reaches_quantize(out, lambda n: n.op not in WEIGHTED | QUANTIZE | DEQUANTIZE and not n.bodies)
        for out in node.outputs
        if out
    )


def _needed(view: QuantizedView, q: Quantize) -> bool:
    """Whether some reader of a quantized tensor has a use for integers."""
    return any(
        view.int8(n)
        or (n.op in NORMS)
        or (n.op not in WEIGHTED and (residual(view, n) is not None or _ends_quantized(view, n)))
        for n in view.users(q)
    )


def graph_outputs(view: QuantizedView) -> Iterator[Diagnostic]:
    """C107: do not quantize graph outputs; a pair that also feeds an operator is not reported."""
    for name in view.graph.outputs if view.outer is None else ():
        feed = view.feed(name, TRANSPARENT)
        q = feed.dq.quantize if feed and not feed.dq.weight else view.q(name)
        if q is not None and not q.constant and not view.users(q):
            yield warn("C107", q.node, f"Q/DQ on the graph output: {name}", "take the pair off")


def unequal_scales(view: QuantizedView) -> Iterator[Diagnostic]:
    """C108: a Q moves back through Concat only if all branches have its scale; others are rescaled in a kernel of their own."""
    for node in view.graph.nodes:
        if node.op != "Concat" or node.domain or not node.outputs:
            continue
        params = [f.dq.params for f in map(view.feed, node.inputs) if f is not None and not f.dq.weight]
        sinks = list(view.sinks(node.output, lambda n: n.op in COMMUTING))
        behind = [view.quantizes[n.output].params for n in sinks if n.op in QUANTIZE and n.outputs]
        wanted = behind or any(view.int8(n) for n in sinks)
        if params and wanted and any(p.same_scale(params[0]) is False for p in [*params, *behind]):
            found = ", ".join(dict.fromkeys(_scale(p) for p in [*params, *behind]))
            yield warn(
                "C108",
                node,
                f"scales of the branches and the result: {found}",
                "give all branches and the result the same scale",
            )


def _scale(params: Params) -> str:
    return f"{float(params.scale.ravel()[0]):.4g}" if params.scale is not None and params.scale.size else "?"


def redundant(view: QuantizedView) -> Iterator[Diagnostic]:
    """C109: a Q right behind a DQ, or behind operators that only move values while the scale changes."""
    for q in view.quantizes.values():
        feed = view.feed(q.data)
        if (
            feed is None
            or q.constant
            or any(n.op == "Concat" for n in feed.path)
            or feed.dq.params.dtype != q.params.dtype
        ):
            continue
        if not feed.path:
            yield warn("C109", q.node, f"Q/DQ directly behind `{label(feed.dq.node)}`", "remove one of the two pairs")
        elif feed.dq.params.same_scale(q.params) is False:
            change = f"{_scale(feed.dq.params)} to {_scale(q.params)}"
            yield warn(
                "C109", q.node, f"scale changes across {feed.path[-1].op}: {change}", "use the same scale on both sides"
            )


def islands(view: QuantizedView) -> Iterator[Diagnostic]:
    """C112: one INT8 operator between float ones whose Q and DQ are kernels of their own and move more bytes than it saves."""
    for node in view.graph.nodes:
        q = _own_input(view, node)
        exits = _float_exits(view, node) if q is not None and _stands_alone(view, q) else None
        if q is None or exits is None or not (exits or node.op in WEIGHTED):
            continue
        width = _BYTES.get(view.precision if view.precision in _BYTES else view.dtype(q.data) or "", 4)
        sizes = [_size(view, name) for name in (q.data, *exits)]
        weight = _size(view, node.input(1)) if node.op in WEIGHTED else 0
        if weight is None or any(size is None for size in sizes):
            continue
        moved, saved = sum(s or 0 for s in sizes) * (width + 1), (sum(s or 0 for s in sizes) + weight) * (width - 1)
        if moved > saved:
            yield warn(
                "C112",
                node,
                f"conversions move {moved:,} bytes, INT8 saves {saved:,}",
                "leave this operator float, or quantize its neighbours too",
            )


def _own_input(view: QuantizedView, node: Node) -> Quantize | None:
    """The Q that serves this operator alone."""
    if node.op in COMMUTING | QUANTIZE | DEQUANTIZE | NORMS or (node.op in WEIGHTED and not view.int8(node)):
        return None
    feeds: list[Dequantize] = [f.dq for f in map(view.feed, node.inputs) if f is not None and not f.dq.weight]
    q = feeds[0].quantize if len(feeds) == 1 else None
    return q if q is not None and all(n is node for n in view.users(q)) else None


def _stands_alone(view: QuantizedView, q: Quantize) -> bool:
    """Whether no kernel in front takes the Q in: its producer is a float layer or one that cannot write integers."""
    node = view.producer(q.data)
    while node is not None and node.op in COMMUTING:
        node = view.producer(node.input(0))
    if node is None:
        return False
    head = _layer(view, node.output) or (node if node.op in WEIGHTED else None)
    if head is None and node.op in ACTIVATIONS:
        head = _layer(view, node.input(0))
    return not view.int8(head) if head is not None else node.op not in ABSORBING | {"Concat"}


def _float_exits(view: QuantizedView, node: Node) -> list[str] | None:
    """The results that are converted back for float readers; None if some reader uses integers."""
    exits: list[str] = []
    for out in (o for o in node.outputs if o):
        for user in view.sinks(out, lambda n: n.op in ACTIVATIONS | COMMUTING):
            q = view.quantizes.get(user.output) if user.op in QUANTIZE and user.outputs else None
            if q is None:
                continue
            if any(view.int8(n) or (n.op not in WEIGHTED and n.op in ABSORBING | {"Concat"}) for n in view.users(q)):
                return None
            exits.append(q.data)
    return exits


def _size(view: QuantizedView, name: str) -> int | None:
    """Elements of a tensor, a batch of unknown size counting as 1."""
    shape = view.shape(name)
    if shape is None or None in shape[1:]:
        return None
    return prod(d for d in shape if d is not None)
