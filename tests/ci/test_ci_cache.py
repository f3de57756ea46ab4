"""The cache: what is taken over is what would be computed, and nothing that happens to its files does harm."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from end_to_end_support import SAMPLES, Cli, Place, Ran
from hypothesis import given, settings
from hypothesis import strategies as st

from qconvert.calibrate import Sketcher, collect, watchable
from qconvert.canonicalize import canonicalize
from qconvert.data import Dataset, open_dataset
from qconvert.errors import Diagnostic, Severity
from qconvert.graph import load
from qconvert.pipeline.drafting.statistics import Statistics, _read, _written
from qconvert.pipeline.storage.cache import Folder, Memory, cache_key

LABELS = ["--set", "evaluation.latency=false", "--set", "evaluation.layers=false"]


class Bench:
    """Conversions of one model, with and without a cache."""

    def __init__(self, place: Place, cli: Cli) -> None:
        self.place, self.cli, self.folder, self.count = place, cli, place.root / "cache", 0

    def run(self, *extra: object, cache: bool = True) -> tuple[Ran, str]:
        """One conversion: what it said, and the hash of its result."""
        self.count += 1
        output = self.place.root / f"out{self.count}" / "m.onnx"
        option = ["--cache", self.folder] if cache else []
        ran = self.cli(*self.place.convert(*LABELS, *option, *extra, "--json", output=output))
        assert ran.code == 0, ran.err
        return ran, hashlib.sha256(output.read_bytes()).hexdigest()

    @property
    def entries(self) -> list[Path]:
        return sorted(self.folder.glob("v1/*/*"))


@pytest.fixture
def bench(place: Place, cli: Cli) -> Bench:
    return Bench(place, cli)


def taken(ran: Ran) -> bool:
    """Whether the statistics came from the cache."""
    return "O101" in {d["code"] for d in ran.json["diagnostics"]}


@pytest.mark.parametrize("extra", [["-t", "x86-vnni"], ["-t", "tensorrt"], ["--set", "calibration.method=percentile"]])
def test_a_second_run_reads_no_data_and_gives_the_same(bench: Bench, extra: list[str]) -> None:
    """The same target, another one, another range method; with the bytes and figures of a run without a cache."""
    plain, wanted = bench.run(*extra, cache=False)
    first, _ = bench.run()
    assert not taken(first)
    second, found = bench.run(*extra)
    assert taken(second)
    assert found == wanted
    for part in ("measurements", "calibration", "plan", "histograms"):
        assert second.json[part] == plain.json[part]
    assert len(bench.entries) == 2


@pytest.mark.parametrize("change", ["data", "preprocessing", "seed", "model"])
def test_what_is_computed_anew(bench: Bench, change: str) -> None:
    bench.run()
    extra: list[str] = []
    if change == "data":
        np.savez(bench.place.data / "part000.npz", x=np.ones((8, 3, 8, 8), np.float32) / 3)
    elif change == "model":
        content = bytearray(bench.place.model.read_bytes())
        at = content.index(np.float32(load(bench.place.model).weights["w1"].numpy().flat[0]).tobytes())
        content[at : at + 4] = np.float32(0.25).tobytes()
        bench.place.model.write_bytes(content)
    else:
        extra = ["--set", {"preprocessing": "dataset.preprocess.scale=0.5", "seed": "dataset.samples=7"}[change]]
    _, wanted = bench.run(*extra, cache=False)
    ran, found = bench.run(*extra)
    assert not taken(ran)
    assert found == wanted


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-min(40, len(content) // 4)] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [flip, lambda path: path.write_bytes(b""), lambda path: os.truncate(path, 100)])
def test_damaged_entries_are_made_again(bench: Bench, damage: object) -> None:
    _, wanted = bench.run()
    for path in bench.entries:
        damage(path)  # type: ignore[operator]
    ran, found = bench.run()
    assert found == wanted
    assert not taken(ran)
    assert [d["message"] for d in ran.json["diagnostics"] if d["code"] == "O100"] == [
        "an entry of the cache is damaged; it is made again"
    ] * 2
    assert taken(bench.run()[0])


def test_a_cache_that_cannot_be_written_to(bench: Bench) -> None:
    bench.folder.mkdir()
    (bench.folder / "v1").write_text("a file in the way")
    ran, _ = bench.run()
    assert any(d["message"].startswith("the cache cannot be written to: ") for d in ran.json["diagnostics"])
    assert not taken(ran)


def test_outputs_too_large_or_odd_are_computed_each_time(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qconvert.pipeline.storage.cached_outputs.MOST_BYTES", 100)
    _, wanted = bench.run(cache=False)
    for _ in range(2):
        assert bench.run()[1] == wanted
    assert len(bench.entries) == 1


# --- algorithms ----------------------------------------------------------------------------------------------------------

AUTO = ["--set", "algorithms=auto"]


def shared(ran: Ran) -> int:
    """How many steps of the algorithms were taken over."""
    found = [d["message"] for d in ran.json["diagnostics"] if d["code"] == "O102"]
    return int(found[0].split()[0]) if found else 0


def steps(ran: Ran) -> list[dict[str, object]]:
    return [{key: value for key, value in step.items() if key != "seconds"} for step in ran.json["algorithms"]]


@pytest.mark.parametrize(
    ("extra", "count"),
    [
        (["-t", "x86-vnni"], 4),
        (["-t", "arm-neon"], 4),  # other prices, the same numbers
        (
            ["-t", "x86-vnni", "--set", "algorithms=[equalize, refine, ranges]"],
            0,
        ),  # asked for by name: kept in any case
        (["-t", "tensorrt"], 0),
        (["-t", "x86-vnni", "--set", "calibration.percentile=99"], 0),
        (["-t", "x86-vnni", "--set", "calibration.method=percentile"], 0),
        (["-t", "x86-vnni", "--set", "format=qoperator"], 0),
        (["-t", "x86-vnni", "--set", "dataset.samples=7"], 0),
        (["-t", "x86-vnni", "--threads", "2"], 0),
    ],
)
def test_steps_are_shared_where_the_numbers_are_the_same(bench: Bench, extra: list[str], count: int) -> None:
    """With the bytes and figures of a run without a cache, each time."""
    plain, wanted = bench.run(*AUTO, *extra, cache=False)
    bench.run(*AUTO)
    second, found = bench.run(*AUTO, *extra)
    assert found == wanted
    assert steps(second) == steps(plain)
    assert shared(second) == count
    for part in ("measurements", "calibration", "plan", "histograms", "prediction"):
        assert second.json.get(part) == plain.json.get(part)
    assert shared(plain) == 0


def test_steps_of_another_version_are_run_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.run(*AUTO)
    assert shared(bench.run(*AUTO)[0]) == 4
    monkeypatch.setattr("qconvert.pipeline.storage.cache.__version__", "0.0.0")
    assert shared(bench.run(*AUTO)[0]) == 0


def test_damaged_steps_are_run_again(bench: Bench) -> None:
    _, wanted = bench.run(*AUTO)
    for path in bench.entries:
        flip(path)
    again, found = bench.run(*AUTO)
    assert found == wanted
    assert shared(again) == 0
    assert {d["message"] for d in again.json["diagnostics"] if d["code"] == "O100"} == {
        "an entry of the cache is damaged; it is made again"
    }
    third, found = bench.run(*AUTO)
    assert (found, shared(third)) == (wanted, 4)


def test_steps_too_large_are_run_each_time(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qconvert.optimize.stored.MOST_BYTES", 0)
    _, wanted = bench.run(*AUTO)
    ran, found = bench.run(*AUTO)
    assert (found, shared(ran)) == (wanted, 2)  # those that came to nothing


# --- commands ------------------------------------------------------------------------------------------------------------


def test_info_and_clear(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QCONVERT_CACHE", str(bench.folder))
    monkeypatch.setenv("QCONVERT_CACHE_LIMIT", "1.5M")
    bench.run(cache=False)  # named by the environment
    size = sum(path.stat().st_size for path in bench.entries)
    fields = {"folder": str(bench.folder), "entries": 2, "bytes": size, "limit": 1572864}
    assert bench.cli("cache", "info", "--json").json == fields
    assert bench.cli("cache", "info").out.startswith(f"{bench.folder}: 2 files, ")
    mine = bench.folder / "notes.txt"
    mine.write_text("not an entry")
    ran = bench.cli("cache", "clear")
    assert (ran.code, ran.out.startswith(f"{bench.folder}: removed 2 files, ")) == (0, True)
    assert bench.entries == []
    assert mine.exists()
    assert bench.cli("cache", "info", "--json").json["entries"] == 0


def test_wrong_use(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("QCONVERT_CACHE", raising=False)
    ran = cli("cache", "info")
    assert (ran.code, "QCONVERT_CACHE" in ran.err) == (2, True)
    (tmp_path / "file").write_text("")
    assert cli("cache", "clear", "--cache", tmp_path / "file").code == 7
    monkeypatch.setenv("QCONVERT_CACHE_LIMIT", "lots")
    ran = cli("cache", "info", "--cache", tmp_path)
    assert (ran.code, "not a size: lots" in ran.err) == (2, True)


# --- the folder ----------------------------------------------------------------------------------------------------------


def test_what_was_not_used_for_longest_goes(tmp_path: Path) -> None:
    cache, keys = Folder(tmp_path, limit=5000), [cache_key("test", n) for n in range(8)]
    for n, key in enumerate(keys[:4]):
        cache.put(key, b"x" * 1000)
        os.utime(next(tmp_path.glob(f"v1/*/{key}")), (n, n))
    assert cache.get(keys[0]) is not None  # a use: now the youngest
    cache.put(keys[4], b"x" * 1000)
    assert [cache.get(key) is not None for key in keys[:5]] == [True, False, True, True, True]
    cache.put(keys[5], b"x" * 9000)
    assert cache.get(keys[5]) == b"x" * 9000  # larger than the limit: it stays for this once, alone
    assert cache.usage().entries == 1
    assert cache.notes() == ()


def test_runs_in_parallel(tmp_path: Path) -> None:
    """Writers, readers and removal at once: what is read is whole or absent."""
    contents = {cache_key("test", n): os.urandom(20_000) for n in range(12)}

    def work(seed: int) -> int:
        cache, hits = Folder(tmp_path, limit=120_000), 0
        for key in np.random.RandomState(seed).permutation([*contents, *contents]).tolist():
            found = cache.get(key)
            assert found in (None, contents[key])
            hits += found is not None
            cache.put(key, contents[key])
        assert cache.notes() == ()
        return hits

    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(work, range(6))) > 0
    assert not list(tmp_path.rglob(".new-*"))
    assert Folder(tmp_path).usage().bytes <= 140_000


# --- statistics ----------------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.floats(width=32), max_size=30), min_size=1, max_size=4), st.integers(0, 3))
def test_statistics_survive_as_bytes(tensors: list[list[float]], steps: int) -> None:
    sketches = {}
    for n, values in enumerate(tensors):
        sketcher = Sketcher()
        with np.errstate(invalid="ignore"):
            sketcher.add(np.array(values, np.float32))
        sketches[f"层/{n}"] = sketcher.result()
    widths = np.arange(steps * len(tensors), dtype=float).reshape(steps, len(tensors))
    note = Diagnostic("D101", "odd", None, None, Severity.WARNING)
    before = Statistics(sketches, tuple(range(steps)), widths, (note,))
    after = _read(_written(before))
    assert after is not None
    assert (list(after.sketches), after.steps, after.notes) == (list(sketches), before.steps, (note,))
    assert np.array_equal(after.widths, widths)
    for name, sketch in sketches.items():
        found = after.sketches[name]
        assert np.array_equal(
            [found.low, found.high, found.size], [sketch.low, sketch.high, sketch.size], equal_nan=True
        )
        assert np.array_equal(found.counts, sketch.counts)
        few = sketch.levels if sketch.levels is not None and sketch.levels.size else None
        assert (found.levels is None) == (few is None)
        assert few is None or np.array_equal(found.levels, few, equal_nan=True)
    assert after.convergence == before.convergence


@pytest.fixture(scope="module")
def transformer() -> tuple[object, Dataset]:
    folder = SAMPLES / "digits_transformer"
    graph = canonicalize(load(folder / "digits_transformer.onnx")).graph
    return graph, open_dataset(folder, {name: graph.type_of(name) for name in graph.feeds})


def test_statistics_do_not_depend_on_what_else_is_watched(transformer: tuple[object, Dataset]) -> None:
    """The runtime fuses attention and normalization where nobody looks inside, which changes the last bits."""
    graph, dataset = transformer
    names = watchable(graph)  # type: ignore[arg-type]

    def extremes(watched: list[str]) -> dict[str, tuple[float, float]]:
        sketchers = {name: Sketcher() for name in watched}
        collect(graph, dataset.calibration.take(4), {n: (s,) for n, s in sketchers.items()})  # type: ignore[arg-type]
        return {name: (s.result().low, s.result().high) for name, s in sketchers.items()}

    together = extremes(list(names))
    for name in (names[5], names[len(names) // 2], names[-1]):
        assert extremes([name])[name] == together[name]


def test_memory_is_a_cache_too() -> None:
    cache = Memory()
    assert cache.get("a") is None
    cache.put("a", b"1")
    assert (cache.get("a"), cache.notes()) == (b"1", ())


def test_memory_forgets_what_was_not_used_for_longest() -> None:
    cache = Memory(limit=4)
    for name in "abc":
        cache.put(name, b"1")
    assert cache.get("a") == b"1"
    cache.put("d", b"12")
    assert {name for name in "abcd" if cache.get(name)} == {"a", "c", "d"}
