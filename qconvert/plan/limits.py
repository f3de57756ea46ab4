"""Conditions that kernels put on a call, as a table of predicates; a target's rows name them with a parameter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from ..canonicalize import why_not_fused, why_not_unrolled
from ..graph import Graph, Node
from ..ops import Role, Shapes, inputs_with
from ..targets.kernels import Limit
from .model import Reason
from .patterns import is_activation_product
from .resize import resize_fault


@dataclass(frozen=True, slots=True)
class Call:
    """A node with what is known around it."""

    node: Node
    graph: Graph
    shapes: Shapes

    def shape(self, index: int) -> tuple[int, ...]:
        """Shape of an input, of a constant too; empty if unknown."""
        name = self.node.input(index)
        if name in self.graph.weights:
            return self.graph.weight_shape(name)
        return self.shapes.get(name, ())

    @property
    def out(self) -> tuple[int, ...]:
        """Shape of the first output; empty if unknown."""
        return self.shapes.get(self.node.output, ())


@dataclass(frozen=True, slots=True)
class Predicate:
    """What a limit asks.

    Attributes:
        broken: from a call and the limit's parameter to why it does not hold, "" where it does.
        code: of the reason for which the node stays float.
    """

    broken: Callable[[Call, Any], str]
    code: str = "P002"


def first_broken(limits: tuple[Limit, ...], call: Call) -> Reason | None:
    """The reason of the first limit that does not hold, None if all do."""
    for limit in limits:
        rule = LIMITS[limit.name]
        if text := rule.broken(call, limit.value):
            return Reason(rule.code, text)
    return None


def _rank(call: Call, allowed: Any) -> str:
    rank = len(call.shape(0))
    return (
        ""
        if rank in allowed
        else f"{call.node.op} has an integer kernel for rank {_list(allowed)} only, this is rank {rank}"
    )


def _max_rank(call: Call, value: Any) -> str:
    return (
        ""
        if len(call.out) <= value
        else f"{call.node.op} of rank {len(call.out)} is slower in integers, the kernel is made for rank {value} and less"
    )


def _weight_constant(call: Call, _: Any) -> str:
    weights = inputs_with(call.node, Role.WEIGHT)
    return (
        ""
        if all(call.node.input(i) in call.graph.weights for i in weights)
        else "its weight is computed at run time, the kernel needs a constant"
    )


def _weight_rank(call: Call, value: Any) -> str:
    rank = len(call.shape(1))
    return "" if rank <= value else f"its weight has rank {rank}, the kernel takes {value} at most"


def _weight_matrix(call: Call, _: Any) -> str:
    rank = len(call.shape(1))
    return "" if rank == 2 else f"its weight has rank {rank}, the kernel takes a matrix"


_BIAS_OF_SCORES, _PAST_LENGTH = 5, 6  # inputs of com.microsoft.Attention that QAttention does not have


def _plain_attention(call: Call, _: Any) -> str:
    """QAttention has one bias, heads of one size and no position codes (attention_quant.cc of onnxruntime 1.31.1)."""
    node, width = call.node, call.shape(1)[-1]
    if not node.input(2):
        return "it has no bias, the kernel needs one"
    if node.input(_BIAS_OF_SCORES):
        return "something is added to its scores, the kernel takes masks only"
    if node.input(_PAST_LENGTH) or node.attr("past_present_share_buffer", 0):
        return "its past lies in a buffer of fixed length, the kernel takes the past itself"
    if node.attr("do_rotary", 0):
        return "it turns positions, the kernel does not"
    if width % 3 or any(3 * size != width for size in node.attr("qkv_hidden_sizes") or ()):
        return "its queries, keys and values differ in size, the kernel wants one size"
    return ""


def _attribute(call: Call, value: Any) -> str:
    """`value` is "name=number" or "name=text": the attribute must have it or be absent."""
    name, wanted = value.split("=")
    got = call.node.attr(name)
    return (
        ""
        if got is None or str(got if not isinstance(got, float) else f"{got:g}") == wanted
        else f"{name} is {got}, the kernel needs {wanted}"
    )


def _mode(call: Call, value: Any) -> str:
    mode = call.node.attr("mode", "nearest")
    return "" if mode == value else f"mode `{mode}` has no integer kernel, only `{value}`"


def _static_params(call: Call, _: Any) -> str:
    params = [name for i in inputs_with(call.node, Role.PARAM) if (name := call.node.input(i))]
    return "" if all(name in call.graph.weights for name in params) else "its parameters are computed at run time"


def _group_channels(call: Call, value: Any) -> str:
    group, weight = call.node.attr("group", 1), call.shape(1)
    depthwise = len(weight) > 1 and weight[1] == 1
    if group == 1 or depthwise or not weight:
        return ""
    return (
        ""
        if weight[1] >= value
        else f"{group} groups of {weight[1]} channels run as {group} small products in integers (0.3 times FP32)"
    )


def _not_attention(call: Call, _: Any) -> str:
    return (
        "a product of two activations: both ranges change with every input"
        if is_activation_product(call.graph, call.node)
        else ""
    )


def _two_inputs(call: Call, _: Any) -> str:
    return "" if len([i for i in call.node.inputs if i]) >= 2 else "needs two inputs"


def _max_inputs(call: Call, value: Any) -> str:
    return "" if len(call.node.inputs) <= value else f"has {len(call.node.inputs)} inputs, the kernel takes {value}"


def _no_second_output(call: Call, _: Any) -> str:
    return "" if len([o for o in call.node.outputs if o]) == 1 else "its second output has no integer kernel"


def _bias_vector(call: Call, _: Any) -> str:
    shape = call.shape(2) if call.node.input(2) else (call.out or (0,))[-1:]
    return "" if shape == (call.out or (0,))[-1:] else "its bias is no vector with one element a channel"


def _zero_pad(call: Call, _: Any) -> str:
    mode = call.node.attr("mode", "constant")
    value = call.graph.constant(call.node.input(2)) if call.node.input(2) else None
    fine = mode != "constant" or not call.node.input(2) or (value is not None and not value.any())
    return "" if fine else "pads with a value other than 0"


def _tensor_core_matmul(call: Call, value: Any) -> str:
    """GEMV (M or N of 1), or K or N below `value`, gain nothing (ModelOpt 0.46)."""
    out, weight = call.out, call.shape(1)
    if len(out) < 2 or len(weight) < 2:
        return ""
    k, n = (weight[-1], weight[-2]) if call.node.attr("transB", 0) else (weight[-2], weight[-1])
    if prod(out[:-1]) == 1 or n == 1:
        return "a matrix-vector product is bound by memory, INT8 tensor cores gain nothing (for larger batches set `shapes:` in the recipe)"
    return "" if min(k, n) >= value else f"K={k}, N={n} is below {value}, too small for INT8 tensor cores"


def _tensor_core_conv(call: Call, value: Any) -> str:
    """Channel counts below `value` only with the exceptions that TensorRT's INT8 kernels have (ModelOpt 0.46)."""
    weight, group = call.shape(1), int(call.node.attr("group", 1))
    if len(weight) < 3:
        return "its weight's shape is unknown"
    cout, cin = weight[0], weight[1] * group
    if group > 1:
        fine = cout % 8 == 0 and all(k >= 3 for k in weight[2:])
        return (
            ""
            if fine
            else f"a grouped convolution with {cout} channels and kernel {_list(weight[2:])} has no fast INT8 kernel"
        )
    if cin >= value and cout >= value:
        return ""
    square = len(set(weight[2:])) == 1
    first = call.node.input(0) in call.graph.inputs
    fine = square and (cin % 8 == 0 or cout % 8 == 0) and (first or max(cin, cout) >= value)
    return "" if fine else f"{cin} to {cout} channels are below {value}, too small for INT8 tensor cores"


