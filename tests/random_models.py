"""Random networks, the same for the same seed: chains of common layers with branches, odd names and several outputs.

Weights keep the variance, so that values stay tame and 8 bits are enough for each layer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

BATCH = "batch"
Shape = tuple[int, ...]  # without the batch axis
_NAMES = ("", "layer", "a b", "x/y/z", "größe", "名前", "a:0", "same", "same")


@dataclass
class Net:
    """A network in the making.

    Attributes:
        shapes: of every value so far, without its batch axis.
    """

    rng: np.random.Generator
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    weights: dict[str, np.ndarray] = field(default_factory=dict)
    shapes: dict[str, Shape] = field(default_factory=dict)

    def pick(self, *choices: object) -> object:
        """One of them."""
        return choices[int(self.rng.integers(len(choices)))]

    def number(self, low: int, high: int) -> int:
        """From low to high, both included."""
        return int(self.rng.integers(low, high + 1))

    def weight(self, value: np.ndarray, shared: bool = True) -> str:
        """The name of a constant; at times that of an earlier one of the same shape."""
        value = np.asarray(value)
        same = [n for n, w in self.weights.items() if w.shape == value.shape and w.dtype == value.dtype == np.float32]
        if same and shared and self.rng.random() < 0.2:
            return str(self.pick(*same))
        name = f"{self.pick('w', 'weights', 'a b/w', 'ß')}.{len(self.weights)}"
        self.weights[name] = value
        return name

    def normal(self, *shape: int, fan: int = 1) -> str:
        """Random weights for sums over `fan` inputs."""
        return self.weight((self.rng.standard_normal(shape) / np.sqrt(fan)).astype(np.float32))

    def op(self, kind: str, inputs: list[str], shape: Shape, outputs: int = 1, **attributes: object) -> str:
        """Add a node and return its first output; all outputs have the same shape."""
        base = f"{self.pick('v', 'out put', 't/', 'é')}{len(self.shapes)}"
        names = [base if n == 0 else f"{base}.{n}" for n in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, names, name=str(self.pick(*_NAMES)), **attributes))
        self.shapes.update(dict.fromkeys(names, shape))
        return base

    def partner(self, x: str, same: Callable[[Shape], bool]) -> str | None:
        """An earlier value whose shape fits, None if there is none."""
        found = [n for n, s in self.shapes.items() if n != x and same(s)]
        return str(self.pick(*found)) if found else None


# --- layers on anything ------------------------------------------------------------------------------------------------


def activation(net: Net, x: str) -> str:
    shape = net.shapes[x]
    kind = net.pick(
        "Relu", "Relu", "Clip", "LeakyRelu", "Sigmoid", "Tanh", "HardSwish", "HardSigmoid", "Elu", "Swish", "Gelu"
    )
    if kind == "Clip":
        return net.op("Clip", [x, net.weight(np.float32(0), False), net.weight(np.float32(6), False)], shape)
    if kind == "Swish":
        return net.op("Mul", [x, net.op("Sigmoid", [x], shape)], shape)
    if kind == "Gelu":
        erf = net.op("Erf", [net.op("Div", [x, net.weight(np.float32(2**0.5), False)], shape)], shape)
        half = net.op("Mul", [x, net.op("Add", [erf, net.weight(np.float32(1), False)], shape)], shape)
        return net.op("Mul", [half, net.weight(np.float32(0.5), False)], shape)
    return net.op(str(kind), [x], shape)


def join(net: Net, x: str) -> str:
    """A residual addition, a product with a gate, or a difference."""
    shape = net.shapes[x]
    other = net.partner(x, lambda s: s == shape)
    if other is None:
        return net.op("Add", [x, net.normal(*[1] * (len(shape) - 1), shape[-1])], shape)
    if net.rng.random() < 0.2:
        return net.op("Mul", [x, net.op("Sigmoid", [other], shape)], shape)
    return net.op(
        str(net.pick("Add", "Add", "Sub", "Max")), [x, other] if net.rng.random() < 0.5 else [other, x], shape
    )


def concat(net: Net, x: str) -> str:
    shape = net.shapes[x]
    axis = 0 if len(shape) == 3 else len(shape) - 1
    other = net.partner(
        x, lambda s: len(s) == len(shape) and s[:axis] + s[axis + 1 :] == shape[:axis] + shape[axis + 1 :]
    )
    parts = [x, other if other is not None else x]
    total = sum(net.shapes[p][axis] for p in parts)
    return net.op("Concat", parts, (*shape[:axis], total, *shape[axis + 1 :]), axis=axis + 1)


def slice_(net: Net, x: str) -> str:
    shape = net.shapes[x]
    axis = net.number(0, len(shape) - 1)
    start, step = net.number(0, shape[axis] // 3), net.pick(1, 1, 2)
    size = len(range(start, shape[axis], int(str(step))))
    ints = [net.weight(np.array([v], np.int64)) for v in (start, 2**31, axis + 1, step)]
    return net.op("Slice", [x, *ints], (*shape[:axis], size, *shape[axis + 1 :]))


def split(net: Net, x: str) -> str:
    shape = net.shapes[x]
    axis = next((a for a, d in enumerate(shape) if d % 2 == 0), None)
    if axis is None:
        return activation(net, x)
    half = (*shape[:axis], shape[axis] // 2, *shape[axis + 1 :])
    first = net.op("Split", [x, net.weight(np.array([half[axis]] * 2, np.int64))], half, outputs=2, axis=axis + 1)
    return first if net.rng.random() < 0.5 else f"{first}.1"


def gather(net: Net, x: str) -> str:
    shape = net.shapes[x]
    axis = net.number(0, len(shape) - 1)
    index = net.rng.integers(0, shape[axis], net.number(1, shape[axis]))
    return net.op("Gather", [x, net.weight(index)], (*shape[:axis], len(index), *shape[axis + 1 :]), axis=axis + 1)


def softmax(net: Net, x: str) -> str:
    if net.shapes[x][-1] == 1:
        return activation(net, x)
    return net.op("Softmax", [x], net.shapes[x], axis=-1)


def affine(net: Net, x: str) -> str:
    """A product and a sum with constants, as normalization leaves them."""
    shape = net.shapes[x]
    width = (shape[0], 1, 1) if len(shape) == 3 else (shape[-1],)
    scaled = net.op("Mul", [x, net.weight(net.rng.uniform(0.5, 1.5, width).astype(np.float32))], shape)
    return net.op("Add", [scaled, net.weight(net.rng.uniform(-0.5, 0.5, width).astype(np.float32))], shape)


# --- layers on images [C, H, W] --------------------------------------------------------------------------------------------


def conv(net: Net, x: str) -> str:
    channels, height, width = net.shapes[x]
    groups = [g for g in (1, 1, 2, channels) if channels % g == 0]
    group = int(str(net.pick(*groups)))
    kernel = int(str(net.pick(*[k for k in (1, 3, 5) if k <= min(height, width)])))
    stride, pad = net.number(1, 2) if min(height, width) > 4 else 1, kernel // 2
    out = group * net.number(1, max(24 // group, 1))
    size = ((height + 2 * pad - kernel) // stride + 1, (width + 2 * pad - kernel) // stride + 1)
    fan = channels // group * kernel**2
    inputs = [x, net.normal(out, channels // group, kernel, kernel, fan=fan)]
    if net.rng.random() < 0.7:
        inputs.append(net.normal(out, fan=4))
    result = net.op("Conv", inputs, (out, *size), strides=[stride] * 2, pads=[pad] * 4, group=group)
    return (
        net.op("BatchNormalization", [result, *_statistics(net, out)], (out, *size))
        if net.rng.random() < 0.3
        else result
    )


def _statistics(net: Net, channels: int) -> list[str]:
    scales = [net.weight(net.rng.uniform(0.5, 1.5, channels).astype(np.float32), False) for _ in range(2)]
    shifts = [net.weight(net.rng.uniform(-0.3, 0.3, channels).astype(np.float32), False) for _ in range(2)]
    return [scales[0], *shifts, scales[1]]


def up_conv(net: Net, x: str) -> str:
    channels, height, width = net.shapes[x]
    if max(height, width) > 16:
        return conv(net, x)
    out = net.number(1, 16)
    inputs = [x, net.normal(channels, out, 2, 2, fan=channels)]
    return net.op("ConvTranspose", inputs, (out, 2 * height, 2 * width), strides=[2, 2])


def pool(net: Net, x: str) -> str:
    channels, height, width = net.shapes[x]
    if min(height, width) < 3:
        return net.op("GlobalAveragePool", [x], (channels, 1, 1))
    kernel, stride, pad = net.number(2, 3), net.number(1, 2), net.number(0, 1)
    size = ((height + 2 * pad - kernel) // stride + 1, (width + 2 * pad - kernel) // stride + 1)
    kind = str(net.pick("MaxPool", "AveragePool"))
    counted = {"count_include_pad": net.number(0, 1)} if kind == "AveragePool" else {}
    window = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [pad] * 4}
    return net.op(kind, [x], (channels, *size), **window, **counted)


def resize(net: Net, x: str) -> str:
    channels, height, width = net.shapes[x]
    if max(height, width) > 16:
        return pool(net, x)
    mode = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    if net.rng.random() < 0.5:
        mode = {"mode": "linear", "coordinate_transformation_mode": str(net.pick("half_pixel", "align_corners"))}
    scales = net.weight(np.array([1, 1, 2, 2], np.float32), False)
    return net.op("Resize", [x, "", scales], (channels, 2 * height, 2 * width), **mode)


def pad(net: Net, x: str) -> str:
    channels, height, width = net.shapes[x]
    ends = net.rng.integers(0, 2, 4)
    pads = net.weight(np.array([0, 0, ends[0], ends[1], 0, 0, ends[2], ends[3]], np.int64))
    return net.op("Pad", [x, pads], (channels, height + int(ends[0] + ends[2]), width + int(ends[1] + ends[3])))


def squeeze_excite(net: Net, x: str) -> str:
    channels = net.shapes[x][0]
    mean = net.op("GlobalAveragePool", [x], (channels, 1, 1))
    gate = net.op("Conv", [mean, net.normal(channels, channels, 1, 1, fan=channels)], (channels, 1, 1))
    return net.op("Mul", [x, net.op(str(net.pick("Sigmoid", "HardSigmoid")), [gate], (channels, 1, 1))], net.shapes[x])


def to_sequence(net: Net, x: str) -> str:
    channels, height, width = net.shapes[x]
    flat = net.op("Reshape", [x, net.weight(np.array([0, channels, -1], np.int64))], (channels, height * width))
    return net.op("Transpose", [flat], (height * width, channels), perm=[0, 2, 1])


def flatten(net: Net, x: str) -> str:
    size = int(np.prod(net.shapes[x]))
    if net.rng.random() < 0.5:
        return net.op("Flatten", [x], (size,))
    return net.op("Reshape", [x, net.weight(np.array([-1, size], np.int64))], (size,))


def channels_last_and_back(net: Net, x: str) -> str:
    channels, height, width = net.shapes[x]
    last = net.op("Transpose", [x], (height, width, channels), perm=[0, 2, 3, 1])
    return net.op("Transpose", [activation(net, last)], (channels, height, width), perm=[0, 3, 1, 2])


# --- layers on sequences [T, D] and rows [D] ---------------------------------------------------------------------------------


def product(net: Net, x: str) -> str:
    *lead, size = net.shapes[x]
    out = net.number(1, 32)
    result = net.op("MatMul", [x, net.normal(size, out, fan=size)], (*lead, out))
    return net.op("Add", [result, net.normal(out, fan=4)], (*lead, out)) if net.rng.random() < 0.6 else result


def gemm(net: Net, x: str) -> str:
    (size,) = net.shapes[x]
    out, turned = net.number(1, 32), net.number(0, 1)
    weight = net.normal(*((out, size) if turned else (size, out)), fan=size)
    return net.op("Gemm", [x, weight, net.normal(out, fan=4)], (out,), transB=turned)


def layer_norm(net: Net, x: str) -> str:
    size = net.shapes[x][-1]
    scale = net.weight(net.rng.uniform(0.5, 1.5, size).astype(np.float32))
    return net.op("LayerNormalization", [x, scale, net.normal(size, fan=9)], net.shapes[x], axis=-1)


def attention(net: Net, x: str) -> str:
    steps, size = net.shapes[x]
    q, k, v = (net.op("MatMul", [x, net.normal(size, 8, fan=size)], (steps, 8)) for _ in range(3))
    turned = net.op("Transpose", [k], (8, steps), perm=[0, 2, 1])
    scores = net.op(
        "Mul", [net.op("MatMul", [q, turned], (steps, steps)), net.weight(np.float32(8**-0.5), False)], (steps, steps)
    )
    mixed = net.op("MatMul", [net.op("Softmax", [scores], (steps, steps), axis=-1), v], (steps, 8))
    return net.op("MatMul", [mixed, net.normal(8, size, fan=8)], (steps, size))


def mean(net: Net, x: str) -> str:
    return net.op("ReduceMean", [x], net.shapes[x][1:], axes=[1], keepdims=0)


def lift(net: Net, x: str) -> str:
    (size,) = net.shapes[x]
    return net.op("Unsqueeze", [x, net.weight(np.array([1], np.int64))], (1, size))


_ANY = (activation, activation, join, join, concat, slice_, split, gather, affine)
LAYERS: dict[int, tuple[Callable[[Net, str], str], ...]] = {
    3: (*_ANY, conv, conv, conv, conv, up_conv, pool, resize, pad, squeeze_excite, channels_last_and_back),
    2: (*_ANY, product, product, layer_norm, attention, softmax),
    1: (*_ANY, gemm, gemm, product, softmax),
}
_LEAVE = {3: (to_sequence, flatten), 2: (mean, flatten), 1: (lift,)}


def random_model(seed: int) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """A network and eight samples of its inputs, by name."""
    rng = np.random.default_rng(seed)
    net = Net(rng)
    shape = net.pick((3, 16, 16), (8, 9, 7), (1, 12, 12), (10, 16), (24,))
    assert isinstance(shape, tuple)
    net.shapes["in put"] = shape
    x = "in put"
    for _ in range(net.number(4, 14)):
        rank = len(net.shapes[x])
        leave = rng.random() < 0.12 or int(np.prod(net.shapes[x])) > 8192
        x = net.pick(*(_LEAVE if leave else LAYERS)[rank])(net, x)  # type: ignore[operator]
    return _model(net, x), {"in put": rng.standard_normal((8, *shape)).astype(np.float32)}


def _model(net: Net, last: str) -> onnx.ModelProto:
    others = [name for name in net.shapes if name not in ("in put", last)]
    extra = [str(net.pick(*others)) for _ in range(net.number(0, 2))] if others else []
    batch = net.pick(BATCH, 1)

    def info(name: str) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, *net.shapes[name]])

    weights = [numpy_helper.from_array(value, name) for name, value in net.weights.items()]
    if net.rng.random() < 0.3:
        weights.append(numpy_helper.from_array(np.ones(3, np.float32), "unused"))
    outputs = list(dict.fromkeys([last, *extra]))
    graph = helper.make_graph(net.nodes, "random", [info("in put")], [info(n) for n in outputs], weights)
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
