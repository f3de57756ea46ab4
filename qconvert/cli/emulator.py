"""`qconvert emulator setup|status`."""

from __future__ import annotations

import typer

app = typer.Typer(help="Run models on emulated ARM and older x86 cores: set the emulator up, see what is there.")


@app.command()
def setup() -> int:
    """Download the emulator into a folder of the user's cache; says what it does, needs no root.

    Example:

    qconvert emulator setup
    """
    from ..runtime.emulator.setup import plan, set_up

    for line in plan():
        print(line, flush=True)
    root = set_up(lambda step: print(f"... {step}", flush=True))
    print(f"done: {root}")
    return 0


@app.command()
def status() -> int:
    """Which cores can be emulated here, and why others cannot."""
    from ..runtime.emulator import CORES, absent, folder, native

    print(f"folder: {folder()}")
    for name, core in CORES.items():
        state = "native" if native(core) else absent(core) or "ready"
        print(f"{name}: {core.title}: {state}")
    return 0
