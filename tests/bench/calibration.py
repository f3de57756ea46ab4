"""Cost of calibration: CPU time against running the plain model, and peak memory at many samples.

`python -m tests.bench.calibration MODEL METHOD SAMPLES` calibrates in a process of its own.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import cycle, islice

import numpy as np

from qconvert.calibrate import Sketcher, activation_params, collect
from qconvert.data import Sample
from qconvert.pipeline.events import Stages
from qconvert.pipeline.planning import Planned, make_plan
from qconvert.recipe.types import Calibration
from qconvert.runtime import Options, Session

from .cases import CASES, OUT, REPOSITORY, Case
from .process import ProcessFailed
from .process import run as run_process
from .tables import Table, held

COLUMNS = ("model", "method", "tensors", "plain run, CPU ms a sample", "calibration", "ratio", "bound")
MEMORY_COLUMNS = ("model", "tool, method", "samples", "peak MB", "growth", "bound")
BOUNDS = {"mobilenetv2_100_flowers": 2.3, "all_minilm_l6_v2_sts": 1.3}
_METHODS = ("mse", "percentile")
_SAMPLES, _MANY, _ROUNDS, _GROWTH = 64, 1024, 7, 0.05


def run(cases: Sequence[Case]) -> Table:
    """CPU time: one row a model and method."""
    table = Table("calibration", "CPU time of calibration (static mode)", COLUMNS)
    table.notes.append(
        f"the whole calibration (statistics and ranges) of {_SAMPLES} preprocessed samples against running the same samples "
        "through the plain model with nothing exposed; creating sessions and reading samples left out on both sides; one "
        f"thread; medians of the quotients of {_ROUNDS} interleaved rounds [quartiles]"
    )
    for case in cases:
        if case.name in BOUNDS:
            print(f"calibration: {case.name}", flush=True)
            _add(table, case)
    return table


def _add(table: Table, case: Case) -> None:
    planned, samples = _planned(case), list(case.dataset().calibration.take(_SAMPLES))
    session = Session(case.model, Options(threads=1))
    works: dict[str, Callable[[], float]] = {"plain": lambda: _plain(session, samples)}
    for method in _METHODS:
        works[method] = lambda method=method: calibrate(planned, samples, method)  # type: ignore[misc]
    for work in works.values():
        work()
    rounds = []
    for n in range(_ROUNDS):
        names = list(works) if n % 2 == 0 else list(works)[::-1]
        seconds = {name: works[name]() for name in names}
        rounds.append([seconds[name] / len(samples) for name in works])
    found = np.array(rounds)
    for n, method in enumerate(_METHODS, 1):
        low, ratio, high = np.percentile(found[:, n] / found[:, 0], (25, 50, 75)).tolist()
        plain, ours = np.median(found[:, [0, n]], axis=0).tolist()
        cells = {
            "model": case.name,
            "method": method,
            "tensors": str(len(planned.plan.taps)),
            "plain run, CPU ms a sample": f"{plain * 1e3:.2f}",
            "calibration": f"{ours * 1e3:.2f}",
            "ratio": f"{ratio:.2f} [{low:.2f}, {high:.2f}]",
            "bound": held(ratio, BOUNDS[case.name], at_least=False),
        }
        data = {"model": case.name, "method": method, "plain": plain, "calibration": ours, "ratio": ratio}
        table.add(
            cells, {**data, "quartiles": [low, high], "tensors": len(planned.plan.taps), "bound": BOUNDS[case.name]}
        )


def _planned(case: Case) -> Planned:
    request = case.request(OUT / "unused.onnx", {"mode": "static"})
    return make_plan(case.model, request.recipe, Stages())


def _plain(session: Session, samples: Sequence[Sample]) -> float:
    start = time.process_time()
    for sample in samples:
        session.run(sample.feed)
    return time.process_time() - start


def calibrate(planned: Planned, samples: Iterable[Sample], method: str) -> float:
    """Calibrate, and return the CPU seconds since the first sample was asked for, when the session stands."""
    observers = {name: (Sketcher(),) for name in planned.plan.taps}
    clock = _Clocked(samples)
    collect(planned.graph, clock, observers)
    sketches = {name: watching[0].result() for name, watching in observers.items()}
    activation_params(planned.plan, sketches, Calibration(method=method))
    return time.process_time() - clock.start


class _Clocked:
    """Samples that note when the first one is asked for."""

    def __init__(self, samples: Iterable[Sample]) -> None:
        self._samples, self.start = samples, 0.0

    def __iter__(self) -> Iterator[Sample]:
        self.start = time.process_time()
        yield from self._samples


# --- memory ------------------------------------------------------------------------------------------------------------


def run_memory(cases: Sequence[Case]) -> Table:
    """Peak memory: one row a model and number of samples."""
    table = Table("memory", "Peak memory of calibration (static mode, whole process)", MEMORY_COLUMNS)
    table.notes.append(f"{_SAMPLES} samples are held in memory and repeated")
    for case in cases:
        if case.name in BOUNDS:
            print(f"memory: {case.name}", flush=True)
            _add_memory(table, case)
    return table


def _add_memory(table: Table, case: Case) -> None:
    try:
        for method in _METHODS:
            peaks = [_peak("qconvert", case, method, count) for count in (_SAMPLES, _MANY)]
            growth = peaks[1] / peaks[0] - 1
            for count, peak in zip((_SAMPLES, _MANY), peaks, strict=True):
                cells, data = _memory_row(case, f"qconvert, {method}", count, peak)
                if count == _MANY:
                    cells |= {"growth": f"{growth:+.1%}", "bound": held(growth, _GROWTH, at_least=False)}
                table.add(cells, data)
        for method in ("MinMax", "Percentile"):
            cells, data = _memory_row(
                case, f"onnxruntime, {method}", _SAMPLES, _peak("onnxruntime", case, method, _SAMPLES)
            )
            table.add(cells, data)
    except ProcessFailed as error:
        table.notes.append(f"{case.name}: {error}")


def _memory_row(case: Case, who: str, count: int, peak: float) -> tuple[dict[str, str], dict[str, object]]:
    cells = {"model": case.name, "tool, method": who, "samples": str(count), "peak MB": f"{peak:.0f}"}
    return cells, {"model": case.name, "tool": who, "samples": count, "peak_mb": peak}


def _peak(tool: str, case: Case, method: str, count: int) -> float:
    command = [sys.executable, "-m", "tests.bench.calibration", tool, case.name, method, str(count)]
    return run_process(command, REPOSITORY).peak_mb


def _main(tool: str, name: str, method: str, count: str) -> None:
    case = next(c for c in CASES if c.name == name)
    samples = list(case.dataset().calibration.take(_SAMPLES))
    many = islice(cycle(samples), int(count))
    if tool == "qconvert":
        calibrate(_planned(case), many, method)
        return
    from .peer import quantize

    quantize("static", case.model, (dict(sample.feed) for sample in many), OUT / case.name / "memory.onnx", method)


if __name__ == "__main__":
    _main(*sys.argv[1:])
