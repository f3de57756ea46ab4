"""Time and memory of a whole conversion, process start to end, against a script that uses onnxruntime's quantizer.

Both read the same preprocessed calibration samples from a folder of .npz files.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from pathlib import Path

import numpy as np

from .cases import OUT, REPOSITORY, Case
from .process import Cost, ProcessFailed
from .process import run as run_process
from .tables import Table

COLUMNS = (
    "model",
    "samples",
    "tool",
    "wall s",
    "CPU s",
    "peak MB",
    "CPU s, ours / theirs",
    "where the time goes (CPU s)",
)
_ROUNDS, _BUDGET = 3, 15.0  # seconds after which no further round is begun


def start() -> Table:
    """The empty table: two rows a model."""
    table = Table("conversion", "Whole conversion without evaluation (process start to end)", COLUMNS)
    table.notes.append(
        f"medians of {_ROUNDS} interleaved runs, fewer where they take long; qconvert proves the file in every session configuration of the target, and "
        "reads back what runs in integers; onnxruntime's quantizer does neither"
    )
    return table


def add(table: Table, case: Case) -> None:
    """Convert one model with both tools."""
    try:
        _add(table, case)
    except ProcessFailed as error:
        table.notes.append(f"{case.name}: {error}")


def _add(table: Table, case: Case) -> None:
    folder = OUT / case.name / "prepared"
    count = _prepare(case, folder)
    output = OUT / case.name / "conversion"
    commands = {
        "qconvert": _ours(case, folder, output / "qconvert.onnx"),
        "qconvert, algorithms: none": _ours(case, folder, output / "plain.onnx", plain=True),
        "onnxruntime": _theirs(case, folder / "calib", output / "onnxruntime.onnx"),
    }
    if case.micro:
        micro = output / "micro.tflite"
        commands["qconvert -t tflite-micro, algorithms: none"] = _ours(case, folder, micro, "tflite-micro", plain=True)
    output.mkdir(parents=True, exist_ok=True)
    costs: dict[str, list[Cost]] = {name: [] for name in commands}
    deadline = time.perf_counter() + _BUDGET
    for n in range(_ROUNDS):
        if n and time.perf_counter() > deadline:
            break
        for name, command in commands.items():
            costs[name].append(run_process(command, REPOSITORY))
    shutil.rmtree(folder)
    medians = {name: Cost(*np.median(runs, axis=0).tolist()) for name, runs in costs.items()}
    reports = {
        name: Path(command[command.index("-o") + 1]).stem for name, command in commands.items() if "-o" in command
    }
    for name, cost in medians.items():
        cells = {
            "model": case.name,
            "samples": str(count) if name != "onnxruntime" or case.peer == "static" else "0",
            "tool": name,
            "wall s": f"{cost.wall:.2f}",
            "CPU s": f"{cost.cpu:.2f}",
            "peak MB": f"{cost.peak_mb:.0f}",
        }
        data = {"model": case.name, "tool": name, "samples": count, **cost._asdict()}
        if name in reports:
            stages = _stages(output / f"{reports[name]}.report.json")
            cells["CPU s, ours / theirs"] = f"{cost.cpu / medians['onnxruntime'].cpu:.2f}"
            cells["where the time goes (CPU s)"] = ", ".join(f"{s} {t:.2f}" for s, t in stages.items() if t >= 0.05)
            data["stages"] = stages
        table.add(cells, data)


def _prepare(case: Case, folder: Path) -> int:
    """Write the calibration samples as one .npz file each."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "calib").mkdir(parents=True)
    samples = case.dataset().calibration
    for n, sample in enumerate(samples):
        np.savez(folder / "calib" / f"{n:04d}.npz", allow_pickle=False, **dict(sample.feed))
    return len(samples)


def _ours(case: Case, folder: Path, output: Path, target: str = "x86-vnni", plain: bool = False) -> list[str]:
    command = [sys.executable, "-m", "qconvert", "convert", str(case.model), "-t", target]
    command += ["-d", str(folder), "-o", str(output), "--no-evaluate", "--quiet"]
    return [*command, "--set", "algorithms=none"] if plain else command


def _theirs(case: Case, folder: Path, output: Path) -> list[str]:
    return [sys.executable, "-m", "tests.bench.peer", case.peer, str(case.model), str(folder), str(output)]


def _stages(report: Path) -> dict[str, float]:
    record = json.loads(report.read_text(encoding="utf-8"))
    return {stage["name"]: stage["cpu_seconds"] for stage in record["stages"]}
