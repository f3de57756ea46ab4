"""Where results go: never onto an input, never half, an older result stays until a good one replaces it."""

from __future__ import annotations

import errno
import json
import os
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import onnx
import pytest
from end_to_end_support import Cli, Place, hashes, strict_json

from qconvert.graph import io, load
from qconvert.pipeline.events import Stages
from qconvert.runtime import opened

QUICK = ("--no-evaluate", "-q")
NO_TIMING = ("--set", "evaluation.latency=false")


def files(place: Place) -> list[str]:
    return sorted(p.name for p in place.output.parent.iterdir()) if place.output.parent.exists() else []


def left(place: Place) -> list[str]:
    """Staging folders beside the results, and anything in the folder for temporary files."""
    return place.leftovers() + [str(p) for p in Path(tempfile.gettempdir()).iterdir()]


# --- good runs ---------------------------------------------------------------------------------------------------------


def test_file_and_report(cli: Cli, place: Place) -> None:
    before = hashes(place.root)
    ran = cli(*place.convert(*NO_TIMING))
    assert ran.code == 0
    assert "x86-vnni: done" in ran.out
    assert "load: " in ran.err
    assert files(place) == ["m.onnx", "m.report.json"]
    assert {name: hashes(place.root)[name] for name in before} == before
    assert left(place) == []
    record = strict_json((place.output.parent / "m.report.json").read_text())
    assert record["status"] == "done"
    assert record["outputs"][0]["sha256"] == hashes(place.output.parent)["m.onnx"]


def test_folder_is_made(cli: Cli, place: Place) -> None:
    deep = place.root / "a" / "b.int8"
    assert cli(*place.convert(*QUICK, output=deep)).code == 0
    assert sorted(p.name for p in deep.iterdir()) == ["model.onnx", "model.report.json"]


@pytest.mark.parametrize("name", ["out.txt", "out.tfl"])
def test_a_name_that_ends_as_no_model_does_is_refused(cli: Cli, place: Place, name: str) -> None:
    ran = cli("convert", place.model, "-t", "x86-vnni", "-d", place.data, "-o", place.root / name, "-q")
    assert (ran.code, "error[R009]" in ran.err) == (2, True)
    assert f"name the output `{Path(name).stem}.onnx`, or `" in ran.err
    assert not (place.root / name).exists()


@pytest.mark.parametrize("name", ["out.txt", "out.onnx"])
def test_what_ends_with_a_slash_is_a_folder(cli: Cli, place: Place, name: str) -> None:
    ran = cli(*place.convert(*QUICK, "--if-changed", output=f"{place.root / name}/"))
    assert ran.code == 0, ran.err
    assert {p.name for p in (place.root / name).iterdir()} == {"model.onnx", "model.report.json", "model.state.json"}
    again = cli(*place.convert(*QUICK, "--if-changed", "--json", output=f"{place.root / name}/"))
    assert (again.code, json.loads(again.out)["status"], again.err) == (0, "done", "")


def test_a_folder_may_end_in_a_version_and_one_that_exists_in_anything(cli: Cli, place: Place) -> None:
    (place.root / "old.txt").mkdir()
    for name in ("run.int8", "old.txt"):
        ran = cli("convert", place.model, "-t", "x86-vnni", "-d", place.data, "-o", place.root / name, *QUICK)
        assert ran.code == 0
        assert (place.root / name / "model.onnx").exists()


def test_older_result_is_replaced_and_a_stale_rejected_one_removed(cli: Cli, place: Place) -> None:
    place.output.parent.mkdir()
    for name in ("m.onnx", "m.report.json", "m.rejected.onnx", "other.onnx"):
        (place.output.parent / name).write_text("old")
    assert cli(*place.convert(*QUICK)).code == 0
    assert files(place) == ["m.onnx", "m.report.json", "other.onnx"]
    onnx.checker.check_model(str(place.output))
    assert (place.output.parent / "other.onnx").read_text() == "old"


def test_output_that_is_a_link_replaces_the_link(cli: Cli, place: Place) -> None:
    place.output.parent.mkdir()
    kept = place.root / "kept.onnx"
    kept.write_text("mine")
    place.output.symlink_to(kept)
    assert cli(*place.convert(*QUICK)).code == 0
    assert (kept.read_text(), place.output.is_symlink()) == ("mine", False)


