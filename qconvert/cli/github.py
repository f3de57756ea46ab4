"""What a run says to GitHub Actions, where it is one of its steps: annotations and the summary of the job."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..report import RunRecord
    from ..report.targets import TargetsRecord


def announce(record: RunRecord) -> None:
    """Annotations on standard error, whose workflow commands the runner reads too, and the Markdown report as job summary."""
    if os.environ.get("GITHUB_ACTIONS") != "true":
        return
    from ..report import to_markdown
    from ..report.github import workflow_commands

    for line in workflow_commands(record):
        print(line, file=sys.stderr)
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary:
        _append(summary, to_markdown(record))


def announce_several(found: TargetsRecord, records: Iterable[RunRecord]) -> None:
    """As `announce`, with one summary over all targets."""
    if os.environ.get("GITHUB_ACTIONS") != "true":
        return
    from ..report.github import failure_commands, workflow_commands
    from ..report.targets import targets_markdown

    for line in (*(line for record in records for line in workflow_commands(record)), *failure_commands(found)):
        print(line, file=sys.stderr)
    summary = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary:
        _append(summary, targets_markdown(found))


def _append(path: str, text: str) -> None:
    """The result is written already: a summary that cannot be is only worth a line."""
    try:
        with open(path, "a", encoding="utf-8") as file:
            file.write(text + "\n")
    except OSError as error:
        print(f"the job summary cannot be written: {error}", file=sys.stderr)
