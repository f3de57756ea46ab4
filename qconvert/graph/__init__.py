"""The model as a value: load, look at, edit, save."""

from .io import bytes_outside, load, referenced, rename_data, save, serialize
from .model import Dim, Edit, Graph, Node, TensorType, sort
from .proto import from_proto, to_proto
from .schemas import gives, only_tensors, takes
from .shapes import infer_types
from .weights import Array, Held, Lazy, Mapped, Weight, numpy_dtype, onnx_dtype, weight

__all__ = [
    "Array",
    "Dim",
    "Edit",
    "Graph",
    "Held",
    "Lazy",
    "Mapped",
    "Node",
    "TensorType",
    "Weight",
    "bytes_outside",
    "from_proto",
    "gives",
    "infer_types",
    "load",
    "numpy_dtype",
    "only_tensors",
    "onnx_dtype",
    "referenced",
    "rename_data",
    "save",
    "serialize",
    "sort",
    "takes",
    "to_proto",
    "weight",
]
