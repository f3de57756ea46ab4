"""QuantizeLinear and DequantizeLinear, and operators that only move codes between them."""

from __future__ import annotations

from dataclasses import replace

from ..graph import Node
from ..ops import CLAMPS, Tie, spec
from .edges import read_codes
from .model import Params, limits_of
from .walk import Real, UnliftableError, Walk, same_scale


def lift_quantize(walk: Walk, node: Node) -> None:
    """Real values stand for the codes that a QuantizeLinear writes; constants are rounded at once."""
    params = _params_of(walk, node, _code_type(walk, node))
    name = node.input(0)
    if name in walk.graph.weights:
        walk.codes[node.output] = Real(walk.rounded(name, params), params)
        return
    clip = walk.graph.sole_consumer(node.output)
    narrow = _narrowed(walk, params, clip) if clip is not None and clip.op == "Clip" else params
    walk.codes[node.output] = Real(walk.saturated(walk.value(name), narrow), narrow)


def lift_dequantize(walk: Walk, node: Node) -> None:
    """What stands for the codes stands for the real values, too; constants are dequantized."""
    name = node.input(0)
    real = walk.codes.get(name)
    if real is not None:
        if real.params is not None:
            same_scale(real, _params_of(walk, node, real.params.dtype), name)
        walk.names[node.output] = real.name
        return
    params = _params_of(walk, node, walk.graph.type_of(name).dtype or "uint8")
    if name in walk.graph.weights:
        walk.dequantized(name, params, node.output)
    elif name in walk.graph.feeds:
        read_codes(walk, name, params, node.output)
    else:
        raise UnliftableError(f"nothing is known of the codes in `{name}`")


def _code_type(walk: Walk, node: Node) -> str:
    zero = walk.graph.type_of(node.input(2)).dtype if node.input(2) else None
    return zero or walk.graph.type_of(node.output).dtype or "uint8"


def _params_of(walk: Walk, node: Node, dtype: str) -> Params:
    try:
        limits_of(dtype)
    except ValueError as error:
        raise UnliftableError(f"its codes are {dtype}, no integers") from error
    shape, axis = walk.graph.type_of(node.input(0)).shape, int(node.attr("axis", 1))
    if axis < 0 and shape is None:
        raise UnliftableError("its axis counts from the end, and the rank is unknown")
    axis += len(shape or ()) if axis < 0 else 0
    return walk.params(dtype, node.input(1), node.input(2), axis, int(node.attr("block_size", 0) or 0))


# --- operators on codes --------------------------------------------------------------------------------------------------


def lift_on_codes(walk: Walk, node: Node) -> None:
    """An operator that moves, selects or cuts codes does the same to real values."""
    if node.op in ("Shape", "Size"):
        walk.put(node.with_(inputs=(walk.codes[node.inputs[0]].name,)))
        return
    row = spec(node)
    moves = node.op in ("Identity", "Concat") or (row is not None and row.tie is Tie.SAME)
    if not moves and node.op not in CLAMPS:
        raise UnliftableError("it computes with codes, whose scale it does not know")
    params = _common(walk, node)
    producer = walk.graph.producer.get(node.input(0))
    if node.op == "Clip" and producer is not None and producer.op == "QuantizeLinear" and _is_narrow(walk, node):
        walk.codes[node.output] = walk.codes[node.input(0)]
        return
    if node.op == "Relu" and params.zero.any():
        raise UnliftableError("it cuts codes at 0, which is no real zero")
    walk.put(node.with_(inputs=tuple(_moved(walk, node, i, params) for i in range(len(node.inputs)))))
    for out in node.outputs[: 1 if node.op == "MaxPool" else None]:
        walk.set_float(out, out)
        walk.codes[out] = Real(out, params)
        walk.record(out, params)


def _narrowed(walk: Walk, params: Params, clip: Node) -> Params:
    """Parameters of codes that a Clip cuts further, as QAT exports write narrow ranges and few bits."""
    if not _is_narrow(walk, clip):
        return params
    low, high = (walk.graph.constant(clip.input(i)) if clip.input(i) else None for i in (1, 2))
    return replace(
        params,
        low=params.low if low is None else max(params.low, int(low.reshape(()))),
        high=params.high if high is None else min(params.high, int(high.reshape(()))),
    )


def _is_narrow(walk: Walk, clip: Node) -> bool:
    """Whether a Clip of codes reads nothing but a QuantizeLinear's output and constants."""
    bounds = [clip.input(i) for i in (1, 2) if clip.input(i)]
    return walk.graph.sole_consumer(clip.input(0)) is clip and all(walk.graph.constant(b) is not None for b in bounds)


def _common(walk: Walk, node: Node) -> Params:
    found = [real.params for name in node.inputs if (real := walk.codes.get(name)) is not None]
    first = found[0]
    if first is None or any(p is None or not p.same(first) for p in found):
        raise UnliftableError("its codes have different scales")
    if first.scale.size > 1:
        raise UnliftableError("it moves codes that have several scales")
    return first


def _moved(walk: Walk, node: Node, index: int, params: Params) -> str:
    """An input of such an operator: real values, and constants among codes as the numbers that they stand for."""
    name = node.inputs[index]
    if name in walk.codes:
        return walk.codes[name].name
    codes = walk.graph.constant(name) if name else None
    among = node.op in ("Concat", "Clip") or (node.op == "Pad" and index == 2)
    return walk.constant(f"{name}/real", params.real(codes)) if among and codes is not None else walk.value(name)
