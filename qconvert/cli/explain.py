"""`qconvert explain`."""

from __future__ import annotations

from typing import Annotated

import typer

from ..errors import CODES, EXIT_CODES, fail
from .console import out


def explain(
    code: Annotated[
        str | None,
        typer.Argument(
            help="A code such as D004; without one all are listed.",
            show_default=False,
            autocompletion=lambda incomplete: [code for code in CODES if code.startswith(incomplete.upper())],
        ),
    ] = None,
) -> int:
    """Explain a diagnostic or reason code."""
    from difflib import get_close_matches

    if code is None:
        for name, each in CODES.items():
            print(f"{name}  {each.title}")
        return 0
    name = code.upper()
    row = CODES.get(name)
    if row is None:
        near = get_close_matches(name, CODES, 3, 0.4)
        raise fail(
            "R011",
            f"no such code: {code}",
            None,
            f"did you mean {' or '.join(near)}?" if near else "`qconvert explain` lists them all",
        )
    console = out()
    console.print(f"{name}: {row.title}", style="bold", markup=False)
    console.print(row.explanation, markup=False)
    if name[0] not in "PC" and int(name[1:]) < 100:
        console.print(f"exit code {_exit_code(name)}", style="dim")
    return 0


def _exit_code(name: str) -> str:
    return "130 or 143" if name == "X002" else str(EXIT_CODES[name[0]])
