"""Types and shapes by ONNX's own inference, without touching the weights' data."""

from __future__ import annotations

import onnx

from .model import Graph, TensorType
from .proto import from_proto, to_proto

_SMALL = 1000  # bytes; shapes and axes are worth knowing to the inference, weights are not


def infer_types(graph: Graph, inputs: dict[str, TensorType] | None = None) -> Graph:
    """Fill in the types that ONNX shape inference can find.

    Args:
        graph: the model; types it already knows are kept.
        inputs: types to assume for graph inputs, for instance with symbolic dimensions replaced by numbers.

    Returns:
        The same graph with more complete types; unchanged where the inference fails. With `inputs`, all other recorded
        types are forgotten first, as they may speak of other sizes.
    """
    base = (
        graph
        if inputs is None
        else graph.with_(types={name: inputs.get(name, graph.type_of(name)) for name in graph.inputs})
    )
    found = _inferred(base)
    return graph.with_(types={**base.types, **{name: _merge(base.types.get(name), found[name]) for name in found}})


def _inferred(graph: Graph) -> dict[str, TensorType]:
    large = {name: w for name, w in graph.weights.items() if w.nbytes > _SMALL}
    light = graph.with_(
        inputs=tuple(dict.fromkeys((*graph.inputs, *large))),
        weights={name: w for name, w in graph.weights.items() if name not in large},
        types={**graph.types, **{name: graph.type_of(name) for name in large}},
    )
    try:
        proto = onnx.shape_inference.infer_shapes(to_proto(light), data_prop=True)
    except Exception:  # the inference of some operators raises where it finds a contradiction; nothing is known then
        return {}
    return {name: kind for name, kind in from_proto(proto).types.items() if name not in large}


def _merge(old: TensorType | None, new: TensorType) -> TensorType:
    if old is None or (new.other and not old.other):
        return new
    return TensorType(old.dtype or new.dtype, new.shape if new.shape is not None else old.shape, old.other)