def _float8_conv(call: Call, value: Any) -> str:
    """FP8 convolutions want as many channels on both sides and small kernels (ModelOpt 0.46)."""
    weight = call.shape(1)
    if len(weight) < 3:
        return "its weight's shape is unknown"
    if min(weight[0], weight[1]) < value:
        return f"{weight[1]} to {weight[0]} channels are below {value}, too small for FP8 tensor cores"
    volume = prod(weight[2:])
    return (
        ""
        if volume <= _FLOAT8_VOLUME
        else f"its kernel has {volume} positions, FP8 convolutions at most {_FLOAT8_VOLUME}"
    )


def _broadcast_rank(call: Call, value: Any) -> str:
    return "" if len(call.out) <= value else f"its result has rank {len(call.out)}, the kernel takes {value} at most"


def _not_dilated(call: Call, _: Any) -> str:
    return "its window is dilated" if any(d != 1 for d in call.node.attr("dilations") or ()) else ""


def _plain_transpose(call: Call, _: Any) -> str:
    node, weight, data = call.node, call.shape(1), call.shape(0)
    if any(d != 1 for d in node.attr("dilations") or ()):
        return "it is dilated"
    n = len(weight) - 2
    strides, pads = node.attr("strides") or (1,) * n, node.attr("pads") or (0,) * 2 * n
    full = [(data[2 + i] - 1) * strides[i] + weight[2 + i] - pads[i] for i in range(n)]
    return (
        ""
        if all(have >= out for have, out in zip(full, call.out[2:], strict=True))
        else "output_padding reaches beyond the last window"
    )


