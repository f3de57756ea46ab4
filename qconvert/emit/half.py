"""Float16 for everything that is not integer, as strongly typed runtimes want it; inputs and outputs keep their types."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

import numpy as np

from ..calibrate import QuantParams
from ..errors import fail
from ..graph import Array, Edit, Graph, Node, TensorType

Key = TypeVar("Key")
_FLOAT16 = 10  # ONNX TensorProto.FLOAT16
_FLOAT32 = 1
_LARGEST = float(np.finfo(np.float16).max)
_SMALLEST = float(np.finfo(np.float16).tiny)  # below it a scale is subnormal and loses its precision
_STAY_FLOAT32 = {"Resize": (1, 2), "Upsample": (1,)}  # inputs that ONNX wants in float32


def half_scales(params: Mapping[Key, QuantParams]) -> dict[Key, QuantParams]:
    """Parameters whose scales are float16 numbers, so that codes and real values fit together exactly."""
    return {
        key: replace(p, scale=np.asarray(np.maximum(p.scale, _SMALLEST), dtype=np.float16).astype(np.float32))
        for key, p in params.items()
    }


def to_half(graph: Graph) -> Graph:
    """The graph with all of its float32 arithmetic in float16, and Casts behind inputs and in front of outputs.

    Raises:
        QConvertError: R009 for models with If, Loop or Scan bodies.
    """
    body = next((node for node in graph.nodes if node.bodies), None)
    if body is not None:
        raise fail(
            "R009", f"float16 is not supported for models with {body.op} bodies", body.name, "use `precision: float32`"
        )
    edit = Edit(graph)
    fixed = {node.input(i) for node in graph.nodes for i in _STAY_FLOAT32.get(node.op, ())}
    for name, tensor in graph.weights.items():
        if graph.type_of(name).dtype == "float32" and name not in fixed:
            edit.set_weight(name, _half(tensor.numpy()))
    renamed = _cast_inputs(edit, graph) | _cast_outputs(edit, graph)
    for node in graph.nodes:
        edit.replace(node, _converted(node, renamed))
    for name in [n for n in graph.values() if graph.type_of(n).dtype == "float32"]:
        edge = name in graph.inputs or name in graph.outputs
        edit.set_type(renamed.get(name, name) if edge else name, TensorType("float16", graph.type_of(name).shape))
    return edit.graph()


def _half(array: Array) -> Array:
    """Values in float16; what is out of range, such as masks, becomes the largest number instead of infinity."""
    return np.asarray(np.clip(array, -_LARGEST, _LARGEST).astype(np.float16))


def _cast_inputs(edit: Edit, graph: Graph) -> dict[str, str]:
    names = {name: edit.fresh(f"{name}/half") for name in graph.feeds if graph.type_of(name).dtype == "float32"}
    edit.add(
        *(
            Node("Cast", (name,), (half,), {"to": _FLOAT16}, edit.fresh_node(f"{name}/Cast"))
            for name, half in names.items()
        )
    )
    return names


def _cast_outputs(edit: Edit, graph: Graph) -> dict[str, str]:
    wanted = [
        name for name in graph.outputs if graph.type_of(name).dtype in ("float32", None) and name in graph.producer
    ]
    names = {name: edit.fresh(f"{name}/half") for name in wanted}
    edit.add(
        *(
            Node("Cast", (half,), (name,), {"to": _FLOAT32}, edit.fresh_node(f"{name}/Cast"))
            for name, half in names.items()
        )
    )
    return names


def _converted(node: Node, renamed: Mapping[str, str]) -> Node:
    attributes = dict(node.attributes)
    if node.op == "Cast" and attributes.get("to") == _FLOAT32:
        attributes["to"] = _FLOAT16
    if node.op in ("ConstantOfShape", "Constant") and getattr(attributes.get("value"), "dtype", None) == np.float32:
        attributes["value"] = _half(attributes["value"])
    inputs, outputs = (tuple(renamed.get(name, name) for name in names) for names in (node.inputs, node.outputs))
    return node.with_(inputs=inputs, outputs=outputs, attributes=attributes)
