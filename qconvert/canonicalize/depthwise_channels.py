"""Depthwise Convs get a multiple of 16 channels, which is what integer depthwise kernels work on at a time."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..errors import Diagnostic
from ..graph import Edit, Graph, Node, TensorType
from .layers import Layer, layer_at, pad_weight, put_layer
from .match import CHANNEL_AXIS, captured, is_op, scalar
from .rewrite import Change, Rewrite, label, left, sweep

MULTIPLE = 16
LARGEST_WASTE = 0.15  # new channels, as part of the old ones

# Work on each channel by itself. The new channels are multiplied by zero weights in the end, whatever these make of zeros; those
# listed keep the zeros or stay inside the range that they have anyway.
_CHANNELWISE = (
    *(
        "Abs",
        "AveragePool",
        "Celu",
        "Clip",
        "Elu",
        "Gelu",
        "GlobalAveragePool",
        "GlobalMaxPool",
        "HardSigmoid",
        "HardSwish",
    ),
    *("LeakyRelu", "MaxPool", "Mish", "Relu", "Selu", "Sigmoid", "Softsign", "Swish", "Tanh"),
)


@dataclass
class _Region:
    """The values that have the channels of one producing Conv, and the layers along and behind them."""

    values: list[str]
    depthwise: list[Layer] = field(default_factory=list)
    sinks: list[Layer] = field(default_factory=list)
    muls: list[Node] = field(default_factory=list)
    reason: str | None = None

    @property
    def nodes(self) -> tuple[Node, ...]:
        """Nodes whose weights change."""
        return tuple(layer.node for layer in (*self.depthwise, *self.sinks))


def pad_depthwise_channels(graph: Graph) -> Rewrite:
    """Pad depthwise Convs, the Conv that produces their channels and those that consume them with zero weights.

    Exact: the new channels reach the consumers with zero weights and are products of zero weights and zero biases themselves. Only
    where the channels stay inside between Convs of one group, and the waste is small.
    """
    return sweep(graph, _attempt)


def _attempt(graph: Graph, node: Node) -> Change | Diagnostic | None:
    if not is_op(node, "Conv") or node.attr("group", 1) != 1:
        return None
    producer = layer_at(graph, node)
    if not isinstance(producer, Layer) or producer.channels % MULTIPLE == 0:
        return None
    region = _region(graph, node.output, producer.channels)
    if not region.depthwise:
        return None
    channels = -(-producer.channels // MULTIPLE) * MULTIPLE
    waste = channels / producer.channels - 1.0
    reason = region.reason or (f"{waste:.0%} more channels would be wasted" if waste > LARGEST_WASTE else None)
    if reason:
        return left(region.depthwise[0].node, f"{producer.channels} channels are not padded to {channels}: {reason}")
    line = f"{', '.join(label(layer.node) for layer in region.depthwise)}: {producer.channels} channels -> {channels}"
    return Change(line, (node, *region.nodes), lambda edit: _pad(edit, graph, producer, region, channels))


def _region(graph: Graph, start: str, channels: int) -> _Region:
    region, todo = _Region([start]), [start]
    while todo:
        name = todo.pop()
        if name in graph.outputs or captured(graph, name):
            region.reason = f"`{name}` is a graph output or read inside a body"
        for user in graph.consumers_of(name):
            if _reach(graph, region, user, name, channels) and user.output not in region.values:
                region.values.append(user.output)
                todo.append(user.output)
    for mul in region.muls:
        if not all(name in region.values or scalar(graph, name) is not None for name in mul.inputs):
            region.reason = f"{label(mul)} meets channels from elsewhere"
    return region


def _reach(graph: Graph, region: _Region, user: Node, data: str, channels: int) -> bool:
    """Enter a reader of one of the region's values, and say whether its result has the channels too."""
    layer = (
        layer_at(graph, user)
        if is_op(user, "Conv") and user.inputs[0] == data and user.inputs.count(data) == 1
        else None
    )
    if isinstance(layer, Layer) and user.attr("group", 1) == 1:
        region.sinks.append(layer)
        return False
    if isinstance(layer, Layer) and user.attr("group", 1) == channels == layer.channels:
        region.depthwise.append(layer)
        return True
    if is_op(user, "Mul"):
        region.muls.append(user)
        return True
    if (
        is_op(user, *_CHANNELWISE)
        and user.inputs[0] == data
        and user.inputs.count(data) == 1
        and len([o for o in user.outputs if o]) == 1
    ):
        return True
    region.reason = f"{label(user)} reads the channels too"
    return False


def _pad(edit: Edit, graph: Graph, producer: Layer, region: _Region, channels: int) -> None:
    for layer in (producer, *region.depthwise):
        put_layer(edit, graph, pad_weight(layer, axis=0, channels=channels), layer.node.output)
    for layer in region.sinks:
        put_layer(edit, graph, pad_weight(layer, axis=1, channels=channels), layer.node.output)
    for layer in region.depthwise:
        new = edit.current(layer.node)
        if new is not None:
            edit.replace(layer.node, new.with_(attributes={**new.attributes, "group": channels}))
    for name in region.values:
        kind = graph.type_of(name)
        if kind.shape:
            edit.set_type(
                name, TensorType(kind.dtype, (*kind.shape[:CHANNEL_AXIS], channels, *kind.shape[CHANNEL_AXIS + 1 :]))
            )
