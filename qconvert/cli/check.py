"""`qconvert check`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .console import errors_json, show_diagnostics
from .options import Json, Model, complete_targets


def check(
    model: Model,
    target: Annotated[
        str,
        typer.Option("--target", "-t", help="Target whose rules are checked.", autocompletion=complete_targets),
    ],
    strict: Annotated[bool, typer.Option(help="Warnings fail too.")] = False,
    sarif: Annotated[
        Path | None,
        typer.Option(help="Write the findings as SARIF 2.1.0 to this file too, for code scanning.", show_default=False),
    ] = None,
    as_json: Json = False,
) -> int:
    """Lint a quantized model, also one that another tool made, against a target's rules.

    Examples:

    qconvert check quantized.onnx -t tensorrt

    qconvert check quantized.onnx -t x86-vnni --strict --json

    qconvert check quantized.onnx -t x86-vnni --sarif findings.sarif
    """
    import json

    from ..errors import EXIT_CODES, Severity
    from ..pipeline.lint import lint
    from ..pipeline.storage.staging import write_text
    from ..report.sarif import to_sarif

    findings = lint(model, target)
    if sarif is not None:
        write_text(sarif, to_sarif(findings, model, target))
    errors = [d for d in findings if d.severity is Severity.ERROR]
    warnings = [d for d in findings if d.severity is Severity.WARNING]
    if as_json:
        print(json.dumps(errors_json(findings), ensure_ascii=False, indent=1))
    else:
        show_diagnostics(findings)
        print(f"{model}: {len(errors)} errors, {len(warnings)} warnings for {target}")
    return EXIT_CODES["C"] if errors or (strict and warnings) else 0
