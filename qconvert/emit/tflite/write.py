"""From a plan to a .tflite file: one lowering a node, in order, then inputs and outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...calibrate import QuantParams
from ...errors import fail
from ...graph import Graph, Node
from ...plan import Kind, Plan
from . import linear, moves, pointwise, pool, recurrent
from .build import Builder
from .layout import Order, View, channel_last, identity
from .memory import arena_estimate, peak
from .model import Artefact, Binding, File
from .pointwise import Lowering, binary, extreme, softmax, unary
from .site import Scene, Site
from .writer import pack

LOWERINGS: dict[str, Lowering] = {
    "Conv": linear.conv,
    "ConvTranspose": linear.conv_transpose,
    "Gemm": linear.gemm,
    "MatMul": linear.matmul,
    "LSTM": recurrent.lstm,
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
    "ReduceSum": pool.reduce_sum,
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
    "ArgMax": moves.place("ARG_MAX"),
    "ArgMin": moves.place("ARG_MIN"),
    "Pad": moves.pad,
    "Expand": moves.expand,
    "DepthToSpace": moves.blocks("DEPTH_TO_SPACE"),
    "SpaceToDepth": moves.blocks("SPACE_TO_DEPTH"),
    "Resize": moves.resize,
}

_CHANNELS_LAST = {
    "Conv",
    "ConvTranspose",
    "MaxPool",
    "AveragePool",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "Resize",
    "DepthToSpace",
    "SpaceToDepth",
}
_ANY_LAYOUT = {
    "Add",
    "Sub",
    "Mul",
    "Div",
    "Relu",
    "Clip",
    "LeakyRelu",
    "Sigmoid",
    "Tanh",
    "HardSwish",
    "Pad",
    "BatchNormalization",
}


@dataclass(frozen=True, slots=True)
class Options:
    """What a recipe may ask of the file.

    Attributes:
        io: "integer", or "float" for float inputs and outputs behind QUANTIZE and DEQUANTIZE.
        keep_layout: inputs and outputs keep the order of axes of the ONNX model.
        arena: bytes of memory; beyond it, time is spent to save memory.
    """

    io: str = "integer"
    keep_layout: bool = False
    arena: int | None = None


def emit_tflite(
    graph: Graph,
    plan: Plan,
    activations: Mapping[str, QuantParams],
    weights: Mapping[tuple[str, int], QuantParams],
    options: Options | None = None,
) -> Artefact:
    """The plan as a .tflite file; every node that computes must be integer in it.

    Args:
        activations: parameters of every tensor of `plan.tensors`; weights: of every constant input of `plan.weights`.
        options: what the recipe says of inputs, outputs and memory.

    Raises:
        QConvertError: M014 where a node has no integer form.
    """
    options = options or Options()
    made = _best_layout(Scene(graph, plan, activations, weights), options)
    layouts = {b.name: b.order for b in made.inputs}
    if options.arena is None or arena_estimate(made.file) <= options.arena:
        return made
    for node in graph.nodes:
        if node.op == "Conv":
            made = _smaller(
                made,
                _written(
                    Scene(graph, plan, activations, weights, widened=made.widened | {node.name}), options, layouts
                ),
                node,
            )
    return made


def _smaller(made: Artefact, other: Artefact, node: Node) -> Artefact:
    """The one with the smaller arena; a widened kernel costs time, so it must win something."""
    before, after = peak(made.file), peak(other.file)
    if after >= before:
        return made
    text = f"`{node.name}` has its kernel widened by zeros instead of a PAD in front: peak of the arena {before} -> {after} bytes, more multiply-accumulates"
    return replace(other, choices=(*made.choices, text))


def _best_layout(scene: Scene, options: Options) -> Artefact:
    """The file with its inputs channels last or not, whichever needs fewer transpositions."""
    ranks = {name: len(scene.plan.shapes[name]) for name in scene.graph.feeds}
    layouts = {
        name: identity(rank) if options.keep_layout else preferred(scene.graph, name, rank)
        for name, rank in ranks.items()
    }
    best = _written(scene, options, layouts)
    for name, rank in ranks.items():
        if options.keep_layout or rank < 3 or not _moves(best)[0]:
            continue
        other = {**layouts, name: identity(rank) if layouts[name] != identity(rank) else channel_last(rank)}
        made = _written(replace(scene, builder=Builder(), views={}, choices=[]), options, other)
        if _moves(made) < _moves(best):
            best, layouts = made, other
    return best


def _moves(made: Artefact) -> tuple[int, int]:
    names = [op.name for op in made.file.ops]
    return names.count("TRANSPOSE"), names.count("RESHAPE")


def _written(scene: Scene, options: Options, layouts: Mapping[str, Order]) -> Artefact:
    graph = scene.graph
    inputs = [_input(scene, name, options, layouts[name]) for name in graph.feeds]
    for node in graph.nodes:
        _lower(scene, node)
    outputs = [_output(scene, name, options.io, options.keep_layout) for name in graph.outputs]
    build = scene.builder
    file = File(
        tuple(build.tensors), tuple(build.ops), tuple(t for t, _ in inputs), tuple(t for t, _ in outputs), "qconvert"
    )
    return Artefact(
        file,
        pack(file),
        _bindings(scene, graph.feeds, inputs),
        _bindings(scene, graph.outputs, outputs),
        tuple(scene.choices),
        widened=scene.widened,
    )


def _lower(scene: Scene, node: Node) -> None:
    kind = scene.plan.nodes[node.name].kind
    if kind is Kind.ABSORBED:
        return
    if kind is not Kind.INTEGER or node.op not in LOWERINGS:
        raise fail(
            "M014", f"{node.op} has no integer form: {scene.plan.nodes[node.name].reason}", f"node `{node.name}`"
        )
    site = Site(scene, node)
    LOWERINGS[node.op](site)
    pointwise.finish_clamp(site)


# --- inputs and outputs --------------------------------------------------------------------------------------------------


def _input(scene: Scene, name: str, options: Options, order: Order) -> tuple[int, View]:
    shape, params = scene.plan.shapes[name], scene.activations.get(name)
    io, stored = options.io, tuple(shape[o] for o in order)
    build = scene.builder
    if params is None and scene.graph.type_of(name).dtype in _INDEX_TYPES:
        tensor = build.tensor(name, shape, None, "int32")
        scene.views[name] = View(tensor, shape, identity(len(shape)), None)
        return tensor, scene.views[name]
    if params is None:
        raise fail(
            "M014", "the input is read by no operator as integers", f"input `{name}`", "remove it from the model"
        )
    outside = build.tensor(name, stored, None if io == "float" else params)
    tensor = build.emit("QUANTIZE", (outside,), stored, params) if io == "float" else outside
    if io != "float" and not options.keep_layout:
        build.loose.add(outside)
    scene.views[name] = View(tensor, shape, order, params)
    return outside, View(outside, shape, order, params)


_INDEX_TYPES = ("int32", "int64")


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
        tensor = build.emit(
            "RESHAPE",
            (tensor, build.integers(build.tensors[tensor].shape)),
            build.tensors[tensor].shape,
            view.params,
            {},
            dtype=build.tensors[tensor].dtype,
        )
    if io == "float" and view.params is not None:
        tensor = build.emit("DEQUANTIZE", (tensor,), build.tensors[tensor].shape, None, {}, name)
    return tensor, View(tensor, view.shape, order, view.params)


def _bindings(scene: Scene, names: tuple[str, ...], ends: list[tuple[int, View]]) -> tuple[Binding, ...]:
    return tuple(_binding(scene, name, number, view) for name, (number, view) in zip(names, ends, strict=True))


def _binding(scene: Scene, name: str, number: int, view: View) -> Binding:
    tensor = scene.builder.tensors[number]
    values: dict[str, Any] = {}
    if tensor.scale is not None and tensor.zero_point is not None:
        values = {
            "scale": float(np.reshape(tensor.scale, -1)[0]),
            "zero_point": int(np.reshape(tensor.zero_point, -1)[0]),
        }
    return Binding(
        name, scene.graph.type_of(name).dtype or "float32", view.shape, view.order, tensor.shape, tensor.dtype, **values
    )
