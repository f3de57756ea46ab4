"""Reports: every format is made from the same versioned record, and loaded when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .record import RunRecord
from .schema import record_schema


def to_json(record: RunRecord) -> str:
    """The whole record as JSON."""
    return record.model_dump_json(indent=1) + "\n"


def to_html(record: RunRecord) -> str:
    """One HTML file with everything in it."""
    from .html import to_html as made

    return made(record)


def to_markdown(record: RunRecord) -> str:
    """The report for a merge request."""
    from .markdown import to_markdown as made

    return made(record)


def to_junit(record: RunRecord) -> str:
    """The gates as JUnit tests."""
    from .junit import to_junit as made

    return made(record)


def to_csv(record: RunRecord) -> str:
    """The layers as a table."""
    from .layers_csv import to_csv as made

    return made(record)


@dataclass(frozen=True, slots=True)
class Format:
    """One row of the table: what the file's name ends with behind `<output stem>.report`, and what writes it."""

    extension: str
    render: Callable[[RunRecord], str]


FORMATS: Mapping[str, Format] = {
    "json": Format(".json", to_json),
    "html": Format(".html", to_html),
    "md": Format(".md", to_markdown),
    "junit": Format(".xml", to_junit),
    "csv": Format(".csv", to_csv),
}

__all__ = ["FORMATS", "Format", "RunRecord", "record_schema", "to_csv", "to_html", "to_json", "to_junit", "to_markdown"]
