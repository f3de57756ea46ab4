"""Results as values, and as Markdown."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import Any

from qconvert.runtime import host_name

_VERSIONS = ("onnxruntime", "onnx", "numpy", "pillow")


@dataclass
class Table:
    """One table of figures.

    Attributes:
        rows: cells as text, for people.
        data: the same figures as numbers, for programs.
        notes: what a reader should know: what was skipped, what failed.
    """

    name: str
    title: str
    columns: Sequence[str]
    rows: list[list[str]] = field(default_factory=list)
    data: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, cells: Mapping[str, str], data: Mapping[str, Any]) -> None:
        """Append a row; columns without a cell stay empty."""
        self.rows.append([cells.get(column, "") for column in self.columns])
        self.data.append(dict(data))

    def markdown(self) -> str:
        """Heading, table and notes."""
        lines = [f"## {self.title}", ""]
        if self.rows:
            widths = [max(map(len, column)) for column in zip(self.columns, *self.rows, strict=True)]
            lines += [_line(self.columns, widths), _line(["-" * w for w in widths], widths)]
            lines += [_line(row, widths) for row in self.rows]
        return "\n".join([*lines, "", *(f"* {note}" for note in self.notes), ""])

    def json(self) -> dict[str, Any]:
        """Everything as plain values."""
        return asdict(self)


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)) + " |"


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": host_name(),
        "cores": os.cpu_count(),
        "usable cores": usable,
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        **{name: version(name) for name in _VERSIONS},
    }


def held(value: float, limit: float | None, *, at_least: bool = True) -> str:
    """Whether a figure keeps its limit, for a cell."""
    if limit is None:
        return ""
    sign, good = ("≥", value >= limit) if at_least else ("≤", value <= limit)
    return f"{sign} {limit:g} {'held' if good else 'MISSED'}"
