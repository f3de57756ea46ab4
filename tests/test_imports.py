"""Imports run one way, as `pyproject.toml` says, and packages have what they say they have."""

from importlib import import_module
from pkgutil import walk_packages

import pytest
from end_to_end_support import REPO

import qconvert

PACKAGES = ("qconvert", *(m.name for m in walk_packages(qconvert.__path__, "qconvert.") if m.ispkg))


def test_layers(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    cli = pytest.importorskip("importlinter.cli")
    monkeypatch.chdir(REPO)
    assert cli.lint_imports(no_cache=True) == 0, capsys.readouterr().out


@pytest.mark.parametrize("name", PACKAGES)
def test_names_that_a_package_exports_exist(name: str) -> None:
    package = import_module(name)
    exported = getattr(package, "__all__", [])
    assert [each for each in exported if not hasattr(package, each)] == []
    assert len(set(exported)) == len(exported)
