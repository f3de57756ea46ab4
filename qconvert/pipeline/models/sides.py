"""What a file says about its nodes, tensors and weights, in the same form for every kind of model and for run records."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ...canonicalize import canonicalize
from ...errors import Diagnostic, QConvertError, Severity
from ...graph import Array, Graph, load
from ...lift import Lifted, is_quantized, lift
from ...report.comparison import Codes, Side
from ...report.record import RunRecord
from ...verify.placement import executed, skeleton
from ...verify.tflite_read import ReadFile, ReadTensor, read_tflite
from .drawing import integer_op
from .runners import file_content

_ADDED = re.compile(
    r"((/(raw|relu|clip|q|dq|codes|rounded|real))+|(_(QuantizeLinear|DequantizeLinear|quantized|dequantized)(_(Input|Output))?)+|:[0-9]+)$"
)
_MOST_VALUES = 200_000_000  # of all weights together whose values are compared


@dataclass(frozen=True, slots=True)
class Ran:
    """A node: its operator, "integer" or "float" ("" where that is not known), and why a float one is."""

    op: str
    runs: str
    why: str = ""


@dataclass(frozen=True, eq=False)
class Weight:
    """A constant: how it is stored in words, and its float values."""

    stored: str
    values: Array | None = None


@dataclass(frozen=True, eq=False)
class Facts:
    """One side of a comparison.

    Attributes:
        graph: as it was loaded, for models that onnxruntime runs.
        lifted: its float form.
    """

    side: Side
    nodes: Mapping[str, Ran]
    tensors: Mapping[str, Codes]
    weights: Mapping[str, Weight]
    notes: tuple[Diagnostic, ...] = ()
    graph: Graph | None = None
    lifted: Lifted | None = None
    record: RunRecord | None = field(default=None)


def plain(name: str) -> str:
    """A name without what quantizers append to it."""
    return _ADDED.sub("", name) or name


def facts_of_model(path: Path, size: int) -> Facts:
    """Facts about a model file.

    Raises:
        QConvertError: M0xx where it cannot be read.
    """
    if path.suffix.lower() == ".tflite":
        return _tflite(path, read_tflite(file_content(path), path), size)
    graph = load(path)
    quantized = any(is_quantized(node) for node in graph.nodes)
    lifted, notes = _lifted(canonicalize(graph).graph if not quantized else graph, path)
    nodes, more = (
        _placed(path, lifted.graph if lifted.changed else skeleton(graph)) if quantized else (_floats(lifted.graph), ())
    )
    found = {plain(name): span.grid for name, span in lifted.spans.items() if span.grid is not None}
    tensors = {name: Codes(format=g.dtype, scale=g.scale, zero_point=g.zero_point) for name, g in found.items()}
    what = "quantized model" if quantized else "FP32 model"
    side = _side(path, what, size, nodes, len(tensors))
    return Facts(side, nodes, tensors, _weights(lifted), (*notes, *more), graph, lifted)


def _side(path: Path, what: str, size: int, nodes: Mapping[str, Ran], tensors: int) -> Side:
    runs = [ran.runs for ran in nodes.values()]
    known = all(runs)
    return Side(
        name=str(path),
        what=what,
        bytes=size,
        nodes=len(nodes),
        integer=runs.count("integer") if known else None,
        float_=runs.count("float") if known else None,
        quantized_tensors=tensors,
    )


def _lifted(graph: Graph, path: Path) -> tuple[Lifted, tuple[Diagnostic, ...]]:
    try:
        return lift(graph), ()
    except QConvertError as error:
        text = f"scales and weights are not compared: {error.diagnostics[0].message}"
        return Lifted(graph, graph), (Diagnostic("V106", text, str(path), None, Severity.WARNING),)


def _floats(graph: Graph) -> dict[str, Ran]:
    return {plain(n.name): Ran(n.op, "float") for n in graph.nodes}


def _placed(path: Path, bare: Graph) -> tuple[dict[str, Ran], tuple[Diagnostic, ...]]:
    """What runs each node of the model without its conversions."""
    try:
        runs = executed(path, bare)
    except QConvertError as error:
        text = f"what runs in integers is not known: {error.diagnostics[0].message}"
        unknown = {plain(n.name): Ran(n.op, "") for n in bare.nodes}
        return unknown, (Diagnostic("V106", text, str(path), None, Severity.WARNING),)
    found = {plain(r.node): Ran(r.op, "integer" if r.integer else "float", "" if r.integer else r.cause) for r in runs}
    return found, ()


def _weights(lifted: Lifted) -> dict[str, Weight]:
    """By plain name; values as long as there are not too many of them."""
    graph, left = lifted.graph, _MOST_VALUES
    found: dict[str, Weight] = {}
    for name, weight in graph.weights.items():
        left -= int(weight.size)
        note = lifted.weights.get(name)
        dtype = graph.type_of(name).dtype or ""
        stored = dtype if note is None else note.dtype + (f", {note.scales} scales" if note.scales > 1 else "")
        values = weight.numpy() if left > 0 and "float" in dtype else None
        found.setdefault(plain(name), Weight(stored, values))
    return found


# --- .tflite -------------------------------------------------------------------------------------------------------------


def _tflite(path: Path, found: ReadFile, size: int) -> Facts:
    nodes = {_label(op.outputs[0]) if op.outputs else str(op): Ran(op.name, "integer" if integer_op(op) else "float") for op in found.ops}  # fmt: skip
    tensors = {_label(t): _codes(t) for t in found.tensors if t.data is None and t.scale.size}
    weights = {_label(t): Weight(_stored(t), _values(t)) for t in found.tensors if t.data is not None}
    return Facts(_side(path, ".tflite file", size, nodes, len(tensors)), nodes, tensors, weights)


def _label(tensor: ReadTensor) -> str:
    """The first of the names that a converter joins where it fuses operators."""
    return plain(tensor.name.split(";")[0]) if tensor.name else str(tensor)


def _codes(tensor: ReadTensor) -> Codes:
    zero = int(tensor.zero_point[0]) if tensor.zero_point.size else 0
    return Codes(format=tensor.dtype, scale=float(tensor.scale[0]), zero_point=zero, scales=int(tensor.scale.size))


def _stored(tensor: ReadTensor) -> str:
    return tensor.dtype + (f", {tensor.scale.size} scales" if tensor.scale.size > 1 else "")


def _values(tensor: ReadTensor) -> Array | None:
    if tensor.data is None or not tensor.scale.size or tensor.data.shape != tensor.shape:
        return tensor.data if tensor.data is not None and tensor.dtype == "float32" else None
    dims = [1] * tensor.data.ndim
    if tensor.scale.size > 1:
        dims[tensor.axis] = -1
    zero = tensor.zero_point if tensor.zero_point.size else np.zeros(1)
    return np.asarray((tensor.data.astype(np.float64) - zero.reshape(dims if zero.size > 1 else [])) * tensor.scale.reshape(dims))  # fmt: skip


# --- records -------------------------------------------------------------------------------------------------------------


def facts_of_record(path: Path, record: RunRecord) -> Facts:
    """Facts that a run record tells about its result."""
    reasons = {n.name: n.reason for n in record.plan.nodes}
    if record.readback is not None:
        nodes = {
            r.node: Ran(
                r.op, "integer" if r.integer else "float", "" if r.integer else r.cause or reasons.get(r.node, "")
            )
            for r in record.readback.nodes
        }
    else:
        nodes = {n.name: Ran(n.op, "float" if n.kind in ("float", "weight-only") else "integer", n.reason) for n in record.plan.nodes}  # fmt: skip
    tensors = {t.name: Codes(format=t.format, scale=t.scale, zero_point=t.zero_point) for t in record.plan.tensors}
    weights = {s.name: Weight(s.format) for s in record.sizes}
    size = record.measurements.size.bytes if record.measurements.size else record.plan.bytes
    return Facts(_side(path, "run record", size, nodes, len(tensors)), nodes, tensors, weights, record=record)
