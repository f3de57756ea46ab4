"""Gradients through layers and normalizations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ...graph import Node
from .tape import Tape

Gradients = Sequence[str | None]
Found = Mapping[int, str] | None


def conv(tape: Tape, node: Node, gradients: Gradients, needed: set[int]) -> Found:
    """Convolution with a constant weight: the transposed convolution, as a plain one where the stride is 1."""
    weights = tape.constant(node.input(1))
    if weights is None or needed != {0}:
        return None
    spatial = weights.ndim - 2
    group = int(node.attr("group", 1))
    strides, dilations = node.attr("strides", (1,) * spatial), node.attr("dilations", (1,) * spatial)
    pads = node.attr("pads", (0,) * (2 * spatial))
    reach = [d * (k - 1) for d, k in zip(dilations, weights.shape[2:], strict=True)]
    if all(s == 1 for s in strides) and all(pads[i] <= reach[i % spatial] for i in range(2 * spatial)):
        cout, cin = weights.shape[0] // group, weights.shape[1]
        turned = weights.reshape(group, cout, cin, *weights.shape[2:]).swapaxes(1, 2)
        turned = np.flip(turned.reshape(group * cin, cout, *weights.shape[2:]), tuple(range(2, 2 + spatial)))
        inner = tuple(reach[i % spatial] - pads[i] for i in range(2 * spatial))
        return {0: tape.op("Conv", str(gradients[0]), tape.const(turned), group=group, pads=inner, dilations=dilations)}
    x, y = tape.shapes[node.input(0)], tape.shapes[node.output]
    extra = tuple(
        x[i + 2] - ((y[i + 2] - 1) * strides[i] + reach[i] + 1 - pads[i] - pads[i + spatial]) for i in range(spatial)
    )
    attributes = {"strides": strides, "dilations": dilations, "pads": pads, "group": group, "output_padding": extra}
    return {0: tape.op("ConvTranspose", str(gradients[0]), tape.const(weights), **attributes)}


def conv_transpose(tape: Tape, node: Node, gradients: Gradients, needed: set[int]) -> Found:
    """Transposed convolution: the plain one with the same weight."""
    if needed != {0} or "output_shape" in node.attributes or tape.constant(node.input(1)) is None:
        return None
    attributes = {key: value for key, value in node.attributes.items() if key != "output_padding"}
    found = tape.op("Conv", str(gradients[0]), node.input(1), **attributes)
    return {0: _cropped(tape, found, tape.shapes[node.input(0)])}


def _cropped(tape: Tape, value: str, shape: tuple[int, ...]) -> str:
    """The first positions of each axis, as output padding may add some behind."""
    axes = range(2, len(shape))
    return tape.op(
        "Slice", value, tape.ints(*(0 for _ in axes)), tape.ints(*(shape[i] for i in axes)), tape.ints(*axes)
    )


def gemm(tape: Tape, node: Node, gradients: Gradients, needed: set[int]) -> Found:
    """A general product; the third input as the others."""
    g, alpha, beta = str(gradients[0]), float(node.attr("alpha", 1.0)), float(node.attr("beta", 1.0))
    left, right = int(node.attr("transA", 0)), int(node.attr("transB", 0))
    a, b = node.input(0), node.input(1)
    found = {}
    if 0 in needed:
        found[0] = (
            tape.op("Gemm", b, g, transA=right, transB=1, alpha=alpha)
            if left
            else tape.op("Gemm", g, b, transB=1 - right, alpha=alpha)
        )
    if 1 in needed:
        found[1] = (
            tape.op("Gemm", g, a, transA=1, transB=left, alpha=alpha)
            if right
            else tape.op("Gemm", a, g, transA=1 - left, alpha=alpha)
        )
    if 2 in needed:
        found[2] = tape.narrowed(tape.op("Mul", g, tape.number(beta)), tape.shapes[node.output], node.input(2))
    return found


def matmul(tape: Tape, node: Node, gradients: Gradients, needed: set[int]) -> Found:
    """A batched product, either side broadcast."""
    g, a, b = str(gradients[0]), node.input(0), node.input(1)
    if min(len(tape.shapes[a]), len(tape.shapes[b])) < 2:
        return None
    found = {}
    if 0 in needed:
        found[0] = _narrowed_product(tape, tape.op("MatMul", g, _flipped(tape, b)), a, tape.shapes[node.output])
    if 1 in needed:
        found[1] = _narrowed_product(tape, tape.op("MatMul", _flipped(tape, a), g), b, tape.shapes[node.output])
    return found


def _flipped(tape: Tape, name: str) -> str:
    rank = len(tape.shapes[name])
    return tape.op("Transpose", name, perm=(*range(rank - 2), rank - 1, rank - 2))


def _narrowed_product(tape: Tape, value: str, name: str, out: tuple[int, ...]) -> str:
    own = tape.shapes[name]
    return tape.narrowed(value, (*out[:-2], *own[-2:]), name)


def softmax(tape: Tape, node: Node, gradients: Gradients, needed: set[int]) -> Found:
    """y (g - sum g y); for LogSoftmax g - exp(y) sum g."""
    g, y = str(gradients[0]), node.output
    axis = (int(node.attr("axis", -1)) % len(tape.shapes[y]),)
    if node.op == "LogSoftmax":
        return {0: tape.op("Sub", g, tape.op("Mul", tape.op("Exp", y), tape.total(g, axis, True)))}
    mean = tape.total(tape.op("Mul", g, y), axis, True)
    return {0: tape.op("Mul", y, tape.op("Sub", g, mean))}


def batch_norm(tape: Tape, node: Node, gradients: Gradients, needed: set[int]) -> Found:
    """A constant factor a channel."""
    scale, variance = tape.constant(node.input(1)), tape.constant(node.input(4))
    if scale is None or variance is None or needed != {0}:
        return None
    factor = scale / np.sqrt(variance + float(node.attr("epsilon", 1e-5)))
    shape = (-1, *(1,) * (len(tape.shapes[node.input(0)]) - 2))
    return {0: tape.op("Mul", str(gradients[0]), tape.const(factor.reshape(shape).astype(np.float32)))}


def layer_norm(tape: Tape, node: Node, gradients: Gradients, needed: set[int]) -> Found:
    """(h - mean h - n mean(h n)) / sigma with h = g gamma and n the normalized input."""
    return _normalized(tape, node, gradients, needed, centred=True)


def rms_norm(tape: Tape, node: Node, gradients: Gradients, needed: set[int]) -> Found:
    """As `layer_norm` without the mean."""
    return _normalized(tape, node, gradients, needed, centred=False)


def instance_norm(tape: Tape, node: Node, gradients: Gradients, needed: set[int]) -> Found:
    """As `layer_norm` over space, with one gain a channel."""
    if needed != {0}:
        return None
    rank = len(tape.shapes[node.input(0)])
    gain = tape.shaped(node.input(1), (1, -1, *(1,) * (rank - 2)))
    h = tape.op("Mul", str(gradients[0]), gain)
    return {0: _through_norm(tape, node, h, tuple(range(2, rank)), centred=True)}


def _normalized(tape: Tape, node: Node, gradients: Gradients, needed: set[int], centred: bool) -> Found:
    if needed != {0}:
        return None
    rank = len(tape.shapes[node.input(0)])
    axes = tuple(range(int(node.attr("axis", -1)) % rank, rank))
    return {0: _through_norm(tape, node, tape.op("Mul", str(gradients[0]), node.input(1)), axes, centred)}


def _through_norm(tape: Tape, node: Node, h: str, axes: tuple[int, ...], centred: bool) -> str:
    """From the gradient of the normalized input to that of the input."""
    x, shape = node.input(0), tape.shapes[node.input(0)]
    share = tape.number(1.0 / float(np.prod([shape[i] for i in axes])))

    def mean(value: str) -> str:
        return tape.op("Mul", tape.total(value, axes, True), share)

    middle = tape.op("Sub", x, mean(x)) if centred else x
    power = tape.op("Add", mean(tape.op("Mul", middle, middle)), tape.number(float(node.attr("epsilon", 1e-5))))
    inverse = tape.op("Reciprocal", tape.op("Sqrt", power))
    normal = tape.op("Mul", middle, inverse)
    rest = tape.op("Sub", h, tape.op("Mul", normal, mean(tape.op("Mul", h, normal))))
    return tape.op("Mul", tape.op("Sub", rest, mean(h)) if centred else rest, inverse)
