"""JSON Schema of the run record, made from its types."""

from __future__ import annotations

from typing import Any

from .record import RunRecord


def record_schema() -> dict[str, Any]:
    """The schema of what is written, in which infinite and undefined figures are text."""
    found = RunRecord.model_json_schema(mode="serialization")
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "qconvert run record",
        **{k: v for k, v in found.items() if k != "title"},
    }
