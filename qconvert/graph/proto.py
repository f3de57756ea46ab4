"""Between a Graph and ONNX's protobuf messages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
import onnx.inliner
from onnx import numpy_helper

from .model import Dim, Graph, Node, TensorType
from .weights import Mapped, Weight, dtype_name, onnx_dtype, weight

Store: TypeAlias = Callable[[str, Weight], onnx.TensorProto]
_Kind = onnx.AttributeProto
_PLAIN_IR = 10  # every onnxruntime that this package takes knows it


# --- to a Graph ----------------------------------------------------------------------------------------------------------


def from_proto(proto: onnx.ModelProto, folder: Path = Path()) -> Graph:
    """A graph from a model in memory; its functions are inlined.

    Args:
        folder: where the model lies, for its external data.

    Raises:
        ValueError: the model has weights of a kind that is not read.
    """
    if proto.functions:
        proto = onnx.inliner.inline_local_functions(proto)
    return _graph(
        proto.graph,
        folder,
        opsets={_domain(o.domain): o.version for o in sorted(proto.opset_import, key=lambda o: o.domain)},
        ir_version=_needed_ir(proto),
        metadata={entry.key: entry.value for entry in proto.metadata_props},
    )


def _needed_ir(proto: onnx.ModelProto) -> int:
    """The IR version that the model needs: exporters write the newest, which runtimes refuse for years after.

    From `_PLAIN_IR` on, versions only add element types and operators, and whoever knows an operator set knows those.
    """
    opset = max((o.version for o in proto.opset_import if not _domain(o.domain)), default=1)
    if proto.ir_version <= _PLAIN_IR or opset > onnx.defs.onnx_opset_version():
        return int(proto.ir_version)
    needed = onnx.helper.find_min_ir_version_for([onnx.helper.make_opsetid("", opset)])
    return min(int(proto.ir_version), max(_PLAIN_IR, needed))


def _graph(proto: onnx.GraphProto, folder: Path, **more: Any) -> Graph:
    if proto.sparse_initializer:
        raise ValueError(f"weight `{proto.sparse_initializer[0].values.name}` is sparse; store it as a dense tensor")
    infos = {info.name: info for info in (*proto.input, *proto.output, *proto.value_info)}
    inputs = tuple(info.name for info in proto.input)
    made = (name for node in proto.node for name in node.output)
    types = {name: _type(infos[name]) for name in dict.fromkeys((*inputs, *made)) if name in infos}
    return Graph(
        nodes=tuple(_nodes(proto.node, folder)),
        inputs=inputs,
        outputs=tuple(info.name for info in proto.output),
        weights={tensor.name: _weight(tensor, folder) for tensor in proto.initializer},
        types={name: kind for name, kind in types.items() if kind != TensorType()},
        name=proto.name or "graph",
        **{"opsets": {}, **more},
    )


def _nodes(protos: Sequence[onnx.NodeProto], folder: Path) -> Iterable[Node]:
    """Nodes with names that are unique in their graph; the first that has a name keeps it."""
    taken, seen, numbers = {proto.name for proto in protos}, {""}, dict[str, Iterator[int]]()
    for proto in protos:
        name = hint = proto.name or "node"
        if proto.name in seen:
            while name in taken:
                name = f"{hint}_{next(numbers.setdefault(hint, count(1)))}"
        seen.add(name)
        taken.add(name)
        attributes = {a.name: _attribute(a, folder) for a in proto.attribute}
        yield Node(proto.op_type, tuple(proto.input), tuple(proto.output), attributes, name, _domain(proto.domain))


def _attribute(proto: onnx.AttributeProto, folder: Path) -> Any:
    match proto.type:
        case _Kind.INT | _Kind.FLOAT:
            return onnx.helper.get_attribute_value(proto)
        case _Kind.INTS | _Kind.FLOATS:
            return tuple(onnx.helper.get_attribute_value(proto))
        case _Kind.STRING:
            return _text(proto.s)
        case _Kind.STRINGS:
            return tuple(map(_text, proto.strings))
        case _Kind.GRAPH:
            return _graph(proto.g, folder)
        case _Kind.GRAPHS:
            return tuple(_graph(body, folder) for body in proto.graphs)
        case _Kind.TENSOR if proto.t.data_type != onnx.TensorProto.STRING:
            return _weight(proto.t, folder).numpy()
        case _:  # text and sparse tensors, types: carried through untouched
            return proto


def _weight(proto: onnx.TensorProto, folder: Path) -> Weight:
    if proto.data_location != onnx.TensorProto.EXTERNAL:
        return weight(numpy_helper.to_array(proto))
    place = {entry.key: entry.value for entry in proto.external_data}
    name = dtype_name(proto.data_type)
    if name in (None, "string"):
        raise ValueError(f"weight `{proto.name}` has no element type that external data can have")
    return Mapped(str(name), tuple(proto.dims), folder / place["location"], int(place.get("offset") or 0))


def _type(info: onnx.ValueInfoProto) -> TensorType:
    if not info.type.HasField("tensor_type"):
        return TensorType(other=info.type.SerializeToString(deterministic=True))
    tensor = info.type.tensor_type
    shape = tuple(map(_dim, tensor.shape.dim)) if tensor.HasField("shape") else None
    return TensorType(dtype_name(tensor.elem_type), shape)


def _dim(proto: onnx.TensorShapeProto.Dimension) -> Dim:
    return int(proto.dim_value) if proto.HasField("dim_value") else str(proto.dim_param) or None


def _domain(name: str) -> str:
    return "" if name == "ai.onnx" else name


def _text(value: bytes) -> str:
    return value.decode(errors="surrogateescape")


# --- from a Graph --------------------------------------------------------------------------------------------------------


def inside(name: str, value: Weight) -> onnx.TensorProto:
    """A weight as a message that holds its content."""
    return numpy_helper.from_array(value.numpy(), name)


def to_proto(graph: Graph, store: Store = inside) -> onnx.ModelProto:
    """The model as an `onnx.ModelProto`.

    Args:
        store: how a weight is written; by default inside the message, wherever it lies now.
    """
    return onnx.ModelProto(
        graph=_graph_proto(graph, store),
        ir_version=graph.ir_version,
        producer_name="qconvert",
        opset_import=[onnx.OperatorSetIdProto(domain=d, version=v) for d, v in graph.opsets.items()],
        metadata_props=[onnx.StringStringEntryProto(key=k, value=v) for k, v in graph.metadata.items()],
    )


def _graph_proto(graph: Graph, store: Store) -> onnx.GraphProto:
    made = dict.fromkeys(out for node in graph.nodes for out in node.outputs if out and out not in graph.outputs)
    return onnx.GraphProto(
        name=graph.name,
        node=[_node_proto(node, store) for node in graph.nodes],
        input=[_info(name, graph.type_of(name)) for name in graph.inputs],
        output=[_info(name, graph.type_of(name)) for name in graph.outputs],
        value_info=[_info(name, graph.types[name]) for name in made if name in graph.types],
        initializer=[store(name, value) for name, value in graph.weights.items()],
    )


def _node_proto(node: Node, store: Store) -> onnx.NodeProto:
    return onnx.NodeProto(
        op_type=node.op,
        domain=node.domain,
        name=node.name,
        input=node.inputs,
        output=node.outputs,
        attribute=[_attribute_proto(name, value, store) for name, value in node.attributes.items()],
    )


def _attribute_proto(name: str, value: Any, store: Store) -> onnx.AttributeProto:
    if isinstance(value, onnx.AttributeProto):
        return value
    if isinstance(value, tuple | list):
        return _list_proto(name, value, store)
    return onnx.AttributeProto(name=name, **_one(name, value, store))


def _one(name: str, value: Any, store: Store) -> Mapping[str, Any]:
    if isinstance(value, Graph):
        return {"type": _Kind.GRAPH, "g": _graph_proto(value, store)}
    if isinstance(value, np.ndarray):
        return {"type": _Kind.TENSOR, "t": numpy_helper.from_array(value, name)}
    if isinstance(value, bool | int | np.integer):
        return {"type": _Kind.INT, "i": int(value)}
    if isinstance(value, float | np.floating):
        return {"type": _Kind.FLOAT, "f": float(value)}
    return {"type": _Kind.STRING, "s": str(value).encode(errors="surrogateescape")}


def _list_proto(name: str, values: tuple[Any, ...] | list[Any], store: Store) -> onnx.AttributeProto:
    """A list attribute by the type of its first element; an empty one is a list of integers, as in all standard operators."""
    first = values[0] if values else 0
    if isinstance(first, Graph):
        return _Kind(name=name, type=_Kind.GRAPHS, graphs=[_graph_proto(g, store) for g in values])
    if isinstance(first, str):
        return _Kind(name=name, type=_Kind.STRINGS, strings=[v.encode(errors="surrogateescape") for v in values])
    if isinstance(first, float | np.floating):
        return _Kind(name=name, type=_Kind.FLOATS, floats=map(float, values))
    return _Kind(name=name, type=_Kind.INTS, ints=map(int, values))


def _info(name: str, kind: TensorType) -> onnx.ValueInfoProto:
    info = onnx.ValueInfoProto(name=name)
    if kind.other:
        info.type.ParseFromString(kind.other)
        return info
    tensor = info.type.tensor_type
    if kind.dtype is not None:
        tensor.elem_type = onnx_dtype(kind.dtype)
    if kind.shape is not None:
        tensor.shape.SetInParent()
        for dim in kind.shape:
            tensor.shape.dim.append(_dim_proto(dim))
    return info


def _dim_proto(dim: Dim) -> onnx.TensorShapeProto.Dimension:
    if dim is None:
        return onnx.TensorShapeProto.Dimension()
    return onnx.TensorShapeProto.Dimension(**({"dim_param": dim} if isinstance(dim, str) else {"dim_value": dim}))
