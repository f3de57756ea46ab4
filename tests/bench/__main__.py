"""`python -m tests.bench [--only NAME] [--models a,b]`: run the benchmarks, print tables, write them to `out/bench/`."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from . import accuracy, algorithms, calibration, conversion, large, latency, precision, reuse
from .cases import CASES, OUT, Case
from .tables import Table, machine


@dataclass(frozen=True)
class Bench:
    """One benchmark: an empty table, and what adds a model to it or, once, a model of its own.

    Attributes:
        models: for which it is meant; None for all.
    """

    start: Callable[[], Table]
    add: Callable[[Table, Case], None] | None = None
    models: Collection[str] | None = None
    once: Callable[[Table], None] | None = None


BENCHES = {
    "accuracy": Bench(accuracy.start, accuracy.add),
    "latency": Bench(latency.start, latency.add, latency.BOUNDS),
    "algorithms": Bench(algorithms.start, algorithms.add),
    "calibration": Bench(calibration.start, calibration.add, calibration.BOUNDS),
    "memory": Bench(calibration.start_memory, calibration.add_memory, calibration.BOUNDS),
    "conversion": Bench(conversion.start, conversion.add),
    "reuse": Bench(reuse.start, reuse.add, reuse.MODELS),
    "precision": Bench(precision.start, precision.add, precision.MODELS),
    "large": Bench(large.start, once=large.measure),
}


def main() -> int:
    """Run what was asked for."""
    chosen = _arguments()
    cases = [case for case in CASES if chosen.models is None or case.name in chosen.models]
    skipped = [f"skipped {case.name}: {case.missing.name} is not there" for case in cases if case.missing]
    print("\n".join(skipped) or f"{len(cases)} models", flush=True)
    present = [case for case in cases if not case.missing]
    wanted = [name for name in chosen.only or BENCHES if present or BENCHES[name].once]
    if not present:
        print("models are missing: set QCONVERT_MODELS to the folder of the benchmark models")
    OUT.mkdir(parents=True, exist_ok=True)
    host = machine()
    print(_machine_lines(host))
    for name in wanted:
        print(f"\n{_run(name, present, skipped, host).markdown()}", flush=True)
    return 0


def _run(name: str, cases: Sequence[Case], skipped: Sequence[str], host: dict[str, object]) -> Table:
    """Run one benchmark; its table is written after every model, so that little is lost if it is stopped."""
    bench = BENCHES[name]
    table = bench.start()
    if bench.once is not None:
        bench.once(table)
        _write(table, host)
    add = bench.add
    if add is None:
        return table
    table.notes += skipped
    for case in cases:
        if bench.models is None or case.name in bench.models:
            print(f"{name}: {case.name}", flush=True)
            add(table, case)
            _write(table, host)
    return table


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--only", type=_names(list(BENCHES)), help=f"some of {', '.join(BENCHES)}, separated by commas")
    parser.add_argument("--models", type=_names([c.name for c in CASES]), help="some models, separated by commas")
    return parser.parse_args()


def _names(known: Sequence[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        names = [name.strip() for name in text.split(",")]
        unknown = [name for name in names if name not in known]
        if unknown:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are {', '.join(known)}")
        return names

    return parse


def _machine_lines(host: dict[str, object]) -> str:
    return ", ".join(f"{key} {value}" for key, value in host.items())


def _write(table: Table, host: dict[str, object]) -> None:
    (OUT / f"{table.name}.md").write_text(
        f"{table.markdown()}\nMeasured on {_machine_lines(host)}.\n", encoding="utf-8"
    )
    text = json.dumps({"machine": host, **table.json()}, indent=1, default=str)
    (OUT / f"{table.name}.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
