"""Models as pictures: one that is planned for a target, a quantized one as the runtime executes it, a .tflite file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from ...errors import QConvertError
from ...graph import Graph, Node, TensorType, infer_types, load
from ...lift import is_quantized
from ...plan import Kind, NodePlan
from ...recipe import Recipe
from ...report.drawing import Box, Line, Picture
from ...report.page import title_of
from ...report.words import count, duration, percent
from ...verify.placement import executed, skeleton
from ...verify.tflite_read import ReadOp, ReadTensor, read_tflite
from ..events import Stages
from ..planning import Planned, plan_of

_DRAWN_AS = {Kind.FLOAT: "float", Kind.ABSORBED: "absorbed", Kind.WEIGHT_ONLY: "stored"}


def draw_model(path: Path, recipe: Recipe) -> Picture:
    """A model as a picture: FP32 ones with what the recipe's target makes of each node, quantized ones with what runs them.

    Raises:
        QConvertError: M0xx for files that cannot be read, R010.
    """
    if path.suffix.lower() == ".tflite":
        return _tflite(path)
    graph = load(path)
    if any(is_quantized(node) for node in graph.nodes):
        return _executed(path, graph)
    try:
        return _planned(path, plan_of(path, recipe, Stages()))
    except QConvertError as error:
        return _plain(path, graph, recipe.target, error)


# --- planned -------------------------------------------------------------------------------------------------------------


def _planned(path: Path, planned: Planned) -> Picture:
    plan, graph = planned.plan, planned.graph
    types = {name: TensorType(graph.type_of(name).dtype, plan.shapes.get(name)) for name in graph.values()}

    def box(node: Node) -> Box:
        chosen = plan.nodes[node.name]
        reason = chosen.reason.code if chosen.reason else ""
        lines = (*_fate(chosen, planned.target.cost is not None), *_tensors(graph, node, types))
        return Box(node.name, node.op, _DRAWN_AS.get(chosen.kind, "integer"), reason, _under(node, types), lines)

    share = percent(plan.prediction.integer_share)
    return _picture(
        title_of(path),
        f"{planned.target.name}, planned",
        f"{share} of the multiply-accumulates would run in integers on {planned.target.title}.",
        graph,
        types,
        box,
    )


def _fate(chosen: NodePlan, timed: bool) -> Iterator[str]:
    if chosen.kind not in (Kind.FLOAT, Kind.INTEGER):
        yield f"becomes {chosen.kind}" + (f" into `{chosen.host}`" if chosen.host else "")
    if chosen.reason:
        yield str(chosen.reason)
    if chosen.macs:
        yield f"{chosen.macs:,} multiply-accumulates"
    if timed and (chosen.float_ns or chosen.integer_ns):
        yield f"predicted {duration(chosen.float_ns / 1000)} in float, {duration(chosen.integer_ns / 1000)} as planned"


def _plain(path: Path, graph: Graph, target: str, error: QConvertError) -> Picture:
    """A model that the target does not take, with the reason."""
    typed = infer_types(graph)
    types = {name: typed.type_of(name) for name in typed.values()}

    def box(node: Node) -> Box:
        return Box(node.name or node.op, node.op, "float", "", _under(node, types), tuple(_tensors(typed, node, types)))

    first = error.diagnostics[0]
    say = f"{target} does not take this model: {first.message} [{first.code}]."
    return _picture(title_of(path), f"{target}, blocked", say, typed, types, box)


# --- quantized -----------------------------------------------------------------------------------------------------------


def _executed(path: Path, graph: Graph) -> Picture:
    bare = infer_types(skeleton(graph))
    types = {name: bare.type_of(name) for name in bare.values()}
    try:
        runs = {run.node: run for run in executed(path, bare)}
        say = "What onnxruntime executes on this host; conversions between float and integer are left out."
    except QConvertError as error:
        runs, say = {}, f"onnxruntime does not load this model, so nothing is coloured: {error.diagnostics[0].message}"

    def box(node: Node) -> Box:
        run = runs.get(node.name)
        said = (
            [f"runs as {run.kernel}" if run.kernel else "vanishes into a neighbour or is computed at load"]
            if run
            else []
        )
        island = [run.cause] if run and not run.integer and run.cause else []
        kind = "absorbed" if run and run.integer and not run.kernel else "integer" if run and run.integer else "float"
        return Box(node.name, node.op, kind, "", _under(node, types), (*said, *island, *_tensors(bare, node, types)))

    return _picture(title_of(path), "quantized", say, bare, types, box)


# --- ONNX graphs ---------------------------------------------------------------------------------------------------------


def _picture(
    title: str,
    subtitle: str,
    say: str,
    graph: Graph,
    types: Mapping[str, TensorType],
    box: Callable[[Node], Box],
) -> Picture:
    """Inputs, nodes in order, outputs, and a line for every tensor between them."""
    boxes = [Box(name, name, "value", "", _dims(graph.type_of(name)), ("input of the model",)) for name in graph.feeds]
    source = {name: number for number, name in enumerate(graph.feeds)}
    lines: list[Line] = []
    for node in graph.nodes:
        lines += (Line(source[name], len(boxes), _said(name, types)) for name in node.reads if name in source)
        source.update((out, len(boxes)) for out in node.outputs if out)
        boxes.append(box(node))
    for name in graph.outputs:
        if name in source:
            lines.append(Line(source[name], len(boxes), _said(name, types)))
            boxes.append(Box(name, name, "value", "", _dims(graph.type_of(name)), ("output of the model",)))
    return Picture(title, f"{subtitle} · {count(len(graph.nodes), 'node')}", say, tuple(boxes), tuple(lines))


def _dims(kind: TensorType) -> str:
    return "×".join("?" if d is None else str(d) for d in kind.shape or ())


def _under(node: Node, types: Mapping[str, TensorType]) -> str:
    return _dims(types[node.outputs[0]]) if node.outputs and node.outputs[0] in types else ""


def _said(name: str, types: Mapping[str, TensorType]) -> str:
    return f"{name}: {types[name]}" if name in types else name


def _tensors(graph: Graph, node: Node, types: Mapping[str, TensorType]) -> Iterator[str]:
    yield from (f"weight {name}: {graph.type_of(name)}" for name in node.inputs if name in graph.weights)
    yield from (f"gives {_said(name, types)}" for name in node.outputs if name)


# --- .tflite -------------------------------------------------------------------------------------------------------------


def _tflite(path: Path) -> Picture:
    from .runners import file_content

    found = read_tflite(file_content(path), path)
    boxes = [Box(str(t), t.name or str(t), "value", "", _stored(t), ("input of the file",)) for t in found.inputs]
    source = {t.number: n for n, t in enumerate(found.inputs)}
    lines: list[Line] = []
    for op in found.ops:
        fed = [t for t in op.inputs if t is not None and t.number in source]
        lines += (Line(source[t.number], len(boxes), f"{t}: {t.dtype} {_stored(t)}") for t in fed)
        source.update((t.number, len(boxes)) for t in op.outputs)
        boxes.append(_op_box(op))
    for t in (t for t in found.outputs if t.number in source):
        lines.append(Line(source[t.number], len(boxes), f"{t}: {t.dtype} {_stored(t)}"))
        boxes.append(Box(str(t), t.name or str(t), "value", "", _stored(t), ("output of the file",)))
    say = "Operators on int8 and int16 tensors are integer; the others compute in float or move other numbers."
    return Picture(title_of(path), f".tflite · {count(len(found.ops), 'operator')}", say, tuple(boxes), tuple(lines))


def _op_box(op: ReadOp) -> Box:
    lines = (*(f"reads {_codes(t)}" for t in op.inputs if t is not None), *(f"gives {_codes(t)}" for t in op.outputs))
    under = _stored(op.outputs[0]) if op.outputs else ""
    return Box(str(op), op.name, "integer" if integer_op(op) else "float", "", under, lines)


def integer_op(op: ReadOp) -> bool:
    """Whether an operator works on 8- or 16-bit codes."""
    return any(
        t is not None and t.data is None and t.dtype in ("int8", "uint8", "int16") for t in (*op.inputs, *op.outputs)
    )


def _stored(tensor: ReadTensor) -> str:
    return "×".join(map(str, tensor.shape))


def _codes(tensor: ReadTensor) -> str:
    scale = ""
    if tensor.scale.size == 1:
        scale = (
            f", scale {float(tensor.scale[0]):.4g}, zero {int(tensor.zero_point[0]) if tensor.zero_point.size else 0}"
        )
    elif tensor.scale.size:
        scale = f", {tensor.scale.size} scales"
    return f"{tensor}: {tensor.dtype} {_stored(tensor)}{scale}"