# --- gates -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gate", ["gates.sqnr=200", "gates.metric_drop=1%"])
@pytest.mark.parametrize("how", [(), ("-q",), ("--json",)])
def test_failed_gate(cli: Cli, place: Place, gate: str, how: tuple[str, ...]) -> None:
    place.output.parent.mkdir()
    place.output.write_text("older")
    ran = cli(*place.convert(*NO_TIMING, "--set", gate, *how))
    assert ran.code == 5
    assert place.output.read_text() == "older"
    assert files(place) == ["m.onnx", "m.rejected.onnx", "m.report.json"]
    onnx.checker.check_model(str(place.output.with_name("m.rejected.onnx")))
    report = json.loads((place.output.parent / "m.report.json").read_text())
    assert report["status"] == "gates failed"
    assert [p["message"] for p in report["diagnostics"] if p["code"] == "G102"] == [
        "files of an earlier run stay as they were: m.onnx"
    ]
    assert report["outputs"][0]["path"].endswith("m.rejected.onnx")
    if how == ("--json",):
        assert ran.json["status"] == "gates failed"
    else:
        assert ("FAILED" in ran.out) == (not how)
    assert ("gates failed: " in ran.err) == bool(how)
    assert left(place) == []


# --- bad places --------------------------------------------------------------------------------------------------------


def _linked(place: Place) -> Path:
    (place.root / "link.onnx").symlink_to(place.model)
    return place.root / "link.onnx"


def _directory(place: Place, name: str) -> Path:
    (place.output.parent / name).mkdir(parents=True)
    return place.output


def _rejected_is_input(place: Place) -> Path:
    place.model.rename(place.model.with_name("m.rejected.onnx"))
    place.model.symlink_to(place.model.with_name("m.rejected.onnx"))
    return place.model.with_name("m.onnx")


BAD_PLACES: dict[str, tuple[Callable[[Place], Path], str, str]] = {
    "the input": (lambda p: p.model, "O003", "replace the input"),
    "the input by another way": (lambda p: p.data / ".." / "in" / "model.onnx", "O003", "replace the input"),
    "a link to the input": (_linked, "O003", "replace the input"),
    "the input, if a gate fails": (_rejected_is_input, "O003", "replace the input"),
    "folder of the input": (lambda p: p.model.parent, "O003", "replace the input"),
    "inside the dataset": (lambda p: p.data / "new" / "m.onnx", "O003", "dataset"),
    "the dataset": (lambda p: p.data, "O003", "dataset"),
    "below a file": (lambda p: p.model / "deep" / "m.onnx", "O001", "a file is in the way"),
    "a file without extension": (lambda p: Path("/dev/null"), "O001", "a file is in the way"),
    "a folder named like the model": (lambda p: _directory(p, "m.onnx"), "O001", "a folder of this name"),
    "a folder named like the report": (lambda p: _directory(p, "m.report.json"), "O001", "a folder of this name"),
    "a name too long": (lambda p: p.root / ("a" * 300 + ".onnx"), "O001", "too long"),
    "another target's extension": (lambda p: p.root / "m.tflite", "R009", "m.onnx"),
}


@pytest.mark.parametrize("case", BAD_PLACES)
def test_bad_place(cli: Cli, place: Place, case: str) -> None:
    choose, code, says = BAD_PLACES[case]
    output = choose(place)
    before = hashes(place.root)
    ran = cli(*place.convert("-q", output=output))
    assert (ran.code, ran.out) == (2 if code == "R009" else 7, ""), ran
    assert ran.err.count("error[") == 1
    assert ran.err.startswith(f"error[{code}]: ")
    assert says in ran.err
    assert hashes(place.root) == before
    assert left(place) == []


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder that nobody can write to")
def test_read_only_folder_is_found_before_the_data_is_read(cli: Cli, place: Place) -> None:
    ran = cli(*place.convert(output=Path("/proc/m.onnx")))
    assert (ran.code, ran.out) == (7, "")
    assert "error[O001]: /proc: " in ran.err
    assert "load" not in ran.err


# --- full disks --------------------------------------------------------------------------------------------------------


@contextmanager
def full(monkeypatch: pytest.MonkeyPatch, method: str, number: int) -> Iterator[None]:
    def refuse(self: Path, *arguments: object, **named: object) -> int:
        raise OSError(number, os.strerror(number), str(self))

    with monkeypatch.context() as patch:
        patch.setattr(Path, method, refuse)
        yield


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("method", ["write_bytes", "write_text"])
def test_disk_full(cli: Cli, place: Place, monkeypatch: pytest.MonkeyPatch, method: str, number: int) -> None:
    assert cli(*place.convert(*QUICK)).code == 0
    before = hashes(place.root)
    with full(monkeypatch, method, number):
        ran = cli(*place.convert(*QUICK, "--json", "--seed", "3"))
    code = "O001" if number == errno.EIO else "O002"
    assert ran.code == 7
    assert [d["code"] for d in ran.json["diagnostics"]] == [code]
    assert ran.err.count("error[") == 1
    assert hashes(place.root) == before
    assert left(place) == []


