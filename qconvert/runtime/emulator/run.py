"""Runs ONNX models under emulation of another core, with onnxruntime's kernels of that core."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...errors import fail
from ...graph import Array
from ..session import Feed
from .cores import Core, absent, folder, libraries

_ROUNDS = 3  # an inference now and then executes a little more; the median does not
_MARKS = {"aarch64": 173, "x86_64": 110}  # number of the system call getppid


@dataclass(frozen=True, eq=False)
class Emulated:
    """What a model gave on the emulated core.

    Attributes:
        outputs: by name, one entry a feed.
        instructions: executed by one inference of the first feed; None where no counting plugin was built.
    """

    outputs: tuple[dict[str, Array], ...]
    instructions: int | None


def emulate(
    core: Core,
    models: Sequence[Path],
    feeds: Sequence[Feed],
    outputs: Sequence[str],
    config: Sequence[tuple[str, str]] = (),
) -> list[Emulated]:
    """Run models on feeds, all with the same inputs and outputs, in one emulated process.

    Args:
        config: session configuration entries.

    Raises:
        QConvertError: T001 where the emulator is not set up, V008 where a model does not run there.
    """
    reason = absent(core)
    if reason is not None:
        raise fail("T001", f"{core.title} cannot be emulated: {reason}", None, "qconvert emulator setup")
    with tempfile.TemporaryDirectory(prefix="qconvert-emulated-") as name:
        job = Path(name)
        names = list(feeds[0])
        for n, feed in enumerate(feeds):
            np.savez(job / f"feed{n}.npz", *(feed[key] for key in names))
        counting = (folder() / "count.so").is_file()
        description = {
            "models": [str(model.resolve()) for model in models],
            "inputs": names,
            "outputs": list(outputs),
            "feeds": len(feeds),
            "config": list(config),
            "counted": _ROUNDS if counting else 0,
        }
        (job / "job.json").write_text(json.dumps(description), encoding="utf-8")
        _run(core, job, counting)
        counts = _counts(job / "counts", len(models)) if counting else [None] * len(models)
        return [
            Emulated(tuple(_read(job / f"out{m}_{n}.npz", outputs) for n in range(len(feeds))), counts[m])
            for m in range(len(models))
        ]


def _run(core: Core, job: Path, counting: bool) -> None:
    root = folder()
    plugin = ["-plugin", f"{root / 'count.so'},out={job / 'counts'},mark={_MARKS[core.machine]}"] if counting else []
    qemu = [str(root / "host" / "usr" / "bin" / f"qemu-{core.machine}"), "-U", "LD_LIBRARY_PATH", *plugin]
    command = [*qemu, "-cpu", core.cpu, *_python(core, root), str(Path(__file__).with_name("worker.py")), str(job)]
    done = subprocess.run(
        command, env=_environment(core, root), capture_output=True, text=True, errors="replace", check=False
    )
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        hint = "run it on the device itself, or set `verify: run` to leave the emulation out"
        raise fail("V008", f"the model does not run on an emulated {core.title}: {last[:400]}", None, hint)


def _python(core: Core, root: Path) -> list[str]:
    if core.machine == "x86_64":
        return [sys.executable]
    return ["-L", str(root / "cores" / core.name), str(next((root / "guest" / "usr" / "bin").glob("python3.[0-9]*")))]


def _environment(core: Core, root: Path) -> dict[str, str]:
    found = {**os.environ, "LD_LIBRARY_PATH": libraries(root), "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"}
    found.pop("PYTHONHOME", None)
    if core.machine == "x86_64":
        return {**found, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    return {**found, "PYTHONPATH": str(root / "site"), "PYTHONHOME": str(root / "guest" / "usr")}


def _read(path: Path, names: Sequence[str]) -> dict[str, Array]:
    with np.load(path) as arrays:
        return {name: arrays[f"arr_{k}"] for k, name in enumerate(names)}


def _counts(path: Path, models: int) -> list[int | None]:
    """Instructions of one inference of each model, the median of its rounds."""
    marks = [int(line) for line in path.read_text(encoding="ascii").split()]
    marks = marks[len(marks) - 2 * _ROUNDS * models :]  # the guest's start may make the same call
    spent = np.diff(np.asarray(marks).reshape(-1, 2), axis=1).reshape(models, _ROUNDS)
    return [int(value) for value in np.median(spent, axis=1)]
