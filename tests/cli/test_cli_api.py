"""The Python face has what the commands have."""

from __future__ import annotations

from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any

import pytest

import qconvert
from qconvert.cli import compare, convert, evaluate

# Options that are keys of the recipe: `changes` in Python.
KEYS = {"samples", "seed", "mode", "bits", "block", "format_", "ranges", "write_ranges", "report", "set_"}
# Options about files and messages of a process; in Python the value that comes back says everything.
PROCESS = {"as_json", "quiet", "if_changed", "depfile"}


@pytest.mark.parametrize(
    ("command", "function", "process"),
    [
        (convert.convert, qconvert.convert, PROCESS),
        (evaluate.evaluate, qconvert.evaluate_models, PROCESS | {"report_dir"}),
        (compare.compare, qconvert.compare_models, PROCESS | {"report_dir"}),
    ],
)
def test_functions_take_what_commands_take(
    command: Callable[..., Any], function: Callable[..., Any], process: set[str]
) -> None:
    said = set(signature(command).parameters) - KEYS - process
    assert said == set(signature(function).parameters) - {"changes", "listener"}


def test_an_unknown_core_is_refused_from_python_too(tmp_path: Path) -> None:
    with pytest.raises(qconvert.QConvertError) as caught:
        qconvert.evaluate_models([tmp_path / "none.onnx"], on=["nothing"])
    assert "nothing" in str(caught.value)


OTHER: dict[str, Any] = {
    "model": Path("other.onnx"),
    "recipe": Path("other.yaml"),
    "target": ["arm-neon"],
    "data": Path("other"),
    "output": Path("other"),
    "samples": 3,
    "seed": 3,
    "mode": "dynamic",
    "bits": 4,
    "block": 32,
    "format_": "qoperator",
    "threads": 2,
    "evaluate": False,
    "ranges": Path("other.cache"),
    "write_ranges": "aimet",
    "report": ["html"],
    "report_dir": Path("reports"),
    "update_baseline": True,
    "depfile": Path("other.d"),
    "set_": ["seed=1"],
}
SAME_RESULT = {"if_changed", "cache", "as_json", "quiet"}


class _Known(Exception):
    pass


def known_by(monkeypatch: pytest.MonkeyPatch, **options: Any) -> str:
    """By what `convert --if-changed` recognizes a run."""

    def seen(state: Path, known: str, depfile: Path | None) -> None:
        raise _Known(known)

    monkeypatch.setattr(convert, "repeated", seen)
    with pytest.raises(_Known) as caught:
        convert.convert(**{"model": Path("model.onnx"), "if_changed": True, **options})
    return str(caught.value)


def test_a_run_with_another_option_is_another_run(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(OTHER) | SAME_RESULT == set(signature(convert.convert).parameters)
    keys = [known_by(monkeypatch), *(known_by(monkeypatch, **{name: value}) for name, value in OTHER.items())]
    assert len(set(keys)) == len(keys)
    same = {"cache": Path("cache"), "as_json": True, "quiet": True}
    assert known_by(monkeypatch, **same) == keys[0]


def test_a_run_is_known_by_where_its_files_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    files = {"recipe": Path("r.yaml"), "data": Path("data"), "output": Path("out")}
    monkeypatch.chdir(tmp_path)
    here = known_by(monkeypatch, **files)
    (tmp_path / "below").mkdir()
    monkeypatch.chdir(tmp_path / "below")
    assert known_by(monkeypatch, **files) != here
    above = {name: Path("..") / path for name, path in files.items()}
    assert known_by(monkeypatch, model=Path("../model.onnx"), **above) == here