def test_folders_made_in_vain_are_removed(cli: Cli, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    with full(monkeypatch, "write_bytes", errno.ENOSPC):
        assert cli(*place.convert(*QUICK, output=place.root / "new" / "deep" / "m.onnx")).code == 7
    assert not (place.root / "new").exists()


# --- signals -----------------------------------------------------------------------------------------------------------

SIGNALS = {signal.SIGINT: 130, signal.SIGTERM: 143}
STAGES = [
    "load",
    "plan",
    "data",
    "check rewrites",
    "calibrate",
    "emit",
    "write",
    "prove",
    "evaluate",
    "latency",
    "layers",
]


@contextmanager
def stopped_in(monkeypatch: pytest.MonkeyPatch, stage: str, number: int) -> Iterator[None]:
    """The signal comes while the stage runs; a second one comes while it is being cleaned up."""
    original = Stages.stage

    @contextmanager
    def stop(self: Stages, name: str) -> Iterator[Callable[[int, int], None]]:
        with original(self, name) as progress:
            if name == stage:
                try:
                    signal.raise_signal(number)
                finally:
                    signal.raise_signal(signal.SIGINT)
            yield progress

    with monkeypatch.context() as patch:
        patch.setattr(Stages, "stage", stop)
        yield


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("stage", STAGES)
def test_stopped_in_each_stage(
    cli: Cli, place: Place, monkeypatch: pytest.MonkeyPatch, stage: str, number: signal.Signals
) -> None:
    place.output.parent.mkdir()
    place.output.write_text("older")
    before, handlers = hashes(place.root), [signal.getsignal(n) for n in SIGNALS]
    with stopped_in(monkeypatch, stage, number):
        ran = cli(*place.convert("--json", "--set", "evaluation.rounds=1"))
    assert ran.code == SIGNALS[number], f"{stage} did not run: {ran.err}"
    assert [d["code"] for d in ran.json["diagnostics"]] == ["X002"]
    assert ran.err.count("error[") == 1
    assert hashes(place.root) == before
    assert left(place) == []
    assert [signal.getsignal(n) for n in SIGNALS] == handlers


def test_stopped_in_the_algorithms(cli: Cli, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    before = hashes(place.root)
    with stopped_in(monkeypatch, "optimize", signal.SIGINT):
        assert cli(*place.convert(*QUICK, "--set", "algorithms=auto")).code == 130
    assert hashes(place.root) == before
    assert left(place) == []


def test_stages_of_this_test_are_all_there_are(cli: Cli, place: Place) -> None:
    ran = cli(*place.convert("--json", "--set", "evaluation.rounds=1"))
    assert set(STAGES) <= {stage["name"] for stage in ran.json["stages"]}


def test_signal_between_the_renames_waits(cli: Cli, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    original = os.replace

    def replace_and_signal(source: Path, target: Path) -> None:
        original(source, target)
        signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", replace_and_signal)
        ran = cli(*place.convert(*QUICK))
    assert ran.code == 143
    assert files(place) == ["m.onnx", "m.report.json"]
    assert left(place) == []


# --- weights beside the model ------------------------------------------------------------------------------------------


def runs(path: Path) -> bool:
    with opened(load(path)) as session:
        return bool(np.isfinite(session.run({"x": np.ones((1, 3, 8, 8), np.float32)})["y"]).all())


def test_large_models_have_their_weights_beside_them(cli: Cli, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(io, "EXTERNAL_ABOVE", 1000)
    ran = cli(*place.convert(*NO_TIMING, "--json"))
    assert ran.code == 0, ran.err
    assert files(place) == ["m.onnx", "m.onnx.data", "m.report.json"]
    assert [Path(o["path"]).name for o in ran.json["outputs"]] == ["m.onnx", "m.onnx.data"]
    assert runs(place.output)
    before = hashes(place.output.parent)
    assert cli(*place.convert(*NO_TIMING, "-q")).code == 0
    assert {name: hashes(place.output.parent)[name] for name in ("m.onnx", "m.onnx.data")} == {
        name: before[name] for name in ("m.onnx", "m.onnx.data")
    }


def test_rejected_weights_do_not_replace_older_ones(cli: Cli, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(io, "EXTERNAL_ABOVE", 1000)
    assert cli(*place.convert(*QUICK)).code == 0
    before = hashes(place.output.parent)
    assert cli(*place.convert(*QUICK, "--set", "gates.sqnr=200", "--seed", "1", "--samples", "4")).code == 5
    after = hashes(place.output.parent)
    assert [name for name in after if name not in before] == ["m.rejected.onnx", "m.rejected.onnx.data"]
    assert {name: after[name] for name in ("m.onnx", "m.onnx.data")} == {
        name: before[name] for name in ("m.onnx", "m.onnx.data")
    }
    assert runs(place.output)
    assert runs(place.output.with_name("m.rejected.onnx"))
    assert cli(*place.convert(*QUICK)).code == 0
    assert files(place) == ["m.onnx", "m.onnx.data", "m.report.json"]
