"""What is in a model: the value and its form for a terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from ..evaluate.model import Number, Value
from .record import ModelInfo
from .words import size


class LargeTensor(Value):
    """A tensor among the largest."""

    name: str
    type: str
    bytes: int


class TargetView(Value):
    """How the model looks to one target.

    Attributes:
        integer_share: share of the multiply-accumulates that would be integer; None where planning failed, `blocked` says why.
        reasons: what stays float, "count x reason".
    """

    target: str
    integer_share: Number | None
    speedup: Number | None
    bytes: int | None
    reasons: tuple[str, ...]
    blocked: str = ""


class Inspection(Value):
    """Everything that `inspect` shows."""

    model: ModelInfo
    operators: dict[str, int]
    macs: int
    weights: tuple[LargeTensor, ...]
    activations: tuple[LargeTensor, ...]
    targets: tuple[TargetView, ...]


def inspection_text(found: Inspection) -> RenderableType:
    """The inspection for a terminal."""
    model = found.model
    head = Text(f"{model.path}", style="bold").append(
        f"\n  opset {model.opset}, {model.nodes} nodes, {model.parameters:,} parameters, {found.macs:,} MACs a run",
        "default",
    )
    for label, tensors in (("input", model.inputs), ("output", model.outputs)):
        for name, kind in tensors.items():
            head.append(f"\n  {label} {name}: {kind}", "default")
    operators = Text("  operators: " + ", ".join(f"{count} {op}" for op, count in found.operators.items()))
    return Group(
        head,
        operators,
        _tensors("largest weights", found.weights),
        _tensors("largest activations", found.activations),
        _targets(found),
    )


def _tensors(title: str, tensors: tuple[LargeTensor, ...]) -> Table:
    table = Table("name", "type", "size", title=title, title_justify="left", title_style="bold")
    for tensor in tensors:
        table.add_row(escape(tensor.name), escape(tensor.type), size(tensor.bytes))
    return table


def _targets(found: Inspection) -> Table:
    table = Table(
        "target",
        "integer MACs",
        "predicted speed",
        "weights",
        "what stays float",
        title="targets",
        title_justify="left",
        title_style="bold",
    )
    for view in found.targets:
        if view.blocked:
            table.add_row(view.target, "", "", "", escape(view.blocked))
            continue
        share = "" if view.integer_share is None else f"{view.integer_share:.1%}"
        speed = "" if view.speedup is None else f"{view.speedup:.2f}x"
        table.add_row(
            view.target, share, speed, "" if view.bytes is None else size(view.bytes), escape("\n".join(view.reasons))
        )
    return table
