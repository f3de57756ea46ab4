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
from qconvert.pipeline.planning import Planned, plan_of
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
_SAMPLES, _MANY, _ROUNDS, _GROWTH = 64, 1024, 7, 5.0


def start() -> Table:
    """The empty table of CPU time: one row a model and method."""
    table = Table("calibration", "CPU time of calibration (static mode)", COLUMNS)
    table.notes.append(
        f"the whole calibration (statistics and ranges) of {_SAMPLES} preprocessed samples against running the same samples "
        "through the plain model with nothing exposed; creating sessions and reading samples left out on both sides; one "
        f"thread; medians of the quotients of {_ROUNDS} interleaved rounds [quartiles]"
    )
    return table


def add(table: Table, case: Case) -> None:
    """Measure one model."""
    planned, samples = planned_static(case), list(case.dataset().calibration.take(_SAMPLES))
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


def planned_static(case: Case) -> Planned:
    """The plan in static mode, also for models that are dynamic by default."""
    request = case.request(OUT / "unused.onnx", {"mode": "static"})
    return plan_of(case.model, request.recipe, Stages())


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


def start_memory() -> Table:
    """The empty table of peak memory: one row a model and number of samples."""
    table = Table("memory", "Peak memory of calibration (static mode, whole process)", MEMORY_COLUMNS)
    table.notes.append(f"{_SAMPLES} samples are held in memory and repeated")
    return table


def add_memory(table: Table, case: Case) -> None:
    """Measure one model."""
    for method in _METHODS:
        few, many = (_peak(table, "qconvert", case, method, count) for count in (_SAMPLES, _MANY))
        if few is not None and many is not None:
            _memory_row(table, case, f"qconvert, {method}", _SAMPLES, few)
            _memory_row(table, case, f"qconvert, {method}", _MANY, many, many / few - 1)
    for method in ("MinMax", "Percentile"):
        peak = _peak(table, "onnxruntime", case, method, _SAMPLES)
        if peak is not None:
            _memory_row(table, case, f"onnxruntime, {method}", _SAMPLES, peak)


def _memory_row(table: Table, case: Case, who: str, count: int, peak: float, growth: float | None = None) -> None:
    cells = {"model": case.name, "tool, method": who, "samples": str(count), "peak MB": f"{peak:.0f}"}
    if growth is not None:
        cells |= {"growth": f"{growth:+.1%}", "bound": held(growth * 100, _GROWTH, at_least=False)}
    table.add(cells, {"model": case.name, "tool": who, "samples": count, "peak_mb": peak, "growth": growth})


def _peak(table: Table, tool: str, case: Case, method: str, count: int) -> float | None:
    """Peak of a process of its own; None, with a note, where it fails."""
    command = [sys.executable, "-m", "tests.bench.calibration", tool, case.name, method, str(count)]
    try:
        return run_process(command, REPOSITORY).peak_mb
    except ProcessFailed as error:
        table.notes.append(f"{case.name}, {tool}, {method}, {count} samples: {error}")
        return None


def _main(tool: str, name: str, method: str, count: str) -> None:
    case = next(c for c in CASES if c.name == name)
    samples = list(case.dataset().calibration.take(_SAMPLES))
    many = islice(cycle(samples), int(count))
    if tool == "qconvert":
        calibrate(planned_static(case), many, method)
        return
    from .peer import quantize

    quantize("static", case.model, (dict(sample.feed) for sample in many), OUT / case.name / "memory.onnx", method)


if __name__ == "__main__":
    _main(*sys.argv[1:])
