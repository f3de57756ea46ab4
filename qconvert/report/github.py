"""Annotations of GitHub Actions: workflow commands, which the runner reads from standard output and standard error alike."""

from __future__ import annotations

from collections.abc import Iterator

from .record import RunRecord
from .rows import urgent
from .targets import TargetsRecord
from .words import clean


def workflow_commands(record: RunRecord) -> Iterator[str]:
    """A line for every gate that does not hold, every error and every warning; a gate is not said twice."""
    for gate in record.gates:
        if not gate.passed:
            yield _line("error", f"gate {gate.name} of {record.target}", gate.text)
    for found in urgent(record):
        place = f"{found.where}: " if found.where else ""
        hint = f"\nhint: {found.hint}" if found.hint else ""
        yield _line(found.severity, f"qconvert {found.code}", f"{place}{found.message}{hint}")


def failure_commands(found: TargetsRecord) -> Iterator[str]:
    """A line for every error that ended the run of a target."""
    for run in found.targets:
        for problem in run.problems if run.status == "failed" else ():
            place = f"{problem.where}: " if problem.where else ""
            yield _line("error", f"qconvert {problem.code} of {run.target}", f"{place}{problem.message}")


def _line(command: str, title: str, message: str) -> str:
    return f"::{command} title={_property(title)}::{_data(message)}"


def _data(value: str) -> str:
    return clean(value).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(value: str) -> str:
    return _data(value).replace(":", "%3A").replace(",", "%2C")
