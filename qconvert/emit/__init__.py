"""Writes the plan into a graph: one file a format."""

from .qdq import emit_qdq

EMITTERS = {"qdq": emit_qdq}

__all__ = ["EMITTERS", "emit_qdq"]
