"""Converted models, made once a run and shared by the benchmarks."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import qconvert
from qconvert.errors import QConvertError
from qconvert.pipeline.events import Stages
from qconvert.pipeline.planning import plan_of
from qconvert.report import RunRecord
from qconvert.verify import read_back

from . import peer
from .cases import OUT, Case

MEASURING = frozenset({"evaluate", "latency", "layers"})


@dataclass(frozen=True)
class Made:
    """A converted model.

    Attributes:
        seconds: wall time of the conversion, evaluation and imports left out.
        integer_macs: share of the multiply-accumulates in integer kernels; None where it cannot be told.
    """

    path: Path
    seconds: float
    integer_macs: float | None
    record: RunRecord | None = None


@dataclass(frozen=True)
class Failed:
    """Why there is none."""

    reason: str


@cache
def ours(case: Case) -> Made | Failed:
    """The result of qconvert with the preset of x86-vnni."""
    path = OUT / case.name / "qconvert.onnx"
    try:
        record = qconvert.convert(case.model, path, data=case.folder, recipe=case.recipe)
    except QConvertError as error:
        return Failed("; ".join(f"{d.code} {d.message}" for d in error.diagnostics))
    seconds = sum(stage.seconds for stage in record.stages if stage.name not in MEASURING)
    return Made(path, seconds, record.readback.integer_macs if record.readback else None, record)


@cache
def theirs(case: Case) -> Made | Failed:
    """The result of onnxruntime's quantizer on the same calibration samples."""
    path = OUT / case.name / "onnxruntime.onnx"
    start = time.perf_counter()
    try:
        peer.quantize(case.peer, case.model, (dict(s.feed) for s in case.dataset().calibration), path)
    except Exception as error:  # whatever it raises is a result
        return Failed(f"{type(error).__name__}: {error}"[:300])
    return Made(path, time.perf_counter() - start, _share(case, path))


def _share(case: Case, path: Path) -> float | None:
    """Where the runtime does its multiply-accumulates, found by the names of the nodes."""
    try:
        planned = plan_of(case.model, case.request(path).recipe, Stages())
        return read_back(path, planned.graph, planned.plan).integer_macs
    except QConvertError:
        return None
