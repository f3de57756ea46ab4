"""Reading and writing ONNX files; the only module that knows how onnx_ir represents a graph."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError
from onnx_ir.passes import common as passes

from ..errors import fail
from .model import Dim, Graph, Node, TensorType, Weight, dtype_name, dtype_of

MIN_OPSET = 7
EXTERNAL_ABOVE = 1_800_000_000  # protobuf ends at 2 GiB; leave room for the graph itself


def load(path: str | os.PathLike[str]) -> Graph:
    """Read a model; weights in external data stay memory-mapped.

    Raises:
        QConvertError: M001 to M005, M007 with the file and what to do.
    """
    path = Path(path)
    proto = _parse(path)
    opset = {o.domain: o.version for o in proto.opset_import}
    if opset.get("", opset.get("ai.onnx", MIN_OPSET)) < MIN_OPSET:
        raise fail(
            "M007",
            f"opset {opset.get('')}, at least {MIN_OPSET} is needed",
            path,
            "re-export the model with a newer opset",
        )
    _check_external(path, proto)
    _check(path, proto)
    try:
        model = ir.serde.deserialize_model(proto)
        ir.external_data.set_base_dir(model.graph, path.parent.resolve())
        if model.functions:
            model = passes.InlinePass()(model).model
        passes.NameFixPass()(model)
        return _from_ir(model.graph, model)
    except Exception as error:
        raise fail("M005", f"the graph cannot be read: {_first_line(error)}", path) from error


def save(graph: Graph, path: str | os.PathLike[str], progress: Callable[[int, int], None] | None = None) -> list[Path]:
    """Write a model; large ones put their weights into `<name>.data` beside it, each produced only while it is written.

    Args:
        graph: what to write.
        path: the `.onnx` file; the folder must exist.
        progress: called with (weights written, weights in all) for external data.

    Returns:
        The files written, the model first.
    """
    path = Path(path)
    model = to_model(graph)
    if sum(int(w.nbytes) for w in graph.weights.values()) < EXTERNAL_ABOVE:
        path.write_bytes(serialize(graph))
        return [path]
    data = path.with_name(path.name + ".data")
    counter = iter(range(1, len(graph.weights) + 1))
    ir.save(
        model,
        path,
        external_data=data.name,
        callback=lambda _, info: progress(next(counter), info.total) if progress else None,
        max_workers=1,
    )
    return [path, data]


def rename_data(path: Path, name: str) -> None:
    """Let a written model look for its external data in a file of another name beside it."""
    proto = onnx.load(path, load_external_data=False)
    for entry in (e for tensor in _tensors(proto.graph) for e in tensor.external_data if e.key == "location"):
        entry.value = name
    path.write_bytes(proto.SerializeToString(deterministic=True))


def serialize(graph: Graph) -> bytes:
    """The model as protobuf bytes, the same for the same graph in every process."""
    return bytes(to_proto(graph).SerializeToString(deterministic=True))


def to_proto(graph: Graph) -> onnx.ModelProto:
    """The model as an `onnx.ModelProto` with its weights inside, wherever they lie now."""
    model = to_model(graph)
    for value in (v for body in model.graphs() for v in body.initializers.values()):
        if isinstance(value.const_value, ir.ExternalTensor):
            value.const_value = ir.Tensor(value.const_value.numpy(), dtype=value.const_value.dtype, name=value.name)
    proto: onnx.ModelProto = ir.serde.serialize_model(model)
    return proto


def from_proto(proto: onnx.ModelProto) -> Graph:
    """A graph from a model in memory."""
    model = ir.serde.deserialize_model(proto)
    if model.functions:
        model = passes.InlinePass()(model).model
    passes.NameFixPass()(model)
    return _from_ir(model.graph, model)


def _parse(path: Path) -> onnx.ModelProto:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise fail("M001", f"the model cannot be read: {error.strerror}", path) from error
    if content.startswith(b"version https://git-lfs"):
        raise fail("M002", "this is a pointer of Git LFS, not the model itself", path, "run `git lfs pull`")
    try:
        proto: onnx.ModelProto = onnx.ModelProto.FromString(content)
    except DecodeError as error:
        raise fail(
            "M002", f"not a readable ONNX protobuf ({len(content)} bytes)", path, "is it complete, and an .onnx file?"
        ) from error
    if not proto.opset_import or not (proto.graph.node or proto.graph.output):
        raise fail("M002", f"no graph in this file ({len(content)} bytes)", path, "is it complete, and an .onnx file?")
    if not proto.graph.output:
        raise fail("M005", "the graph has no outputs", path, "re-export the model with at least one output")
    return proto


def _check_external(path: Path, proto: onnx.ModelProto) -> None:
    """Refuse external data that is missing, too short or outside of the model's folder."""
    root = path.parent.resolve()
    for tensor in _tensors(proto.graph):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        info = {entry.key: entry.value for entry in tensor.external_data}
        location = info.get("location", "")
        file = (root / location).resolve()
        if not location or Path(location).is_absolute() or not file.is_relative_to(root):
            raise fail(
                "M004",
                f"weight `{tensor.name}` asks for `{location}`, outside of the model's folder",
                path,
                "re-save the model with its data beside it",
            )
        if not file.is_file():
            raise fail(
                "M003",
                f"weight `{tensor.name}` is in `{location}`, which does not exist",
                path,
                f"copy `{location}` into {path.parent}",
            )
        numbers = [info.get(key) or "0" for key in ("offset", "length")]
        if not all(number.isdecimal() for number in numbers):
            raise fail(
                "M002",
                f"weight `{tensor.name}` has no proper place in `{location}`: {' and '.join(numbers)}",
                path,
                "re-export the model",
            )
        wanted = sum(map(int, numbers))
        if file.stat().st_size < wanted:
            raise fail(
                "M003",
                f"`{location}` has {file.stat().st_size} bytes, weight `{tensor.name}` ends at {wanted}",
                path,
                "copy the file again",
            )


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Every tensor of a graph: weights, attributes, and those of bodies and sparse weights."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for attribute in (a for node in graph.node for a in node.attribute):
        yield from (t for t in (attribute.t, *attribute.tensors) if t.data_type)
        for body in (attribute.g, *attribute.graphs):
            yield from _tensors(body)


