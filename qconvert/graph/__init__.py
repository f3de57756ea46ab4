"""The model as a value: load, look at, edit, save. A thin face to onnx_ir, so that the base can change in one place."""

from .io import from_proto, load, rename_data, save, serialize, to_proto
from .model import Array, Dim, Edit, Graph, Node, TensorType, Weight, dtype_of, sort, weight
from .shapes import infer_types

__all__ = [
    "Array",
    "Dim",
    "Edit",
    "Graph",
    "Node",
    "TensorType",
    "Weight",
    "dtype_of",
    "from_proto",
    "infer_types",
    "load",
    "rename_data",
    "save",
    "serialize",
    "sort",
    "to_proto",
    "weight",
]
