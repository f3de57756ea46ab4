"""Writes the plan into a graph: one file a format."""

from .qdq import emit_qdq
from .qoperator import emit_qoperator
from .tflite import emit_tflite

EMITTERS = {"qdq": emit_qdq, "qoperator": emit_qoperator}

__all__ = ["EMITTERS", "emit_qdq", "emit_qoperator", "emit_tflite"]
