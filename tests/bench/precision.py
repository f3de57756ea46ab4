"""Accuracy, size and speed by precision, for models whose weights are most of the file."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qconvert.errors import QConvertError
from qconvert.evaluate import Metric
from qconvert.pipeline.convert import convert
from qconvert.report.record import RunRecord

from .cases import OUT, Case
from .tables import Table, held

MODELS = ("all_minilm_l6_v2_sts", "stories260k_llm")
COLUMNS = (
    "model",
    "precision",
    "metric",
    "FP32",
    "result",
    "limit",
    "SQNR dB",
    "size / FP32",
    "bound",
    "FP32 time / time",
)


@dataclass(frozen=True)
class Precision:
    """One way to convert.

    Attributes:
        changes: recipe keys to values.
        size: by model, largest share of the FP32 file.
        metric: by model, worst value of its metric.
    """

    name: str
    changes: Mapping[str, Any]
    size: Mapping[str, float] = field(default_factory=dict, hash=False)
    metric: Mapping[str, float] = field(default_factory=dict, hash=False)


def _weights(bits: int, **more: Any) -> dict[str, Any]:
    return {"mode": "weight-only", "weights.bits": bits, **more}


_MINILM, _STORIES = MODELS
PRECISIONS = (
    Precision("dynamic", {"mode": "dynamic"}, {_MINILM: 0.30}, {_MINILM: 0.9237, _STORIES: 3.60}),
    Precision("float16", {"mode": "float16"}, {_MINILM: 0.52}),
    Precision("weight-only, 8 bits", _weights(8), {_MINILM: 0.32}, {_STORIES: 3.545}),
    Precision("weight-only, 4 bits", _weights(4), {_MINILM: 0.20}, {_MINILM: 0.9247, _STORIES: 3.90}),
    Precision("weight-only, 4 bits, to nearest", _weights(4, algorithms="none")),
    Precision("weight-only, 4 bits, Q/DQ", _weights(4, format="qdq"), {_MINILM: 0.20}),
    Precision("codebook, 3 bits", {"mode": "codebook", "weights.bits": 3}, {}, {_MINILM: 0.9217, _STORIES: 6.0}),
)


def start() -> Table:
    """The empty table: one row a model and precision."""
    table = Table("precision", "Precisions (x86-vnni preset)", COLUMNS)
    table.notes.append("one thread; size is the whole file, scales and float remainder included")
    return table


def add(table: Table, case: Case) -> None:
    """Convert one model in every precision; statistics and outputs of the FP32 model are computed once."""
    with tempfile.TemporaryDirectory(prefix="qconvert-bench-") as cache:
        for precision in PRECISIONS:
            output = OUT / "precision" / case.name / f"{precision.name.replace(', ', '-').replace('/', '')}.onnx"
            print(f"precision: {case.name}, {precision.name}", flush=True)
            try:
                record = convert(case.request(output, precision.changes, Path(cache)))
            except QConvertError as error:
                table.notes.append(f"{case.name}, {precision.name}: {error}")
                continue
            _add(table, case, precision, record)


def _add(table: Table, case: Case, precision: Precision, record: RunRecord) -> None:
    found = record.measurements
    metric: Metric | None = next(iter(found.metrics), None)
    limit = precision.metric.get(case.name) if metric is not None else None
    share = 1 / found.size.ratio if found.size is not None else None
    cells = {
        "model": case.name,
        "precision": precision.name,
        "metric": metric.name if metric else "",
        "FP32": f"{metric.float_value:.4f}" if metric else "",
        "result": f"{metric.value:.4f}" if metric else "",
        "limit": held(metric.value, limit, at_least=metric.higher_is_better) if metric else "",
        "SQNR dB": f"{found.fidelity.sqnr_db:.1f}" if found.fidelity else "",
        "size / FP32": f"{share:.3f}" if share else "",
        "bound": held(share, precision.size.get(case.name), at_least=False) if share else "",
        "FP32 time / time": f"{found.latency.ratio:.2f}" if found.latency else "",
    }
    table.add(cells, {"model": case.name, "precision": precision.name, "measurements": found.model_dump(mode="json")})
