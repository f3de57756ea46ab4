"""The report of a run for a browser: everything that its page shows, beside the record itself."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from pathlib import PurePath
from typing import Any

from .page import MOST_ROWS, page, title_of
from .record import Histogram, Problem, RunRecord
from .rows import (
    LayerRow,
    NodeGroup,
    OperatorRow,
    emulation_row,
    islands,
    layer_rows,
    node_groups,
    operator_rows,
    urgent,
)
from .verdict import Figure, figures, sentence

_SECTIONS = {
    "messages": "Messages",
    "layers": "Error",
    "ranges": "Ranges",
    "placement": "Placement",
    "device": "Device",
    "emulated": "Other cores",
    "time": "Time",
    "size": "Size",
    "samples": "Samples",
    "calibration": "Calibration",
    "provenance": "How it was made",
}


@dataclass(frozen=True)
class Page:
    """What the templates show, beside the record itself."""

    record: RunRecord
    title: str
    sentence: str
    figures: tuple[Figure, ...]
    layers: tuple[LayerRow, ...]
    groups: tuple[NodeGroup, ...]
    operators: tuple[OperatorRow, ...]
    islands: tuple[tuple[str, str, str], ...]
    recipe: str

    @property
    def measured(self) -> tuple[LayerRow, ...]:
        """Tensors with a finite SQNR, the worst first."""
        return tuple(
            sorted(
                (r for r in self.layers if r.sqnr_db is not None and isfinite(r.sqnr_db)),
                key=lambda r: r.sqnr_db or 0.0,
            )
        )

    @property
    def steepest(self) -> LayerRow | None:
        """The tensor that loses most against what it is computed from."""
        lossy = [row for row in self.layers if row.lost_db is not None and row.lost_db > 0]
        return max(lossy, key=lambda row: row.lost_db or 0.0, default=None)

    @property
    def emulated(self) -> tuple[tuple[str, ...], ...]:
        """One row an emulated core."""
        return tuple(map(emulation_row, self.record.measurements.emulated))

    @property
    def urgent(self) -> tuple[Problem, ...]:
        """Errors and warnings, errors first."""
        return urgent(self.record)

    @property
    def notes(self) -> tuple[Problem, ...]:
        """The other messages."""
        return tuple(p for p in self.record.diagnostics if p.severity == "note")

    @property
    def sections(self) -> tuple[tuple[str, str], ...]:
        """Anchor and name of every section that has something to show."""
        record, examples = self.record, self.record.measurements.examples
        shown = {
            "messages": bool(self.urgent or self.notes),
            "layers": bool(self.layers),
            "ranges": bool(record.histograms),
            "device": record.device is not None,
            "emulated": bool(self.emulated),
            "time": bool(self.operators),
            "size": bool(record.sizes),
            "samples": bool(examples and (examples.shown or examples.rows)),
            "calibration": bool(record.calibration or record.algorithms or record.data),
        }
        return tuple((anchor, name) for anchor, name in _SECTIONS.items() if shown.get(anchor, True))

    def histograms(self, kind: str) -> tuple[Histogram, ...]:
        """Those of activations or of weights."""
        return tuple(h for h in self.record.histograms if h.kind == kind)


def to_html(record: RunRecord) -> str:
    """The whole report as one HTML document."""
    return page("report.html", page=page_of(record), record=record)


def page_of(record: RunRecord) -> Page:
    """Everything that is computed before the templates are filled."""
    return Page(
        record=record,
        title=title_of(PurePath(record.model.path)),
        sentence=sentence(record),
        figures=figures(record),
        layers=layer_rows(record)[:MOST_ROWS],
        groups=node_groups(record.plan),
        operators=operator_rows(record.measurements.profile) if record.measurements.profile else (),
        islands=tuple(islands(record))[:MOST_ROWS],
        recipe=_yaml(record.recipe),
    )


def _yaml(recipe: dict[str, Any]) -> str:
    import yaml

    text: str = yaml.safe_dump(_said(recipe), sort_keys=False, allow_unicode=True, width=100)
    return text


def _said(value: Any) -> Any:
    """Without keys that say nothing."""
    if not isinstance(value, dict):
        return value
    return {key: kept for key, each in value.items() if (kept := _said(each)) is not None and kept not in ({}, [])}
