"""Latency of the result against FP32 on this host."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ..runtime import Feed, Session
from ..runtime.timing import Run, clock_for, host_name, time_interleaved
from .model import Latency


def measure_latency(
    float_session: Session,
    session: Session,
    feed: Feed,
    *,
    on_target: bool,
    threads: int = 1,
    rounds: int = 15,
    budget: float = 60.0,
) -> Latency:
    """Time two sessions on the same inputs, interleaved.

    Args:
        on_target: whether this host is what the target means; goes into the result as it is.
        threads: with which both sessions were opened; decides the clock.
        budget: seconds after which no further round is begun; three rounds are always made.

    Raises:
        QConvertError: M009 where one of them does not run.
    """
    for one in (float_session, session):
        one.run(feed)  # errors of the runtime as diagnostics, before the bare runs
    runs = {"float": bare(float_session, feed), "result": bare(session, feed)}
    found = measure_latencies(runs, "float", on_target=on_target, threads=threads, rounds=rounds, budget=budget)
    return found["result"]


def measure_latencies(
    runs: Mapping[str, Run],
    reference: str,
    *,
    on_target: bool = True,
    threads: int = 1,
    rounds: int = 15,
    budget: float = 60.0,
) -> dict[str, Latency]:
    """Time any number of models on the same inputs, all interleaved, each against one of them; see `measure_latency`."""
    found = time_interleaved(runs, rounds, clock_for(threads), budget=budget)

    def latency(name: str) -> Latency:
        low, ratio, high = found.ratio(reference, name)
        return Latency(
            float_ms=found.median(reference) * 1e3,
            ms=found.median(name) * 1e3,
            float_p95_ms=found.p95(reference) * 1e3,
            p95_ms=found.p95(name) * 1e3,
            ratio=ratio,
            ratio_quartiles=(low, high),
            rounds=found.rounds,
            threads=threads,
            clock=found.clock,
            host=host_name(),
            on_target=on_target,
        )

    return {name: latency(name) for name in runs}


def speed_over(now: Latency | None, speedup: float | None, host: str) -> float | None:
    """Speed over an earlier run's, each measured against FP32 in its own run: bare times of two runs cannot be compared.

    Args:
        speedup, host: of the earlier run, where it was timed.

    Returns:
        None where one of them was not timed, or on another host.
    """
    return now.ratio / speedup if now is not None and speedup and now.host == host else None


def bare(session: Session, feed: Feed) -> Callable[[], object]:
    """A run of a session without our overhead."""
    raw, inputs = session.raw(), dict(feed)
    return lambda: raw.run(None, inputs)
