"""Kernels: which operators a target computes in integers, under which conditions, and from which stored weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Limit:
    """A condition that a kernel puts on a call: the name of a predicate in `plan.limits` and its parameter."""

    name: str
    value: int | float | tuple[int, ...] | str = 0


@dataclass(frozen=True, slots=True)
class Kernel:
    """An integer kernel of the target.

    Attributes:
        op: ONNX operator.
        output: "integer": the kernel writes integers, so its output is quantized; "free": it writes integers or float, as its
            readers want; "raw": it writes float, and readers quantize for themselves.
        limits: conditions of the call; the first that fails is the reason for staying float.
        source: where the fact was read or measured.
    """

    op: str
    output: Literal["integer", "free", "raw"] = "integer"
    limits: tuple[Limit, ...] = ()
    source: str = ""


@dataclass(frozen=True, slots=True)
class Kernels:
    """What the target computes in few bits.

    Attributes:
        integer: kernels with ranges that are known before.
        dynamic: kernels that measure the ranges of their inputs at run time.
        absorbed: clamps that vanish into the range of the quantized output in front of them.
        same_scale: operators that requantize elsewhere and whose kernel here keeps its input's scale.
        without_wide: operators without a kernel for 16-bit activations.
        with_small: operators with a kernel for 4-bit weights; none named: all.
    """

    integer: tuple[Kernel, ...]
    dynamic: tuple[Kernel, ...] = ()
    absorbed: tuple[str, ...] = ()
    same_scale: tuple[str, ...] = ()
    without_wide: tuple[str, ...] = ()
    with_small: tuple[str, ...] = ()

    def of(self, op: str) -> tuple[Kernel, ...]:
        """Integer kernels for an operator, none if it stays float."""
        return tuple(kernel for kernel in self.integer if kernel.op == op)

    def measuring(self, op: str) -> tuple[Kernel, ...]:
        """Kernels for an operator that measure ranges at run time."""
        return tuple(kernel for kernel in self.dynamic if kernel.op == op)


@dataclass(frozen=True, slots=True)
class WeightForm:
    """A way in which the target's runtime takes the weights of layers that compute in float.

    Attributes:
        store: how codes are written and rebuilt, a key of `emit.stored.STORES`.
        ops: operators whose weights may be stored so.
        format: the recipe's `format` that it belongs to: Q/DQ pairs are "qdq"; "" for any.
        bits: widths of the codes.
        blocks: numbers of inputs that may share a scale, 0 for one scale a channel.
        default_block: (bits, block): the largest block that is taken where the recipe leaves it open; one scale a channel for
            other widths.
        levels: kinds of tables that its codes may be indices of; "" for evenly spaced codes.
        asymmetric: zero points other than the middle are possible; they are the default, as they gain 0.1 to 1.5 dB at the
            outputs of transformers for the bits of one weight a block.
        divides: a block must divide the weights of a channel.
        packed: codes lie in bytes, channels first, so that a table and a product of the same numbers share them.
        opset: smallest that can express it.
        limits: conditions of the call.
        source: where the fact was read or measured.
    """

    store: str
    ops: tuple[str, ...]
    format: str
    bits: tuple[int, ...]
    blocks: tuple[int, ...]
    default_block: tuple[tuple[int, int], ...] = ()
    levels: tuple[str, ...] = ("",)
    asymmetric: bool = True
    divides: bool = False
    packed: bool = False
    opset: int = 13
    limits: tuple[Limit, ...] = ()
    source: str = ""
