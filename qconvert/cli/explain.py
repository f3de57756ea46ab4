"""`qconvert explain`."""

from __future__ import annotations

from typing import Annotated

import typer

from ..errors import CODES, EXIT_CODES, fail
from .console import out


def explain(code: Annotated[str | None, typer.Argument(help="A code such as D004; without one all are listed.", show_default=False)] = None) -> int:
    """Explain a diagnostic or reason code."""
    from difflib import get_close_matches

    if code is None:
        for name, row in CODES.items():
            out().print(f"{name}  {row.title}", markup=False)
        return 0
    row = CODES.get(code.upper())
    if row is None:
        near = get_close_matches(code.upper(), CODES, 3, 0.4)
        raise fail("R011", f"no such code: {code}", None, f"did you mean {' or '.join(near)}?" if near else "`qconvert explain` lists them all")
    console = out()
    console.print(f"[bold]{code.upper()}: {row.title}[/]")
    console.print(row.explanation, markup=False)
    fatal = code[0].upper() not in "PC" and int(code[1:]) < 100
    if fatal:
        console.print(f"exit code {EXIT_CODES[code[0].upper()]}", style="dim")
    return 0
