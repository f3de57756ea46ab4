"""Inputs and outputs of the graph: those that are codes keep their types, and those that are real values keep their names."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..errors import Diagnostic
from ..graph import Array, Node, onnx_dtype
from .model import Params
from .walk import Real, Walk

_FLOAT = 1  # ONNX TensorProto.FLOAT
_SUFFIX = "_quantized"  # of codes, as onnxruntime's quantizer and others name them
_RESTS = ("", "/relu", "/clip")  # behind it, for values behind a clamp that came back


def read_codes(walk: Walk, name: str, params: Params, result: str) -> None:
    """Compute the real values of a graph input that is fed as codes."""
    rank = len(walk.graph.type_of(name).shape or ())
    cast, shifted = walk.fresh(f"{name}/float"), walk.fresh(f"{name}/shifted")
    for each in (cast, shifted, result):
        walk.set_float(each, name)
    zero, scale = (
        walk.constant(f"{name}/{part}", _row(array, params.axis, rank))
        for part, array in (("zero", params.zero), ("scale", params.scale))
    )
    walk.put(Node("Cast", (name,), (cast,), {"to": _FLOAT}, walk.fresh_node(cast)))
    walk.put(Node("Sub", (cast, zero), (shifted,), name=walk.fresh_node(shifted)))
    walk.put(Node("Mul", (shifted, scale), (result,), name=walk.fresh_node(f"{name}/real")))
    if params.scale.size == 1:
        walk.record(result, params)


def name_outputs(walk: Walk) -> None:
    """Give the graph's outputs their names back."""
    outputs = walk.graph.outputs
    for name in outputs:
        if name in walk.codes:
            _write_codes(walk, name, walk.codes[name])
            continue
        stand_in = walk.value(name)
        if stand_in == name:
            continue
        if stand_in in outputs or stand_in in walk.weights or stand_in in walk.graph.inputs:
            walk.put(Node("Identity", (stand_in,), (name,), name=walk.fresh_node(f"{name}/Identity")))
        else:
            _rename(walk, stand_in, name)


def _write_codes(walk: Walk, name: str, real: Real) -> None:
    params = real.params
    if params is None or params.scale.size > 1:
        text = "the codes of a graph output have no single scale"
        walk.faults.append(Diagnostic("M008", text, f"output `{name}`"))
        return
    steps = (
        ("Div", (params.scale,)),
        ("Round", ()),
        ("Add", (params.zero,)),
        ("Clip", (params.low, params.high)),
    )
    value = walk.fresh(f"{name}/real") if real.name == name else real.name
    if value != real.name:
        _rename(walk, name, value)
    for op, operands in steps:
        result = walk.fresh(f"{name}/{op}")
        constants = (walk.constant(f"{result}/{n}", np.asarray(each)) for n, each in enumerate(operands))
        walk.put(Node(op, (value, *constants), (result,), name=walk.fresh_node(result)))
        value = result
    walk.put(Node("Cast", (value,), (name,), {"to": onnx_dtype(params.dtype)}, walk.fresh_node(f"{name}/Cast")))


def name_values(walk: Walk) -> None:
    """Give values that had only codes in the file the names of the float model: those of the codes, without the quantizers' suffix.

    What a name has in front of the suffix is the float tensor, so that ranges are found by both models.
    """
    taken = {*walk.nodes, *walk.graph.inputs, *walk.graph.outputs, *walk.weights}
    taken.update(out for node in walk.nodes.values() for out in node.outputs)
    new: dict[str, str] = {}
    for name in walk.nodes:
        code, suffix, rest = name.partition(_SUFFIX)
        ours = code and suffix and rest in _RESTS and code + suffix in walk.codes
        if ours and name not in walk.graph.outputs and code + rest not in taken:
            new[name] = code + rest
            taken.add(code + rest)
    _renamed(walk, new)


def _rename(walk: Walk, old: str, new: str) -> None:
    _renamed(walk, {old: new})


def _renamed(walk: Walk, new: Mapping[str, str]) -> None:
    """The walk with other names of values, all at once."""

    def named(names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(new.get(name, name) for name in names)

    changed = [n.with_(inputs=named(n.inputs), outputs=named(n.outputs)) for n in walk.nodes.values()]
    walk.nodes = {node.output: node for node in changed}
    walk.spans = {new.get(name, name): span for name, span in walk.spans.items()}
    walk.codes = {code: Real(new.get(r.name, r.name), r.params) for code, r in walk.codes.items()}
    walk.names = {name: new.get(stand_in, stand_in) for name, stand_in in walk.names.items()}
    for old, name in new.items():
        if old in walk.types:
            walk.types.setdefault(name, walk.types[old])


def _row(part: Array, axis: int | None, rank: int) -> Array:
    if part.size == 1 or axis is None:
        return part
    return part.reshape([-1 if i == axis else 1 for i in range(rank)])
