"""Shared by all tests: this folder is on the path, so that tests in sub-folders import its helpers."""

import os
from pathlib import Path

import pytest
from end_to_end_support import Cli, Place, make_place

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # as qconvert does, for tests that import onnxruntime before it


@pytest.fixture(autouse=True)
def not_on_github(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands behave as on a desk, also where these tests themselves are a step of GitHub Actions."""
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run a command in this process: `cli("plan", model, "-t", "x86-vnni")`."""
    return Cli(capsys)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A good model with data, and nothing else; temporary files and logs go into the same folder."""
    root = tmp_path / "place"
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr("tempfile.tempdir", None)
    return make_place(root)
