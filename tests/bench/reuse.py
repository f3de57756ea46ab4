"""What later runs cost beside the first one: another target or range method from the cache, and a run with nothing to do."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

from .cases import OUT, REPOSITORY, Case
from .process import Cost, ProcessFailed
from .process import run as run_process
from .tables import Table, held

COLUMNS = ("model", "run", "wall s", "CPU s", "CPU s / first run", "bound", "calibrate, optimize, evaluate (CPU s)")
MODELS = ("mobilenetv2_100_flowers",)
_SECOND, _NOTHING = 0.25, 0.5  # share of the first run's CPU time; seconds
_SHARING = ("same again", "arm-neon")  # runs whose numbers are those of the first
_STAGES = ("calibrate", "optimize", "evaluate")


def start() -> Table:
    """The empty table: a row for each run."""
    table = Table("reuse", "Runs with a cache, and a run with nothing to do", COLUMNS)
    table.notes.append(
        "whole processes in this order, evaluation included; statistics are shared where the canonical graphs are the same, the "
        "FP32 outputs always, and steps of the accuracy algorithms where the numbers of the plans are the same, as on the two "
        "CPUs; another range method and other number formats run the algorithms again"
    )
    return table


def add(table: Table, case: Case) -> None:
    """Convert one model again and again."""
    folder = OUT / case.name / "reuse"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    runs = {
        "first, x86-vnni": ["-t", "x86-vnni", "--if-changed"],
        "nothing changed": ["-t", "x86-vnni", "--if-changed"],
        "same again": ["-t", "x86-vnni"],
        "another range method": ["-t", "x86-vnni", "--set", "calibration.method=percentile"],
        "arm-neon": ["-t", "arm-neon"],
        "tensorrt": ["-t", "tensorrt"],
    }
    try:
        first: Cost | None = None
        for name, options in runs.items():
            output = folder / ("first" if "--if-changed" in options else name.replace(" ", "-"))
            cost = run_process(_command(case, output, folder / "cache", options), REPOSITORY)
            first = first or cost
            _row(table, case, name, cost, first, output)
    except ProcessFailed as error:
        table.notes.append(f"{case.name}: {error}")


def _command(case: Case, output: Path, cache: Path, options: list[str]) -> list[str]:
    command = [sys.executable, "-m", "qconvert", "convert", str(case.model), "-r", str(case.recipe)]
    return [*command, "-d", str(case.folder), "-o", str(output), "--cache", str(cache), "--quiet", *options]


def _row(table: Table, case: Case, name: str, cost: Cost, first: Cost, output: Path) -> None:
    share, idle = cost.cpu / first.cpu, name == "nothing changed"
    stages = {} if idle else _stages(output / "model.report.json")
    figure, limit = (cost.wall, _NOTHING) if idle else (share, _SECOND if name in _SHARING else None)
    bound = held(figure, limit, at_least=False)
    cells = {
        "model": case.name,
        "run": name,
        "wall s": f"{cost.wall:.2f}",
        "CPU s": f"{cost.cpu:.2f}",
        "CPU s / first run": f"{share:.2f}",
        "bound": bound,
        "calibrate, optimize, evaluate (CPU s)": ", ".join(f"{stages[s]:.2f}" for s in _STAGES if s in stages),
    }
    table.add(cells, {"model": case.name, "run": name, **cost._asdict(), "share": share, "stages": stages})


def _stages(report: Path) -> dict[str, float]:
    record = json.loads(report.read_text(encoding="utf-8"))
    return {stage["name"]: stage["cpu_seconds"] for stage in record["stages"]}
