"""Imports run one way, as `pyproject.toml` says."""

import pytest
from end_to_end_support import REPO


def test_layers(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    cli = pytest.importorskip("importlinter.cli")
    monkeypatch.chdir(REPO)
    assert cli.lint_imports(no_cache=True) == 0, capsys.readouterr().out
