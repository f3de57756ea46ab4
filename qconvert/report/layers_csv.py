"""The table of the quantized tensors as CSV."""

from __future__ import annotations

import csv
from io import StringIO

from .record import Histogram, RunRecord
from .rows import LayerRow, layer_rows
from .words import cell

COLUMNS = (
    "number",
    "tensor",
    "node",
    "op",
    "sqnr_db",
    "lost_db",
    "format",
    "scale",
    "zero_point",
    "low",
    "high",
    "own_sqnr_db",
    "clipped",
)


def to_csv(record: RunRecord) -> str:
    """A row for each quantized tensor in graph order; figures that were not measured are empty."""
    ranges = {h.name: h for h in record.histograms if h.kind == "activation"}
    out = StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(_cells(row, ranges.get(row.tensor)) for row in layer_rows(record))
    return out.getvalue()


def _cells(row: LayerRow, values: Histogram | None) -> tuple[object, ...]:
    plan = row.plan
    said = (plan.format, plan.scale, plan.zero_point, plan.low, plan.high) if plan else ("", None, None, None, None)
    own = (values.sqnr_db, values.clipped) if values else (None, None)
    return (
        row.number,
        cell(row.tensor),
        cell(row.node),
        cell(row.op),
        row.sqnr_db,
        row.lost_db,
        cell(said[0]),
        *said[1:],
        *own,
    )
