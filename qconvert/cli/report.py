"""`qconvert report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import fail
from .console import out
from .options import RecordFolder, RecordReports, formats


def report(
    record: Annotated[Path | None, typer.Argument(help="JSON report of a run.", show_default=False)] = None,
    report: RecordReports = None,
    report_dir: RecordFolder = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of run records instead.")] = False,
) -> int:
    """Show a saved run again, or make other reports of it.

    Examples:

    qconvert report out/model.report.json

    qconvert report out/model.report.json --report html,md --report-dir site/
    """
    import json

    from ..pipeline.recording.reports import read_record, rerender
    from ..report import record_schema
    from ..report.terminal import render

    if schema:
        print(json.dumps(record_schema(), indent=2))
        return 0
    if record is None:
        raise fail("R011", "no run record was given", None, "`qconvert convert` writes one as `<output>.report.json`")
    wanted = formats(report)
    if not wanted:
        out().print(render(read_record(record)))
        return 0
    for path in rerender(record, wanted, report_dir):
        print(f"wrote {path}")
    return 0
