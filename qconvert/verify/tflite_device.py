"""What running an artefact on a microcontroller takes: arena, multiply-accumulates by operator, instructions by core."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from math import prod

from ..emit.tflite import Artefact, File, Op
from ..emit.tflite.memory import arena_estimate
from ..emit.tflite.sources import layout_text
from ..runtime.tflite import Allocation
from .model import Core, Device, Operator

MARGIN = 1.2  # CMSIS-NN scratch on a Cortex-M55 took 7 to 19 % more than the same file on x86-64
_STEP = 1024


# Instructions a multiply-accumulate of int8 with int8, with CMSIS-NN at -O3, from emulated runs (QEMU, instruction counts, no cycles): resnet8 for
# convolutions, the anomaly detector for products, visual wake words and keyword spotting for depthwise ones.
_PER_MAC: dict[str, dict[str, float]] = {
    "Cortex-M4": {
        "CONV_2D": 2.4,
        "TRANSPOSE_CONV": 2.4,
        "DEPTHWISE_CONV_2D": 9.0,
        "FULLY_CONNECTED": 2.3,
        "BATCH_MATMUL": 2.3,
        "UNIDIRECTIONAL_SEQUENCE_LSTM": 2.3,
    },
    "Cortex-M55": {
        "CONV_2D": 0.39,
        "TRANSPOSE_CONV": 0.39,
        "DEPTHWISE_CONV_2D": 4.0,
        "FULLY_CONNECTED": 1.1,
        "BATCH_MATMUL": 1.1,
        "UNIDIRECTIONAL_SEQUENCE_LSTM": 1.1,
    },
}
_BASIS = "estimated from emulated instructions a multiply-accumulate, CMSIS-NN -O3; other operators not counted"
_OTHERS = "; {:.0%} of the multiply-accumulates are not int8 with int8, of which no figure is known, and not counted"


def device(artefact: Artefact, used: Allocation | None) -> Device:
    """The figures for a file; `used`: what its run took."""
    counts = Counter(op.name for op in artefact.file.ops)
    macs: Counter[str] = Counter()
    int8: Counter[str] = Counter()
    for op in artefact.file.ops:
        macs[op.name] += op_macs(artefact.file, op)
        int8[op.name] += op_macs(artefact.file, op) if _all_int8(artefact.file, op) else 0
    ends = [(f"input `{b.name}`", b) for b in artefact.inputs] + [(f"output `{b.name}`", b) for b in artefact.outputs]
    return Device(
        arena=used.total if used else None,
        head=used.head if used else None,
        tail=used.tail if used else None,
        recommended=recommended(used.total if used else arena_estimate(artefact.file)),
        measured=used is not None,
        operators=tuple(Operator(name=name, count=count, macs=macs[name]) for name, count in sorted(counts.items())),
        macs=sum(macs.values()),
        cores=tuple(_cores(int8, sum(macs.values()))),
        layouts=tuple(f"{title}: {layout_text(b)}" for title, b in ends),
    )


def _cores(int8: Counter[str], macs: int) -> Iterator[Core]:
    """Instructions of what was measured; without any of that, no figure is better than a wrong one."""
    counted = sum(int8.values())
    basis = _BASIS + (_OTHERS.format(1 - counted / macs) if counted < macs else "")
    for core, rows in _PER_MAC.items() if counted else ():
        yield Core(name=core, instructions=sum(int8[op] * per for op, per in rows.items()), basis=basis)


def _all_int8(file: File, op: Op) -> bool:
    """Whether data and weights of an operator with multiply-accumulates are int8."""
    operands = op.inputs[1:3] if op.name == "TRANSPOSE_CONV" else op.inputs[:2]
    return all(file.tensors[number].dtype == "int8" for number in operands if number >= 0)


def recommended(used: int) -> int:
    """Bytes to reserve for an arena of which `used` were taken here."""
    return -(-int(used * MARGIN) // _STEP) * _STEP if used > 8 * _STEP else -(-int(used * MARGIN) // 16) * 16


def op_macs(file: File, op: Op) -> int:
    """Multiply-accumulates of one call."""
    out = prod(file.tensors[op.outputs[0]].shape)
    if op.name in ("CONV_2D", "FULLY_CONNECTED"):
        return out * prod(file.tensors[op.inputs[1]].shape[1:])
    if op.name == "DEPTHWISE_CONV_2D":
        return out * prod(file.tensors[op.inputs[1]].shape[1:3])
    if op.name == "TRANSPOSE_CONV":
        weight = file.tensors[op.inputs[1]].shape
        return prod(file.tensors[op.inputs[2]].shape) * weight[0] * weight[1] * weight[2]
    if op.name == "UNIDIRECTIONAL_SEQUENCE_LSTM":
        return out * 4 * (file.tensors[op.inputs[1]].shape[1] + file.tensors[op.inputs[5]].shape[1])
    if op.name == "BATCH_MATMUL":
        return out * file.tensors[op.inputs[0]].shape[-2 if op.options.get("adj_x") else -1]
    return 0
