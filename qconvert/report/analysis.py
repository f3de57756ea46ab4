"""The sensitivity analysis for a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from ..tune.model import Analysis, LayerSensitivity, TensorSensitivity
from .words import decibel, size

_SHOWN = 12


def analysis_text(found: Analysis, shown: int = _SHOWN) -> RenderableType:
    """The whole analysis; the JSON form has every row."""
    return Group(*_parts(found, shown))


def _parts(found: Analysis, shown: int) -> Iterator[RenderableType]:
    yield _head(found)
    if found.layers:
        yield _layers(found.layers, shown)
    if found.tensors:
        yield _tensors(found.tensors, shown)
    if found.rules:
        yield _rules(found)
    for line in found.left_out:
        yield Text(f"left out: {line}", style="yellow")
    if found.blocked:
        yield Text(
            f"no gradient through {', '.join(found.blocked)}: tensors before them are marked with ? and are worse than they look",
            style="yellow",
        )


def _head(found: Analysis) -> Text:
    head = Text(f"{found.model} for {found.target}", style="bold")
    line = f"\n  output SQNR predicted {decibel(found.predicted_db)}"
    if found.measured_db is not None:
        line += f", measured {decibel(found.measured_db)}"
    line += f", from {found.samples} samples"
    if found.float_us and found.us:
        line += f"; predicted {found.float_us / found.us:.2f}x FP32 speed"
    if found.corrected:
        line += "\n  biases are corrected, so errors count without their means"
    return head.append(line, "default")


def _layers(layers: tuple[LayerSensitivity, ...], shown: int) -> Table:
    table = Table(
        "layer",
        "op",
        "alone",
        "weights",
        "inputs",
        "gain if float",
        "weights",
        "inputs",
        "buys",
        "bytes",
        "outlier channels",
        title="layers, worst first",
        title_justify="left",
        title_style="bold",
    )
    for x in layers[:shown]:
        saved = "" if x.saved_us is None else f"{x.saved_us:.1f} us"
        gains = [_gain(g) for g in (x.gain_db, x.weight_gain_db, x.activation_gain_db)]
        table.add_row(
            escape(x.node),
            x.op,
            decibel(x.alone_db),
            decibel(x.weight_db),
            decibel(x.activation_db),
            *gains,
            saved,
            size(x.saved_bytes),
            _outliers(x.outliers, x.outlier_ratio),
        )
    _more(table, len(layers), shown)
    return table


def _tensors(tensors: tuple[TensorSensitivity, ...], shown: int) -> Table:
    table = Table(
        "tensor",
        "by",
        "alone",
        "measured",
        "gain if float",
        "own",
        "grown to",
        "clipped",
        "unused codes",
        "outlier channels",
        title="tensors, worst first",
        title_justify="left",
        title_style="bold",
    )
    for x in tensors[:shown]:
        measured = "" if x.measured_db is None else decibel(x.measured_db)
        grown = "" if x.grown_db is None else decibel(x.grown_db)
        mark = " ?" if x.uncertain else ""
        table.add_row(
            escape(x.tensor) + mark,
            x.op,
            decibel(x.alone_db),
            measured,
            _gain(x.gain_db),
            decibel(x.own_db),
            grown,
            f"{x.clipped:.3%}",
            f"{x.unused:.1%}",
            _outliers(x.outliers, x.outlier_ratio),
        )
    _more(table, len(tensors), shown)
    return table


def _gain(value: float) -> str:
    """A gain in dB; infinite means that nothing else is rounded."""
    return f"{value:+.2f} dB" if isfinite(value) else "to exact"


def _more(table: Table, count: int, shown: int) -> None:
    if count > shown:
        table.caption, table.caption_justify = f"{count - shown} more in the JSON form", "left"


def _outliers(channels: tuple[int, ...], ratio: float) -> str:
    return f"{', '.join(map(str, channels[:4]))} ({ratio:.0f}x median)" if channels else ""


def _rules(found: Analysis) -> Text:
    text = Text("to paste into the recipe", style="bold")
    for step in found.steps:
        text.append(f"\n# {step}, {step.reason}, {size(max(step.bytes, 0))} more", "dim")
    return text.append("\n" + found.rules.rstrip(), "default")
