"""Checks of an artefact against a target; what the runtime really executes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import lazily

if TYPE_CHECKING:
    from .fusion import Forecast
    from .model import Device, Readback, RunsAs, SessionProof
    from .onnxruntime_lint import check_loads
    from .proof import prove
    from .readback import findings, read_back
    from .table import CHECKS, FILE_CHECKS, FORECASTS, check
    from .tflite import TfliteProof, check_tflite, prove_tflite
    from .tflite_run import TfliteSession
else:
    __getattr__ = lazily(
        __name__,
        {
            "fusion": "Forecast",
            "model": "Device Readback RunsAs SessionProof",
            "onnxruntime_lint": "check_loads",
            "proof": "prove",
            "readback": "findings read_back",
            "table": "CHECKS FILE_CHECKS FORECASTS check",
            "tflite": "TfliteProof check_tflite prove_tflite",
            "tflite_run": "TfliteSession",
        },
    )

__all__ = [
    "CHECKS",
    "FILE_CHECKS",
    "FORECASTS",
    "Device",
    "Forecast",
    "Readback",
    "RunsAs",
    "SessionProof",
    "TfliteProof",
    "TfliteSession",
    "check",
    "check_loads",
    "check_tflite",
    "findings",
    "prove",
    "prove_tflite",
    "read_back",
]
