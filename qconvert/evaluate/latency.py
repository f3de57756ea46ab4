"""Latency of the result against FP32 on this host."""

from __future__ import annotations

from collections.abc import Callable

from ..runtime import Feed, Session
from ..runtime.timing import clock_for, host_name, time_interleaved
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
    runs = {"float": _bare(float_session, feed), "result": _bare(session, feed)}
    found = time_interleaved(runs, rounds, clock_for(threads), budget=budget)
    low, ratio, high = found.ratio("float", "result")
    return Latency(
        float_ms=found.median("float") * 1e3,
        ms=found.median("result") * 1e3,
        float_p95_ms=found.p95("float") * 1e3,
        p95_ms=found.p95("result") * 1e3,
        ratio=ratio,
        ratio_quartiles=(low, high),
        rounds=found.rounds,
        threads=threads,
        clock=found.clock,
        host=host_name(),
        on_target=on_target,
    )


def _bare(session: Session, feed: Feed) -> Callable[[], object]:
    raw, inputs = session.raw(), dict(feed)
    return lambda: raw.run(None, inputs)
