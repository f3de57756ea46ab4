"""Writing to the side and renaming into place."""

from __future__ import annotations

import hashlib
import os
import signal
import threading
from pathlib import Path

import pytest

from qconvert.pipeline.storage.staging import destination, publish, sha256, staged


@pytest.mark.parametrize(
    ("output", "folder", "artefact", "report"),
    [
        ("out/m.onnx", "out", "m.onnx", "m.report.json"),
        ("m.int8.onnx", ".", "m.int8.onnx", "m.int8.report.json"),
        ("out", "out", "model.onnx", "model.report.json"),
        ("out.v2/", "out.v2", "model.onnx", "model.report.json"),
    ],
)
def test_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str, folder: str, artefact: str, report: str
) -> None:
    monkeypatch.chdir(tmp_path)
    place = destination(Path(output), ".onnx", ())
    assert (place.folder, place.artefact.name, place.report.name) == (Path(folder), artefact, report)
    assert place.rejected.name == artefact.replace(".onnx", ".rejected.onnx")


def test_folders_are_made_and_removed_with_what_is_left(tmp_path: Path) -> None:
    def fail_half_way() -> None:
        with staged(tmp_path / "a" / "b") as folder:
            (folder / "half").write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()
    assert not list(tmp_path.iterdir())


def test_what_was_published_stays(tmp_path: Path) -> None:
    with staged(tmp_path / "a" / "b") as folder:
        (folder / "x").write_text("new")
        publish([(folder / "x", tmp_path / "a" / "b" / "y")], [tmp_path / "none"])
    assert [p.name for p in (tmp_path / "a" / "b").iterdir()] == ["y"]


def test_others_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    with pytest.raises(OSError, match="Input"), staged(tmp_path):
        raise OSError(5, "Input/output error")
    assert [p.name for p in tmp_path.iterdir()] == ["mine"]


def test_signals_wait_for_the_renames(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in "ab":
        (tmp_path / name).write_text(name)
    original = os.replace

    def replace_and_signal(source: Path, target: Path) -> None:
        original(source, target)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(os, "replace", replace_and_signal)
    with pytest.raises(KeyboardInterrupt):
        publish([(tmp_path / name, tmp_path / f"{name}.done") for name in "ab"])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.done", "b.done"]


def test_from_another_thread(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    thread = threading.Thread(target=publish, args=([(tmp_path / "a", tmp_path / "b")],))
    thread.start()
    thread.join()
    assert (tmp_path / "b").exists()


def test_digest(tmp_path: Path) -> None:
    for name, size in (("a", 3), ("b", 2_500_000)):
        (tmp_path / name).write_bytes(bytes(size))
    assert sha256(tmp_path / "b") == hashlib.sha256(bytes(2_500_000)).hexdigest()
    assert sha256(tmp_path / "a", tmp_path / "b") == hashlib.sha256(bytes(2_500_003)).hexdigest()
