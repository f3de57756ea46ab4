"""Checks of an artefact against a target; what the runtime really executes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ..errors import Diagnostic
from ..graph import Graph, infer_types
from ..targets.model import Target
from .model import Device, Readback, RunsAs, SessionProof
from .onnxruntime_lint import check_loads, check_onnxruntime
from .proof import prove
from .readback import findings, read_back
from .tensorrt import check_tensorrt
from .tflite import TfliteProof, check_tflite, prove_tflite
from .tflite_run import TfliteSession

__all__ = ["CHECKS", "FILE_CHECKS", "Device", "Readback", "RunsAs", "SessionProof", "TfliteProof", "TfliteSession", "check_tflite", "prove_tflite", "check", "check_loads", "findings", "prove", "read_back"]

CHECKS: dict[str, Callable[[Graph], tuple[Diagnostic, ...]]] = {
    "onnxruntime-x86": partial(check_onnxruntime, arch="x86"),
    "onnxruntime-arm": partial(check_onnxruntime, arch="arm"),
    "tensorrt": check_tensorrt,
}

# Checks of files that are no ONNX graphs, by the same names.
FILE_CHECKS: dict[str, Callable[[bytes], tuple[Diagnostic, ...]]] = {"tflite": check_tflite}


def check(graph: Graph, target: Target) -> tuple[Diagnostic, ...]:
    """Findings of every static check that the target names, on the graph as it was loaded."""
    typed = infer_types(graph)
    return tuple(finding for name in target.checks for finding in CHECKS[name](typed))
