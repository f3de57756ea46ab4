"""The rows of the report's tables, made once for every format."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import isfinite

from ..evaluate.model import Emulation, Layer, OperatorTime, Profile
from ..verify.model import Readback, RunsAs
from .record import NodeInfo, PlanInfo, Problem, RunRecord, TensorInfo

EXACT_DB = 100.0  # what differs less was only rounded as float32 rounds, such as pixels with a code each
_OWN_REASON = ("P001", "P003")  # reasons that differ from operator to operator


@dataclass(frozen=True, slots=True)
class LayerRow:
    """A quantized tensor.

    Attributes:
        sqnr_db: against FP32, all earlier errors included; None where it was not measured.
        lost_db: how much less that is than the worst of the tensors that it is computed from; None where those are exact.
    """

    number: int
    tensor: str
    node: str
    op: str
    sqnr_db: float | None
    lost_db: float | None
    plan: TensorInfo | None


def layer_rows(record: RunRecord) -> tuple[LayerRow, ...]:
    """The measured tensors in graph order, then those that were only planned."""
    planned = {t.name: t for t in record.plan.tensors}
    layers = record.measurements.layers
    measured = {layer.tensor: layer.sqnr_db for layer in layers}
    rows = [(layer.tensor, layer.node, layer.op, layer.sqnr_db, _lost(layer, measured)) for layer in layers]
    rest = [(name, "", "", None, None) for name in planned if name not in measured]
    return tuple(LayerRow(n, *row, planned.get(row[0])) for n, row in enumerate([*rows, *rest], 1))


def _lost(layer: Layer, measured: dict[str, float]) -> float | None:
    before = [measured[name] for name in layer.before if name in measured]
    if not before or not isfinite(min(before)) or min(before) >= EXACT_DB or not isfinite(layer.sqnr_db):
        return None
    return min(before) - layer.sqnr_db


@dataclass(frozen=True, slots=True)
class NodeGroup:
    """Nodes that became the same for the same reason.

    Attributes:
        share: of all multiply-accumulates, 0..1.
        first: name of the one whose reason is shown: the first of those with most work.
    """

    count: int
    kind: str
    share: float
    reason_code: str
    reason: str
    first: str
    ops: tuple[str, ...]


def node_groups(plan: PlanInfo) -> tuple[NodeGroup, ...]:
    """What the nodes became and why, those with most work first."""
    groups: dict[tuple[str, str, str], list[NodeInfo]] = defaultdict(list)
    for node in plan.nodes:
        groups[node.kind, node.reason_code, node.op if node.reason_code in _OWN_REASON else ""].append(node)
    ordered = sorted(groups.values(), key=lambda nodes: (-sum(n.macs for n in nodes), -len(nodes)))
    return tuple(_group(nodes, plan.macs) for nodes in ordered)


def _group(nodes: list[NodeInfo], macs: int) -> NodeGroup:
    first = max(nodes, key=lambda node: node.macs)
    share = sum(n.macs for n in nodes) / macs if macs else 0.0
    ops = tuple(dict.fromkeys(n.op for n in nodes))
    return NodeGroup(len(nodes), first.kind, share, first.reason_code, first.reason, first.name, ops)


@dataclass(frozen=True, slots=True)
class OperatorRow:
    """Time of a family of operators; `kernels` names what the result runs."""

    family: str
    float_us: float
    us: float
    kernels: str


CONVERSIONS = "conversions"
_PREFIX = re.compile(r"^(DynamicQuantize|QLinear|Fused|Q(?=Gemm|Attention))")
_SUFFIX = re.compile(r"(IntegerToFloat|Integer)$")
_LAYOUT = re.compile(r"^(Dynamic)?(Quantize|Dequantize)Linear$|^Reorder(Input|Output)$")
_SAME = {"Gemm": "MatMul and Gemm", "MatMul": "MatMul and Gemm"}


def family(op: str) -> str:
    """What a kernel of the runtime does, whatever its number format: QLinearConv and FusedConv are Conv."""
    if _LAYOUT.match(op):
        return CONVERSIONS
    base = _SUFFIX.sub("", _PREFIX.sub("", op))
    return _SAME.get(base, base) or op


def operator_rows(profile: Profile) -> tuple[OperatorRow, ...]:
    """Families of operators, the slowest first."""
    before, after = _by_family(profile.float_ops), _by_family(profile.ops)
    rows = [_operator_row(name, before.get(name, []), after.get(name, [])) for name in {**before, **after}]
    return tuple(sorted(rows, key=lambda row: (-max(row.float_us, row.us), row.family)))


def _by_family(times: Iterable[OperatorTime]) -> dict[str, list[OperatorTime]]:
    found: dict[str, list[OperatorTime]] = defaultdict(list)
    for each in times:
        if isfinite(each.us):
            found[family(each.op)].append(each)
    return found


def _operator_row(name: str, before: list[OperatorTime], after: list[OperatorTime]) -> OperatorRow:
    kernels = ", ".join(f"{each.count} {each.op}" for each in after)
    return OperatorRow(name, sum(t.us for t in before), sum(t.us for t in after), kernels)


def urgent(record: RunRecord) -> tuple[Problem, ...]:
    """Errors and then warnings, without those that only repeat the text of a gate."""
    told = {gate.text for gate in record.gates}
    found = (p for p in record.diagnostics if p.severity != "note" and (p.hint or p.message not in told))
    return tuple(sorted(found, key=lambda p: p.severity))


def islands(record: RunRecord) -> Iterator[tuple[str, str, str]]:
    """Each float node between integers, and each node that should be integer and is not: name, operator, reason."""
    readback = record.readback
    if readback is None:
        return
    reasons = {n.name: n.reason for n in record.plan.nodes}
    for node in _odd(readback):
        yield node.node, node.op, node.cause or reasons.get(node.node, "") or "the runtime gives no reason"


def _odd(readback: Readback) -> Iterator[RunsAs]:
    enclosed = set(readback.islands)
    return (n for n in readback.nodes if n.node in enclosed or (n.cause and not n.integer))


def emulation_row(found: Emulation) -> tuple[str, str, str, str]:
    """Core, FP32 and result in millions of instructions, and what else is to say."""
    same = "outputs as on this host, bit for bit" if found.identical else f"{found.sqnr_db:.1f} dB from this host"
    if found.ratio is None:
        return found.title, "", "", f"instructions not counted; {same}"
    before, after = (
        f"{count / 1e6:.2f} M instructions"
        for count in (found.float_instructions, found.instructions)
        if count is not None
    )
    return found.title, before, after, f"{found.ratio:.2f}x fewer, emulated; {same}"
