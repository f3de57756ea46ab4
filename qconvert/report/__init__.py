"""Reports: every format is made from the same versioned record."""

from __future__ import annotations

from collections.abc import Callable

from .record import RunRecord


def to_json(record: RunRecord) -> str:
    """The whole record as JSON."""
    return record.model_dump_json(indent=1) + "\n"


FORMATS: dict[str, Callable[[RunRecord], str]] = {"json": to_json}

__all__ = ["FORMATS", "RunRecord", "to_json"]