def _check(path: Path, proto: onnx.ModelProto) -> None:
    try:
        if proto.ByteSize() < EXTERNAL_ABOVE:
            onnx.checker.check_model(proto if not _has_external(proto) else str(path))
        else:
            onnx.checker.check_model(str(path))
    except onnx.checker.ValidationError as error:
        text = " ".join(str(error).partition("==>")[0].split())
        # Operators of other domains have no schema; whether the runtime knows them is asked later, with a better message.
        if "No Op registered" in text or "No opset import for domain" in text:
            return
        if text.startswith("Field 'shape' of 'type' is required"):
            raise fail(
                "M010",
                "an input or output has no shape, not even a rank",
                path,
                "re-export the model with shapes; dimensions may be symbolic",
            ) from error
        raise fail("M005", f"the ONNX checker refuses the model: {text[:400]}", path) from error


def _has_external(proto: onnx.ModelProto) -> bool:
    return any(t.data_location == onnx.TensorProto.EXTERNAL for t in _tensors(proto.graph))


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


# --- onnx_ir to Graph --------------------------------------------------------------------------------------------------


def _from_ir(graph: ir.Graph, model: ir.Model | None = None) -> Graph:
    values = [*graph.inputs, *(out for node in graph for out in node.outputs)]
    own = set(graph.opset_imports.items()) if model is None else set(model.opset_imports.items())
    return Graph(
        nodes=tuple(_node_from_ir(node) for node in graph),
        inputs=tuple(_name(v) for v in graph.inputs),
        outputs=tuple(_name(v) for v in graph.outputs),
        weights={name: v.const_value for name, v in graph.initializers.items() if v.const_value is not None},
        types={_name(v): _type_from_ir(v) for v in values if v.name and (v.type is not None or v.shape is not None)},
        opsets={("" if domain == "ai.onnx" else domain): version for domain, version in sorted(own)},
        name=graph.name or "graph",
        ir_version=model.ir_version if model else 8,
        metadata=dict(model.metadata_props) if model else {},
    )


def _node_from_ir(node: ir.Node) -> Node:
    return Node(
        op=node.op_type,
        inputs=tuple(_name(v) if v is not None else "" for v in node.inputs),
        outputs=tuple(_name(v) for v in node.outputs),
        attributes={name: _attr_from_ir(attr) for name, attr in node.attributes.items()},
        name=node.name or "",
        domain="" if node.domain == "ai.onnx" else node.domain,
    )


