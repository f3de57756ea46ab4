"""Where the time of a run goes: the runtime's own profile, added up by operator."""

from __future__ import annotations

import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from ..errors import fail
from .session import Feed, Options, Session

MIN_RUNS = 3
_KERNEL = "_kernel_time"


@dataclass(frozen=True, slots=True)
class Spent:
    """Nodes of one operator and their microseconds in one run."""

    count: int
    us: float


def profile(model: Path, options: Options, feed: Feed, runs: int = 15, budget: float = 3.0) -> dict[str, Spent]:
    """Operators of the graph that the runtime executes, with their time in one run.

    Args:
        runs: profiled runs, of which the first is dropped.
        budget: seconds after which no further run is begun; three are always made.

    Raises:
        QConvertError: M006 or M009 where the model does not run, O002 where the profile could not be written to its end.
    """
    with tempfile.TemporaryDirectory(prefix="qconvert-") as folder:
        session = Session(model, replace(options, profile=str(Path(folder) / "run")))
        deadline, done = time.perf_counter() + budget, 0
        while done < MIN_RUNS or (done < runs and time.perf_counter() < deadline):
            session.run(feed)
            done += 1
        try:
            events = json.loads(session.end_profile().read_text(encoding="utf-8"))
        except ValueError as error:  # the runtime says nothing when it cannot write on
            hint = "free some space, raise the limit on the size of files, or choose another folder with TMPDIR"
            raise fail(
                "O002", "the runtime's profile is cut off, the disk is full", Path(folder).parent, hint
            ) from error
    return by_operator(events, done)


def by_operator(events: Iterable[Mapping[str, Any]], runs: int) -> dict[str, Spent]:
    """Kernel times of a profile: the mean of the middle half of each node's runs, added up by operator."""
    durations: dict[tuple[str, str], list[float]] = defaultdict(list)
    for event in events:
        name, op = event.get("name", ""), event.get("args", {}).get("op_name", "")
        if event.get("cat") == "Node" and op and name.endswith(_KERNEL):
            durations[op, name].append(float(event["dur"]))
    totals: dict[str, Spent] = {}
    for (op, _), times in durations.items():
        calls = max(round(len(times) / runs), 1)  # more than one inside a loop
        before = totals.get(op, Spent(0, 0.0))
        totals[op] = Spent(before.count + 1, before.us + calls * _middle(times[calls:] or times))
    return totals


def _middle(times: list[float]) -> float:
    """Mean without the lowest and the highest quarter: robust, and finer than the profile's whole microseconds."""
    cut = len(times) // 4
    return fmean(sorted(times)[cut : len(times) - cut])
