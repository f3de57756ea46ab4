"""Timing: how often and in which order things run, with a clock of our own; real sessions only for the form of the result."""

from __future__ import annotations

import gc
import statistics
import time

import numpy as np
import pytest
from evaluate_models import session_of

from qconvert.errors import QConvertError
from qconvert.evaluate import measure_latency
from qconvert.runtime import timing
from qconvert.runtime.timing import clock_for, host_name, time_interleaved


class World:
    """A clock that only runs while something runs."""

    def __init__(self, monkeypatch):
        self.now, self.log = 0.0, []
        monkeypatch.setattr(time, "thread_time", lambda: self.now)
        monkeypatch.setattr(time, "perf_counter", lambda: self.now)

    def run(self, name, seconds):
        def run():
            self.log.append(name)
            self.now += seconds() if callable(seconds) else seconds

        return run


@pytest.fixture
def world(monkeypatch):
    return World(monkeypatch)


def order(log):
    """The log without repetitions in a row."""
    return "".join(a for a, b in zip(log, [*log[1:], None], strict=True) if a != b)


def test_rounds_are_interleaved_and_reversed(world):
    found = time_interleaved({"a": world.run("a", 0.004), "b": world.run("b", 0.001)}, rounds=4)
    assert order(world.log).endswith("ababa")  # ab | ba | ab | ba: neighbours of two rounds run together
    assert found.rounds == 4
    assert found.runs == {"a": 6, "b": 25}
    assert found.median("a") == pytest.approx(0.004)
    assert found.ratio("a", "b") == pytest.approx((4, 4, 4))
    assert found.clock == "cpu"


def test_each_round_discards_one_run(world):
    time_interleaved({"a": world.run("a", 0.02)}, rounds=5)
    trials = 2  # one to warm up, one long enough to be seen
    assert len(world.log) == trials + 5 * 2


def test_short_runs_are_counted_by_longer_trials(world):
    found = time_interleaved({"a": world.run("a", 1e-5)}, rounds=3, target=0.02)
    assert found.runs["a"] == pytest.approx(2000, rel=0.01)
    assert found.median("a") == pytest.approx(1e-5)


def test_a_clock_that_stands_still_ends(world, monkeypatch):
    monkeypatch.setattr(timing, "MAX_RUNS", 50)
    found = time_interleaved({"a": world.run("a", 0), "b": world.run("b", 0)}, rounds=3)
    assert found.ratio("a", "b") == (1, 1, 1)


def test_long_runs_keep_to_the_budget(world):
    found = time_interleaved({"a": world.run("a", 5), "b": world.run("b", 2)}, rounds=15, budget=60)
    assert found.runs == {"a": 1, "b": 1}
    assert world.now <= 60
    assert found.rounds == 6  # 14 s of trials, then 7 s a round


def test_three_rounds_are_always_made(world):
    assert time_interleaved({"a": world.run("a", 100)}, rounds=15, budget=10).rounds == 3
    assert time_interleaved({"a": world.run("a", 100)}, rounds=2, budget=10).rounds == 2


def test_quantiles_over_rounds(world):
    slow = iter([0.05] * 2 + [v for i in range(1, 22) for v in (0.05, 0.1 * i)])
    found = time_interleaved({"a": world.run("a", lambda: next(slow)), "b": world.run("b", 0.1)}, rounds=21, budget=1e9)
    assert found.median("a") == pytest.approx(statistics.median(found.seconds["a"])) == pytest.approx(1.1)
    assert found.p95("a") == pytest.approx(2.0)
    assert found.ratio("a", "b") == pytest.approx((6, 11, 16))


def test_garbage_is_not_collected_meanwhile():
    seen = []
    time_interleaved({"a": lambda: seen.append(gc.isenabled())}, rounds=1, target=1e-6)
    assert not any(seen)
    assert gc.isenabled()
    with pytest.raises(ZeroDivisionError):
        time_interleaved({"a": lambda: 1 / 0})
    assert gc.isenabled()


def test_clock_for():
    assert clock_for(4) == "wall"
    assert clock_for(1) in ("cpu", "wall")


def test_host_name(tmp_path):
    info = tmp_path / "cpuinfo"
    info.write_text("processor : 0\nmodel name\t: Some   CPU @ 2GHz\nflags : x\n\nprocessor : 1\nmodel name\t: Other\n")
    assert host_name(info) == "Some CPU @ 2GHz"
    info.write_text("processor : 0\nBogoMIPS : 1\n\nHardware\t: Board 3000\n")
    assert host_name(info) == "Board 3000"
    assert host_name(tmp_path / "gone")
    assert host_name()


def gemm(size):
    rows = ",".join(["0.01"] * size)
    return session_of(
        '<ir_version: 8, opset_import: ["": 17]>\n'
        f"g (float[1, {size}] x) => (float[1, {size}] y) <float[1, {size}] w = {{{rows}}}>\n"
        "{ t = Transpose<perm = [1, 0]>(w)\n m = MatMul(t, w)\n a = Mul(m, m)\n y = MatMul(x, a) }"
    )


def test_latency_of_sessions():
    session, feed = gemm(64), {"x": np.ones((1, 64), np.float32)}
    found = measure_latency(session, session, feed, on_target=False, rounds=3, budget=5)
    assert (found.rounds, found.threads, found.on_target) == (3, 1, False)
    assert found.clock in ("cpu", "wall")
    assert 0 < found.ms <= found.p95_ms
    assert 0 < found.float_ms <= found.float_p95_ms
    assert 0 < found.ratio_quartiles[0] <= found.ratio <= found.ratio_quartiles[1]
    assert measure_latency(session, session, feed, on_target=True, threads=2, rounds=1).clock == "wall"


def test_a_model_that_does_not_run():
    with pytest.raises(QConvertError) as caught:
        measure_latency(gemm(4), gemm(5), {"x": np.ones((1, 4), np.float32)}, on_target=True)
    assert caught.value.diagnostics[0].code == "M009"


def test_a_larger_model_against_a_smaller_one():
    large, small = gemm(256), gemm(128)
    feeds = {"large": {"x": np.ones((1, 256), np.float32)}, "small": {"x": np.ones((1, 128), np.float32)}}
    found = time_interleaved(
        {"large": lambda: large.run(feeds["large"]), "small": lambda: small.run(feeds["small"])}, rounds=5, budget=5
    )
    low, ratio, high = found.ratio("large", "small")
    assert 0 < low <= ratio <= high < float("inf")
    assert found.runs["large"] >= 1
    assert len(found.seconds["large"]) == len(found.seconds["small"]) == 5