def _attr_from_ir(attr: ir.Attr) -> Any:
    match attr.type:
        case ir.AttributeType.GRAPH:
            return _from_ir(attr.as_graph())
        case ir.AttributeType.GRAPHS:
            return tuple(_from_ir(g) for g in attr.as_graphs())
        case ir.AttributeType.TENSOR:
            return attr.as_tensor() if attr.as_tensor().dtype == ir.DataType.STRING else attr.as_tensor().numpy()
        case ir.AttributeType.INT | ir.AttributeType.FLOAT | ir.AttributeType.STRING:
            return attr.value
        case ir.AttributeType.INTS | ir.AttributeType.FLOATS | ir.AttributeType.STRINGS:
            return tuple(attr.value)
        case _:  # sparse tensors, types: carried through untouched
            return attr


def _name(value: ir.Value) -> str:
    return value.name or ""


def _type_from_ir(value: ir.Value) -> TensorType:
    dtype = dtype_name(value.dtype) if value.dtype is not None else None
    return TensorType(dtype, None if value.shape is None else tuple(_dim_from_ir(d) for d in value.shape))


def _dim_from_ir(dim: int | ir.SymbolicDim) -> Dim:
    return dim if isinstance(dim, int) else dim.value


# --- Graph to onnx_ir --------------------------------------------------------------------------------------------------


def to_model(graph: Graph) -> ir.Model:
    """The graph as an onnx_ir model; weights are shared, not copied."""
    body = _graph_to_ir(graph, {})
    body.opset_imports.update(graph.opsets)
    return ir.Model(body, ir_version=graph.ir_version, producer_name="qconvert", metadata_props=dict(graph.metadata))


def _graph_to_ir(graph: Graph, outer: Mapping[str, ir.Value]) -> ir.Graph:
    values: dict[str, ir.Value] = {}

    def value(name: str) -> ir.Value | None:
        if not name:
            return None
        if name not in values and name in outer:
            return outer[name]
        if name not in values:
            values[name] = _value_to_ir(name, graph)
        return values[name]

    for name in (*graph.inputs, *graph.weights):
        value(name)
    for node in graph.nodes:
        for name in node.outputs:
            values[name] = _value_to_ir(name, graph)
    nodes = [_node_to_ir(node, value, {**outer, **values}) for node in graph.nodes]
    return ir.Graph(
        [v for v in map(value, graph.inputs) if v is not None],
        [v for v in map(value, graph.outputs) if v is not None],
        nodes=nodes,
        initializers=[values[name] for name in graph.weights],
        name=graph.name,
    )


def _value_to_ir(name: str, graph: Graph) -> ir.Value:
    weight: Weight | None = graph.weights.get(name)
    known = graph.type_of(name)
    dtype = None if known.dtype is None else ir.TensorType(dtype_of(known.dtype))
    shape = None if known.shape is None else ir.Shape(list(known.shape))
    if weight is not None:
        weight.name = name
    return ir.Value(name=name, type=dtype, shape=shape, const_value=weight)


def _node_to_ir(node: Node, value: Callable[[str], ir.Value | None], scope: Mapping[str, ir.Value]) -> ir.Node:
    outputs = [value(name) or ir.Value(name="") for name in node.outputs]
    attributes = [_attr_to_ir(name, item, scope) for name, item in node.attributes.items()]
    return ir.Node(
        node.domain, node.op, [value(name) for name in node.inputs], attributes, outputs=outputs, name=node.name or None
    )


def _attr_to_ir(name: str, item: Any, scope: Mapping[str, ir.Value]) -> ir.Attr:
    if isinstance(item, ir.Attr):
        return item
    if isinstance(item, Graph):
        return ir.AttrGraph(name, _graph_to_ir(item, scope))
    if isinstance(item, tuple) and item and isinstance(item[0], Graph):
        return ir.AttrGraphs(name, [_graph_to_ir(g, scope) for g in item])
    if isinstance(item, np.ndarray):
        return ir.AttrTensor(name, ir.tensor(item))
    if isinstance(item, ir.TensorProtocol):
        return ir.AttrTensor(name, item)
    if isinstance(item, bool | int | np.integer):
        return ir.AttrInt64(name, int(item))
    if isinstance(item, float | np.floating):
        return ir.AttrFloat32(name, float(item))
    if isinstance(item, str):
        return ir.AttrString(name, item)
    return _sequence_to_ir(name, item)


def _sequence_to_ir(name: str, items: Sequence[Any]) -> ir.Attr:
    """A list attribute by the type of its first element; an empty one is a list of integers, as in all standard operators."""
    if items and isinstance(items[0], str):
        return ir.AttrStrings(name, list(items))
    if items and isinstance(items[0], float | np.floating):
        return ir.AttrFloat32s(name, [float(item) for item in items])
    return ir.AttrInt64s(name, [int(item) for item in items])