def _matrix(call: Call, _: Any) -> str:
    left, right = call.shape(0), call.shape(1)
    if call.node.input(0) in call.graph.weights:
        return "its first factor is a constant, the kernel takes constants on the right only"
    if call.node.input(1) in call.graph.weights:
        return (
            ""
            if len(right) >= 2 and prod(right[:-2]) == 1
            else f"its weight has rank {len(right)}, the kernel takes one matrix"
        )
    return (
        ""
        if 2 <= len(left) == len(right) <= 4 and left[:-2] == right[:-2]
        else "the kernel multiplies two batches of matrices of the same shape, of rank 2 to 4"
    )


def _fused_lstm(call: Call, _: Any) -> str:
    reason = why_not_fused(call.graph, call.node)
    other = why_not_unrolled(call.graph, call.node) if reason else ""
    return f"{reason}; {other}" if other and other != reason else reason


def _exponent(call: Call, _: Any) -> str:
    value = call.graph.constant(call.node.input(1))
    fine = value is not None and value.size == 1 and float(value.reshape(-1)[0]) in (2.0, -0.5)
    return "" if fine else "only the exponents 2 and -0.5 have integer kernels"


def _forward_slice(call: Call, _: Any) -> str:
    """Steps forward, or one whole axis backward."""
    steps = call.graph.constant(call.node.input(4)) if call.node.input(4) else None
    if steps is None or bool((steps > 0).all()):
        return ""
    return "" if steps.tolist() == [-1] and call.out == call.shape(0) else "a negative step reads only a part backward"


def _indices(call: Call, _: Any) -> str:
    name = call.node.input(1)
    fed = name in call.graph.feeds and call.graph.type_of(name).dtype in ("int32", "int64")
    return "" if fed or name in call.graph.weights else "its indices are computed at run time, and are no graph input"


def _pad_mode(call: Call, _: Any) -> str:
    pads = call.graph.constant(call.node.input(1))
    if pads is not None and bool((pads < 0).any()):
        return "negative padding cuts, use Slice"
    mode = call.node.attr("mode", "constant")
    return "" if mode in ("constant", "reflect") else f"mode `{mode}` has no kernel"


def _resize_kernel(call: Call, _: Any) -> str:
    scales = call.graph.constant(call.node.input(2)) if call.node.input(2) else None
    uneven = (
        scales is not None
        and scales.size == len(call.out)
        and not np.allclose(np.multiply(call.shape(0), scales), call.out, atol=1e-3)
    )
    return "its scales do not give whole sizes" if uneven else resize_fault(call.node, call.shape(0), call.out)


def _explicit_pads(call: Call, _: Any) -> str:
    if call.node.attr("output_shape") is not None:
        return "output_shape decides its padding; write the pads out"
    return (
        ""
        if call.node.attr("auto_pad", "NOTSET") in ("NOTSET", "VALID")
        else f"auto_pad {call.node.attr('auto_pad')} is not resolved"
    )


LIMITS: dict[str, Predicate] = {
    "rank": Predicate(_rank),
    "max-rank": Predicate(_max_rank),
    "weight-constant": Predicate(_weight_constant, "P008"),
    "weight-rank": Predicate(_weight_rank),
    "weight-matrix": Predicate(_weight_matrix),
    "plain-attention": Predicate(_plain_attention),
    "attribute": Predicate(_attribute),
    "mode": Predicate(_mode),
    "static-params": Predicate(_static_params),
    "group-channels": Predicate(_group_channels, "P011"),
    "not-attention": Predicate(_not_attention),
    "two-inputs": Predicate(_two_inputs),
    "max-inputs": Predicate(_max_inputs),
    "one-output": Predicate(_no_second_output),
    "bias-vector": Predicate(_bias_vector),
    "zero-pad": Predicate(_zero_pad),
    "tensor-core-matmul": Predicate(_tensor_core_matmul, "P011"),
    "tensor-core-conv": Predicate(_tensor_core_conv, "P011"),
    "float8-conv": Predicate(_float8_conv, "P011"),
    "broadcast-rank": Predicate(_broadcast_rank),
    "not-dilated": Predicate(_not_dilated),
    "plain-transpose": Predicate(_plain_transpose),
    "matrix": Predicate(_matrix),
    "fused-lstm": Predicate(_fused_lstm),
    "exponent": Predicate(_exponent),
    "forward-slice": Predicate(_forward_slice),
    "pad-mode": Predicate(_pad_mode),
    "indices": Predicate(_indices),
    "resize-kernel": Predicate(_resize_kernel),
    "explicit-pads": Predicate(_explicit_pads),
}
_FLOAT8_VOLUME = 32


def _list(values: Any) -> str:
    return "x".join(str(v) for v in values) if not isinstance(values, int) else str(values)
