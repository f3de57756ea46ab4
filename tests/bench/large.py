"""Memory of converting a model that is larger than what may be held: 3.5 GB of made-up decoder weights in external data."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from .cases import REPOSITORY
from .decoder import VOCABULARY, Decoder
from .tables import Table, held

COLUMNS = ("conversion", "FP32 GB", "result GB", "wall s", "CPU s", "peak anonymous MB", "bound")
BOUND = 1200.0  # MB
_WIDTH, _HIDDEN, _LAYERS = 2048, 5632, 16
_TOKENS, _SAMPLES = 16, 2
_EVERY = 0.02  # seconds between two looks
_FORMS = {
    "static int8": ("--mode", "static"),
    "weight-only int4": ("--mode", "weight-only", "--bits", "4"),
}
_LEFT_OUT = ("--set", "algorithms=none", "--set", "evaluation.latency=false")


def start() -> Table:
    """The empty table: one row a conversion."""
    table = Table("large", "Memory of converting a large model", COLUMNS)
    table.notes.append(
        f"a decoder of {_LAYERS} layers of width {_WIDTH} with random weights in external data; x86-vnni, {_SAMPLES} samples of {_TOKENS} tokens, "
        f"no algorithms, evaluation included but latency, which takes both models into memory; peak of the anonymous memory of the process (RssAnon, looked at every {_EVERY * 1000:.0f} ms); pages of mapped files are not counted"
    )
    return table


def measure(table: Table) -> None:
    """Write the model into a temporary folder, convert it in every form, and remove it."""
    if not Path("/proc/self/status").exists():
        table.notes.append("skipped: anonymous memory is read from /proc, which this system does not have")
        return
    with tempfile.TemporaryDirectory(prefix="qconvert-bench-") as name:
        folder = Path(name)
        if shutil.disk_usage(folder).free < 12e9:
            table.notes.append("skipped: 12 GB of disk are needed for temporary files; `TMPDIR` says where")
            return
        model = folder / "decoder.onnx"
        Decoder(model, _WIDTH, _HIDDEN, _LAYERS).write()
        _write_samples(folder / "data")
        for form, options in _FORMS.items():
            print(f"large: {form}", flush=True)
            _convert(table, form, options, folder, model)


def _write_samples(folder: Path) -> None:
    rng = np.random.default_rng(1)
    for part in ("calib", "eval"):
        (folder / part).mkdir(parents=True)
        for n in range(_SAMPLES):
            np.savez(folder / part / f"{n}.npz", tokens=rng.integers(0, VOCABULARY, (1, _TOKENS)))


def _convert(table: Table, form: str, options: Sequence[str], folder: Path, model: Path) -> None:
    output = folder / "out"
    command = [
        sys.executable,
        "-m",
        "qconvert",
        "convert",
        model,
        "-t",
        "x86-vnni",
        "-d",
        folder / "data",
        "-o",
        output,
    ]
    begun = time.perf_counter()
    with (folder / "log").open("w+") as log:
        child = subprocess.Popen(
            [str(part) for part in (*command, *options, *_LEFT_OUT)],
            cwd=REPOSITORY,
            env={**os.environ, "TMPDIR": str(folder)},
            stdout=log,
            stderr=log,
        )
        peak = 0.0
        while os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            peak = max(peak, _anonymous_mb(child.pid))
            time.sleep(_EVERY)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        log.seek(0)
        text = log.read()
    wall = time.perf_counter() - begun
    size = sum(file.stat().st_size for file in output.glob("model.onnx*")) if output.exists() else 0
    shutil.rmtree(output, ignore_errors=True)
    if child.returncode:
        table.notes.append(f"{form}: {text.strip().splitlines()[-1][:300]}")
        return
    before = sum(file.stat().st_size for file in folder.glob("decoder.onnx*"))
    cells = {
        "conversion": form,
        "FP32 GB": f"{before / 1e9:.2f}",
        "result GB": f"{size / 1e9:.2f}",
        "wall s": f"{wall:.0f}",
        "CPU s": f"{usage.ru_utime + usage.ru_stime:.0f}",
        "peak anonymous MB": f"{peak:.0f}",
        "bound": held(peak, BOUND, at_least=False),
    }
    table.add(cells, {"conversion": form, "peak_mb": peak, "bound_mb": BOUND, "bytes": size, "wall": wall})


def _anonymous_mb(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1000 * 1.024 for line in lines if line.startswith("RssAnon:")), 0.0)
