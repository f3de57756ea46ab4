"""Costs: the time of calls, linear in their sizes. They say where integers pay."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Cost:
    """Time of one call in ns, linear in its sizes (see `plan.cost` for how they are counted).

    Attributes:
        fixed: of every call.
        mac, read, write, weight: of each multiply-accumulate, input, output and weight element.
        row: of each kernel row that is applied to one output row of 16 channels; pixel: of each output position; tap: of each
            output position and kernel position; column: of each element of the im2col matrix.
        out_block, in_block: multiples to which the kernel rounds up output channels, and input channels times kernel area.
        blocked: elements too are stored in blocks of out_block channels.
    """

    fixed: float = 0.0
    mac: float = 0.0
    read: float = 0.0
    write: float = 0.0
    weight: float = 0.0
    row: float = 0.0
    pixel: float = 0.0
    tap: float = 0.0
    column: float = 0.0
    out_block: int = 1
    in_block: int = 1
    blocked: bool = False


@dataclass(frozen=True, slots=True)
class CostModel:
    """Deterministic time model of a target; it never measures anything.

    Attributes:
        real, integer, dynamic: class of call in float, in integers, with dynamic ranges, to its cost; a class without a row falls
            back to a more general one.
        quantize, dequantize: one conversion of a tensor; relayout: added where a 4-D tensor crosses, as layouts differ.
        source: where the figures come from.
        float_mac_price: how many times the average time of a multiply-accumulate must be saved by leaving one float.
        min_gain: share of the model's time that an integer layer must save to be worth its loss of accuracy.
        tail_price: share of the model's time that may be spent on leaving all float behind the last integer layer, where few
            values carry all of the result and rounding costs most.
    """

    real: dict[str, Cost]
    integer: dict[str, Cost]
    dynamic: dict[str, Cost]
    quantize: Cost
    dequantize: Cost
    relayout: Cost
    source: str
    float_mac_price: float = 1.0
    min_gain: float = 0.003
    tail_price: float = 0.02
