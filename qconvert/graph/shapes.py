"""Types and shapes by ONNX's own inference, without touching the weights' data."""

from __future__ import annotations

import onnx_ir as ir
from onnx_ir.passes import common as passes

from .io import _from_ir, to_model
from .model import Graph, TensorType


def infer_types(graph: Graph, inputs: dict[str, TensorType] | None = None) -> Graph:
    """Fill in the types that ONNX shape inference can find.

    Args:
        graph: the model; types it already knows are kept.
        inputs: types to assume for graph inputs, for instance with symbolic dimensions replaced by numbers.

    Returns:
        The same graph with more complete types. With `inputs`, all other recorded types are forgotten first, as they may
        speak of other sizes.
    """
    base = (
        graph
        if inputs is None
        else graph.with_(types={name: inputs.get(name, graph.type_of(name)) for name in graph.inputs})
    )
    model: ir.Model = passes.ShapeInferencePass(check_type=False, strict_mode=False, data_prop=True)(
        to_model(base)
    ).model
    found = _from_ir(model.graph, model).types
    return graph.with_(types={**base.types, **{name: _merge(base.types.get(name), found[name]) for name in found}})


def _merge(old: TensorType | None, new: TensorType) -> TensorType:
    if old is None:
        return new
    return TensorType(old.dtype or new.dtype, new.shape if new.shape is not None else old.shape)
