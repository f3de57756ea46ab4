"""From a plan to a .tflite file: one lowering a node, in order, then inputs and outputs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ...calibrate import QuantParams
from ...errors import fail
from ...graph import Graph, Node
from ...plan import Kind, Plan
from . import linear, moves, pointwise, pool
from .layout import Order, View, channel_last, identity
from .model import Artefact, Binding, File
from .pointwise import Lowering, binary, extreme, softmax, unary
from .site import Scene, Site
from .writer import pack

LOWERINGS: dict[str, Lowering] = {
    "Conv": linear.conv,
    "ConvTranspose": linear.conv_transpose,
    "Gemm": linear.gemm,
    "MatMul": linear.matmul,
    "Add": binary("ADD", pot=True),
    "Sub": binary("SUB", pot=True),
    "Mul": binary("MUL"),
    "Div": binary("DIV"),
    "Max": extreme("MAXIMUM"),
    "Min": extreme("MINIMUM"),
    "Pow": pointwise.power,
    "Neg": pointwise.negative,
    "Reciprocal": pointwise.reciprocal,
    "Abs": unary("ABS"),
    "Relu": pointwise.relu,
    "Clip": pointwise.clip,
    "LeakyRelu": unary("LEAKY_RELU", pointwise.leaky_slope),
    "PRelu": pointwise.prelu,
    "Elu": unary("ELU"),
    "HardSwish": unary("HARD_SWISH"),
    "Sigmoid": unary("LOGISTIC"),
    "Tanh": unary("TANH"),
    "Softmax": softmax("SOFTMAX", {"beta": 1.0}),
    "LogSoftmax": softmax("LOG_SOFTMAX", {}),
    "MaxPool": pool.max_pool,
    "GlobalMaxPool": pool.global_max_pool,
    "AveragePool": pool.average_pool,
    "GlobalAveragePool": pool.global_average_pool,
    "ReduceMean": pool.reduction("MEAN"),
    "ReduceSum": pool.reduction("SUM"),
    "ReduceMax": pool.reduction("REDUCE_MAX", same=True),
    "ReduceMin": pool.reduction("REDUCE_MIN", same=True),
    "Reshape": moves.reshape,
    "Flatten": moves.reshape,
    "Squeeze": moves.reshape,
    "Unsqueeze": moves.reshape,
    "Transpose": moves.transpose,
    "Concat": moves.concat,
    "Split": moves.split,
    "Slice": moves.slice_,
    "Gather": moves.gather,
    "Pad": moves.pad,
    "Expand": moves.expand,
    "DepthToSpace": moves.blocks("DEPTH_TO_SPACE"),
    "SpaceToDepth": moves.blocks("SPACE_TO_DEPTH"),
    "Resize": moves.resize,
}

_CHANNELS_LAST = {"Conv", "ConvTranspose", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Resize", "DepthToSpace", "SpaceToDepth"}
_ANY_LAYOUT = {"Add", "Sub", "Mul", "Div", "Relu", "Clip", "LeakyRelu", "Sigmoid", "Tanh", "HardSwish", "Pad", "BatchNormalization"}


def emit_tflite(graph: Graph, plan: Plan, activations: Mapping[str, QuantParams], weights: Mapping[tuple[str, int], QuantParams], io: str = "integer", keep_layout: bool = False) -> Artefact:
    """The plan as a .tflite file; every node that computes must be integer in it.

    Args:
        activations: parameters of every tensor of `plan.tensors`; weights: of every constant input of `plan.weights`.
        io: "integer", or "float" for float inputs and outputs behind QUANTIZE and DEQUANTIZE.
        keep_layout: inputs and outputs keep the order of axes of the ONNX model.

    Raises:
        QConvertError: M014 where a node has no integer form.
    """
    scene = Scene(graph, plan, activations, weights)
    inputs = [_input(scene, name, io, keep_layout) for name in graph.feeds]
    for node in graph.nodes:
        _lower(scene, node)
    outputs = [_output(scene, name, io, keep_layout) for name in graph.outputs]
    build = scene.builder
    file = File(tuple(build.tensors), tuple(build.ops), tuple(t for t, _ in inputs), tuple(t for t, _ in outputs), "qconvert")
    return Artefact(file, pack(file), _bindings(scene, graph.feeds, inputs), _bindings(scene, graph.outputs, outputs))


def _lower(scene: Scene, node: Node) -> None:
    kind = scene.plan.nodes[node.name].kind
    if kind is Kind.ABSORBED:
        return
    if kind is not Kind.INTEGER or node.op not in LOWERINGS:
        raise fail("M014", f"{node.op} has no integer form: {scene.plan.nodes[node.name].reason}", f"node `{node.name}`")
    site = Site(scene, node)
    LOWERINGS[node.op](site)
    pointwise.finish_clamp(site)


# --- inputs and outputs --------------------------------------------------------------------------------------------------


def _input(scene: Scene, name: str, io: str, keep_layout: bool) -> tuple[int, View]:
    shape, params = scene.plan.shapes[name], scene.activations.get(name)
    order = identity(len(shape)) if keep_layout else preferred(scene.graph, name, len(shape))
    stored = tuple(shape[o] for o in order)
    build = scene.builder
    if params is None:
        raise fail("M014", "the input is read by no operator as integers", f"input `{name}`", "remove it from the model")
    outside = build.tensor(name, stored, None if io == "float" else params)
    tensor = build.emit("QUANTIZE", (outside,), stored, params) if io == "float" else outside
    if io != "float" and not keep_layout:
        build.loose.add(outside)
    scene.views[name] = View(tensor, shape, order, params)
    return outside, View(outside, shape, order, params)


def preferred(graph: Graph, name: str, rank: int) -> Order:
    """Channel-last for an input that ends in a convolution or pool before anything cares for its axes."""
    for reader in graph.consumers_of(name):
        if reader.op in _CHANNELS_LAST and reader.input(0) == name:
            return channel_last(rank)
        if reader.op in _ANY_LAYOUT and preferred(graph, reader.output, rank) != identity(rank):
            return channel_last(rank)
    return identity(rank)


def _output(scene: Scene, name: str, io: str, keep_layout: bool) -> tuple[int, View]:
    build = scene.builder
    view = build.settled(scene.views[name])
    order = identity(len(view.shape)) if keep_layout else view.order
    tensor = build.at(view, order)
    if build.tensors[tensor].data is not None or not any(tensor in op.outputs for op in build.ops):
        tensor = build.emit("RESHAPE", (tensor, build.integers(build.tensors[tensor].shape)), build.tensors[tensor].shape, view.params, {})
    if io == "float":
        tensor = build.emit("DEQUANTIZE", (tensor,), build.tensors[tensor].shape, None, {}, name)
    return tensor, View(tensor, view.shape, order, view.params)


def _bindings(scene: Scene, names: tuple[str, ...], ends: list[tuple[int, View]]) -> tuple[Binding, ...]:
    return tuple(_binding(scene, name, number, view) for name, (number, view) in zip(names, ends, strict=True))


def _binding(scene: Scene, name: str, number: int, view: View) -> Binding:
    tensor = scene.builder.tensors[number]
    values: dict[str, Any] = {}
    if tensor.scale is not None and tensor.zero_point is not None:
        values = {"scale": float(np.reshape(tensor.scale, -1)[0]), "zero_point": int(np.reshape(tensor.zero_point, -1)[0])}
    return Binding(name, scene.graph.type_of(name).dtype or "float32", view.shape, view.order, tensor.shape, tensor.dtype, **values)
