"""One rule an operator: from the gradients of its outputs to those of its inputs, as operators on a tape.

A rule receives the gradients of the node's outputs (None for those that matter to nobody) and the indices of the inputs whose
gradients are needed, and returns them by index; None where the node's attributes are beyond it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import pi, sqrt

import numpy as np

from ...graph import Node
from .rules_layers import (
    batch_norm,
    conv,
    conv_transpose,
    gemm,
    instance_norm,
    layer_norm,
    matmul,
    rms_norm,
    softmax,
)
from .rules_moves import (
    concat,
    moved,
    pool_average,
    pool_global,
    pool_max,
    reduced,
    reshaped,
    resized,
    split,
    transposed,
)
from .tape import Tape

Gradients = Sequence[str | None]
Found = Mapping[int, str] | None
AdjointRule = Callable[[Tape, Node, Gradients, set[int]], Found]
Local = Callable[[Tape, Node, str], str]


def _unary(local: Local) -> AdjointRule:
    """A function of one value: `local` gives the gradient from that of the output."""
    return lambda tape, node, gradients, needed: {0: local(tape, node, str(gradients[0]))}


def _times(factor: Local) -> AdjointRule:
    """A function of one value by its derivative, which `factor` computes from input and output."""
    return _unary(lambda tape, node, g: tape.op("Mul", g, factor(tape, node, g)))


def _masked(tape: Tape, condition: str, g: str) -> str:
    return tape.op("Where", condition, g, tape.number(0.0))


def _same(tape: Tape, node: Node, g: str) -> str:
    """Where the value went through unchanged, as under Relu and Clip."""
    return _masked(tape, tape.op("Equal", node.input(0), node.output), g)


def _where(tape: Tape, node: Node, gradients: Gradients, needed: set[int]) -> Found:
    g, zero = str(gradients[0]), tape.number(0.0)
    sides = {1: ("Where", node.input(0), g, zero), 2: ("Where", node.input(0), zero, g)}
    return {i: tape.narrowed(tape.op(*sides[i]), tape.shapes[node.output], node.input(i)) for i in needed if i in sides}


def _pair(tape: Tape, node: Node, gradients: Gradients, needed: set[int]) -> Found:
    """Add, Sub, Mul and Div with broadcasting."""
    g = str(gradients[0])
    return {i: tape.narrowed(_side(tape, node, g, i), tape.shapes[node.output], node.input(i)) for i in sorted(needed)}


def _side(tape: Tape, node: Node, g: str, index: int) -> str:
    a, b = node.input(0), node.input(1)
    match node.op, index:
        case ("Sub", 1):
            return tape.op("Neg", g)
        case ("Mul", _):
            return tape.op("Mul", g, (b, a)[index])
        case ("Div", 0):
            return tape.op("Div", g, b)
        case ("Div", _):
            return tape.op("Neg", tape.op("Div", tape.op("Mul", g, node.output), b))
    return g


def _extreme(tape: Tape, node: Node, gradients: Gradients, needed: set[int]) -> Found:
    """Min, Max: the gradient goes to the input that was chosen."""
    g = str(gradients[0])
    return {
        i: tape.narrowed(
            _masked(tape, tape.op("Equal", node.input(i), node.output), g), tape.shapes[node.output], node.input(i)
        )
        for i in sorted(needed)
    }


def _sum(tape: Tape, node: Node, gradients: Gradients, needed: set[int]) -> Found:
    return {i: tape.narrowed(str(gradients[0]), tape.shapes[node.output], node.input(i)) for i in sorted(needed)}


def _mean(tape: Tape, node: Node, gradients: Gradients, needed: set[int]) -> Found:
    share = tape.op("Mul", str(gradients[0]), tape.number(1.0 / len(node.inputs)))
    return _sum(tape, node, (share,), needed)


def _pow(tape: Tape, node: Node, gradients: Gradients, needed: set[int]) -> Found:
    power = tape.constant(node.input(1))
    if power is None or power.size != 1 or needed != {0}:
        return None
    p = float(power.reshape(()))
    slope = tape.op("Mul", tape.op("Pow", node.input(0), tape.number(p - 1)), tape.number(p))
    return {0: tape.op("Mul", str(gradients[0]), slope)}


def _leaky(tape: Tape, node: Node, g: str) -> str:
    negative = tape.op("Less", node.input(0), tape.number(0.0))
    slope = tape.number(float(node.attr("alpha", 0.01))) if node.op == "LeakyRelu" else node.input(1)
    return tape.op("Where", negative, tape.op("Mul", g, slope), g)


def _elu(tape: Tape, node: Node, g: str) -> str:
    slope = tape.op("Add", node.output, tape.number(float(node.attr("alpha", 1.0))))
    return tape.op("Where", tape.op("Less", node.input(0), tape.number(0.0)), tape.op("Mul", g, slope), g)


def _celu(tape: Tape, node: Node, g: str) -> str:
    grown = tape.op("Exp", tape.op("Mul", node.input(0), tape.number(1.0 / float(node.attr("alpha", 1.0)))))
    return tape.op("Where", tape.op("Less", node.input(0), tape.number(0.0)), tape.op("Mul", g, grown), g)


def _selu(tape: Tape, node: Node, g: str) -> str:
    """gamma for positive values, gamma alpha exp(x) = y + gamma alpha for the others."""
    alpha, gamma = (
        float(node.attr("alpha", 1.67326319217681884765625)),
        float(node.attr("gamma", 1.05070102214813232421875)),
    )
    below = tape.op("Add", node.output, tape.number(alpha * gamma))
    slope = tape.op("Where", tape.op("Less", node.input(0), tape.number(0.0)), below, tape.number(gamma))
    return tape.op("Mul", g, slope)


def _thresholded(tape: Tape, node: Node, g: str) -> str:
    return _masked(tape, tape.op("Greater", node.input(0), tape.number(float(node.attr("alpha", 1.0)))), g)


def _mish_slope(tape: Tape, node: Node, g: str) -> str:
    """t + x (1 - t^2) sigmoid(x) with t = tanh(softplus(x))."""
    x = node.input(0)
    t = tape.op("Tanh", tape.op("Softplus", x))
    rest = tape.op("Mul", tape.op("Sub", tape.number(1.0), tape.op("Mul", t, t)), tape.op("Sigmoid", x))
    return tape.op("Add", t, tape.op("Mul", x, rest))


def _softsign_slope(tape: Tape, node: Node, g: str) -> str:
    width = tape.op("Add", tape.op("Abs", node.input(0)), tape.number(1.0))
    return tape.op("Reciprocal", tape.op("Mul", width, width))


def _sigmoid_slope(tape: Tape, node: Node, g: str) -> str:
    return tape.op("Mul", node.output, tape.op("Sub", tape.number(1.0), node.output))


def _tanh_slope(tape: Tape, node: Node, g: str) -> str:
    return tape.op("Sub", tape.number(1.0), tape.op("Mul", node.output, node.output))


def _hard_sigmoid(tape: Tape, node: Node, g: str) -> str:
    inside = tape.op(
        "And", tape.op("Greater", node.output, tape.number(0.0)), tape.op("Less", node.output, tape.number(1.0))
    )
    return _masked(tape, inside, tape.op("Mul", g, tape.number(float(node.attr("alpha", 0.2)))))


def _hard_swish(tape: Tape, node: Node, g: str) -> str:
    x = node.input(0)
    slope = tape.op("Add", tape.op("Mul", x, tape.number(1 / 3)), tape.number(0.5))
    low, high = tape.op("Less", x, tape.number(-3.0)), tape.op("Greater", x, tape.number(3.0))
    slope = tape.op("Where", low, tape.number(0.0), tape.op("Where", high, tape.number(1.0), slope))
    return tape.op("Mul", g, slope)


def _erf_slope(tape: Tape, node: Node, g: str) -> str:
    square = tape.op("Mul", node.input(0), node.input(0))
    return tape.op("Mul", tape.op("Exp", tape.op("Neg", square)), tape.number(2 / sqrt(pi)))


def _gelu_slope(tape: Tape, node: Node, g: str) -> str:
    """Phi(x) + x phi(x); the form by tanh differs by less than anything that matters here."""
    x = node.input(0)
    phi = tape.op(
        "Mul", tape.op("Exp", tape.op("Mul", tape.op("Mul", x, x), tape.number(-0.5))), tape.number(1 / sqrt(2 * pi))
    )
    cumulative = tape.op(
        "Mul",
        tape.op("Add", tape.op("Erf", tape.op("Mul", x, tape.number(1 / sqrt(2)))), tape.number(1.0)),
        tape.number(0.5),
    )
    return tape.op("Add", cumulative, tape.op("Mul", x, phi))


def _nothing(tape: Tape, node: Node, g: str) -> str:
    return tape.op("Mul", g, tape.const(np.zeros((), dtype=np.float32)))


RULES: dict[str, AdjointRule] = {
    "Conv": conv,
    "ConvTranspose": conv_transpose,
    "Gemm": gemm,
    "MatMul": matmul,
    "BatchNormalization": batch_norm,
    "LayerNormalization": layer_norm,
    "InstanceNormalization": instance_norm,
    "RMSNormalization": rms_norm,
    "Softmax": softmax,
    "LogSoftmax": softmax,
    "Add": _pair,
    "Sub": _pair,
    "Mul": _pair,
    "Div": _pair,
    "Sum": _sum,
    "Mean": _mean,
    "Min": _extreme,
    "Max": _extreme,
    "Pow": _pow,
    "Where": _where,
    "Relu": _unary(_same),
    "Clip": _unary(_same),
    "LeakyRelu": _unary(_leaky),
    "PRelu": _unary(_leaky),
    "Elu": _unary(_elu),
    "Celu": _unary(_celu),
    "Selu": _unary(_selu),
    "ThresholdedRelu": _unary(_thresholded),
    "Mish": _times(_mish_slope),
    "Softsign": _times(_softsign_slope),
    "Sigmoid": _times(_sigmoid_slope),
    "Tanh": _times(_tanh_slope),
    "HardSigmoid": _unary(_hard_sigmoid),
    "HardSwish": _unary(_hard_swish),
    "Softplus": _times(lambda tape, node, g: tape.op("Sigmoid", node.input(0))),
    "Erf": _times(_erf_slope),
    "Gelu": _times(_gelu_slope),
    "Exp": _times(lambda tape, node, g: node.output),
    "Log": _unary(lambda tape, node, g: tape.op("Div", g, node.input(0))),
    "Sqrt": _unary(lambda tape, node, g: tape.op("Div", tape.op("Mul", g, tape.number(0.5)), node.output)),
    "Reciprocal": _unary(
        lambda tape, node, g: tape.op("Neg", tape.op("Mul", g, tape.op("Mul", node.output, node.output)))
    ),
    "Neg": _unary(lambda tape, node, g: tape.op("Neg", g)),
    "Abs": _times(lambda tape, node, g: tape.op("Sign", node.input(0))),
    "Sin": _times(lambda tape, node, g: tape.op("Cos", node.input(0))),
    "Cos": _times(lambda tape, node, g: tape.op("Neg", tape.op("Sin", node.input(0)))),
    "Floor": _unary(_nothing),
    "Ceil": _unary(_nothing),
    "Round": _unary(_nothing),
    "Sign": _unary(_nothing),
    "Identity": _unary(lambda tape, node, g: g),
    "Dropout": _unary(lambda tape, node, g: g),
    "Cast": _unary(lambda tape, node, g: g),
    "Reshape": reshaped,
    "Flatten": reshaped,
    "Squeeze": reshaped,
    "Unsqueeze": reshaped,
    "Transpose": transposed,
    "Concat": concat,
    "Split": split,
    "Slice": moved,
    "Gather": moved,
    "Expand": lambda tape, node, gradients, needed: {
        0: tape.narrowed(str(gradients[0]), tape.shapes[node.output], node.input(0))
    },
    "Tile": moved,
    "Pad": moved,
    "DepthToSpace": moved,
    "SpaceToDepth": moved,
    "GatherElements": moved,
    "GatherND": moved,
    "Resize": resized,
    "MaxPool": pool_max,
    "AveragePool": pool_average,
    "GlobalAveragePool": pool_global,
    "GlobalMaxPool": pool_global,
    "ReduceMean": reduced,
    "ReduceSum": reduced,
    "ReduceMax": reduced,
    "ReduceMin": reduced,
    "ReduceL1": reduced,
    "ReduceL2": reduced,
    "ReduceSumSquare": reduced,
    "ReduceLogSumExp": reduced,
}
