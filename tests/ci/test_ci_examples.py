"""The examples in docs/examples and the pre-commit hook, executed in a repository that is laid out as they say."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from end_to_end_support import REPO, SAMPLES

EXAMPLES = REPO / "docs" / "examples"
RESNET = SAMPLES / "digits_resnet"
QUICK = "algorithms: none\nevaluation: {latency: false, layers: false}\n"


@dataclass(frozen=True)
class Repository:
    """A folder with the model, some of its samples, and the example recipe made quick."""

    root: Path
    environment: dict[str, str]

    def run(self, command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """A line of a CI script, as its runner executes it."""
        return subprocess.run(
            ["bash", "-e", "-c", command], cwd=self.root, env={**self.environment, **variables},
            capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip

    def worsen(self) -> None:
        """Change the recipe for the worse."""
        path = self.root / "recipe.yaml"
        path.write_text(path.read_text() + "calibration: {method: percentile, percentile: 70}\n")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """`qconvert` is the one of this checkout; `pip install qconvert` finds it installed."""
    root, tools = tmp_path / "repository", tmp_path / "tools"
    root.mkdir()
    tools.mkdir()
    shutil.copy(RESNET / "digits_resnet.onnx", root / "model.onnx")
    for part in ("calib", "eval"):
        for folder in sorted((RESNET / part).iterdir()):
            (root / "dataset" / part / folder.name).mkdir(parents=True)
            for image in sorted(folder.iterdir())[:4]:
                shutil.copy(image, root / "dataset" / part / folder.name)
    (root / "recipe.yaml").write_text((EXAMPLES / "recipe.yaml").read_text() + QUICK)
    for name, line in {"qconvert": f'exec {shlex.quote(sys.executable)} -m qconvert "$@"', "pip": '[ "$*" = "install qconvert" ]'}.items():  # fmt: skip
        (tools / name).write_text(f"#!/bin/sh\n{line}\n")
        (tools / name).chmod(0o755 | stat.S_IXUSR)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("QCONVERT", "GITHUB", "CI"))}
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"
    return Repository(root, {**kept, "PATH": path, "PYTHONPATH": str(REPO), "OMP_NUM_THREADS": "1"})


def baseline(repository: Repository) -> None:
    """What a person does once."""
    shutil.copy(EXAMPLES / "Makefile", repository.root)
    done = repository.run("make -s baseline")
    assert done.returncode == 0, done.stderr
    assert (repository.root / "baseline.json").exists()


def steps(job: dict[str, Any]) -> Iterator[str]:
    """The commands of a job of GitHub or GitLab."""
    yield from job.get("script", [])
    yield from (step["run"] for step in job.get("steps", []) if "run" in step)


def variables(job: dict[str, Any], root: Path) -> dict[str, str]:
    given = {**job.get("env", {}), **job.get("variables", {})}
    return {name: str(value).replace("$CI_PROJECT_DIR", str(root)) for name, value in given.items()}


@pytest.mark.parametrize("name", ["github-actions.yml", "gitlab-ci.yml"])
def test_ci(repository: Repository, name: str) -> None:
    """Each step passes; after a change for the worse the last one fails with exit code 5 and says by which gate."""
    baseline(repository)
    shutil.rmtree(repository.root / "out")
    content = yaml.safe_load((EXAMPLES / name).read_text(encoding="utf-8"))
    (job,) = content.get("jobs", content).values()
    given = variables(job, repository.root)
    if name.startswith("github"):
        given |= {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(repository.root / "summary.md")}
    commands = list(steps(job))
    assert len(commands) == 3
    for command in commands:
        done = repository.run(command, **given)
        assert done.returncode == 0, done.stderr
    out = repository.root / "out"
    assert sorted(p.name for p in out.iterdir()) == ["model.onnx", *(f"model.report.{e}" for e in ("html", "json", "md", "xml"))]  # fmt: skip
    assert list((repository.root / ".qconvert-cache").glob("v1/*/*"))
    repository.worsen()
    worse = repository.run(commands[-1], **given)
    assert worse.returncode == 5
    assert "were at hand" in worse.stdout  # the cache served the other range method
    if name.startswith("github"):
        assert "::error title=gate against.sqnr of x86-vnni::" in worse.stderr
        assert "`against.sqnr` | **failed**" in (repository.root / "summary.md").read_text()
    else:
        root = ElementTree.parse(repository.root / job["artifacts"]["reports"]["junit"]).getroot()
        failed = [case.get("name") for case in root.iter("testcase") if case.find("failure") is not None]
        assert "against.sqnr" in failed


def test_makefile(repository: Repository) -> None:
    if shutil.which("make") is None:
        pytest.skip("needs make")
    baseline(repository)
    root, model = repository.root, repository.root / "out" / "model.onnx"

    def make() -> str:
        done = repository.run("make")
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr

    assert "Nothing to be done" in make()
    image = sorted((root / "dataset" / "calib").rglob("*.png"))[1]
    shutil.copyfile(sorted((root / "dataset" / "eval").rglob("*.png"))[-1], image)
    assert "wrote out/model.onnx" in make()
    assert "Nothing to be done" in make()
    (root / "out" / "model.d").unlink()
    assert "nothing has changed" in make()
    assert "Nothing to be done" in make()
    content = model.read_bytes()
    (root / "model.onnx").touch()
    assert "nothing has changed" in make()
    assert "Nothing to be done" in make()
    sample = sorted((root / "dataset" / "calib").rglob("*.png"))[0]
    sample.unlink()
    assert "wrote out/model.onnx" in make()
    assert model.read_bytes() != content
    assert "Nothing to be done" in make()
    before = model.read_bytes()
    repository.worsen()
    worse = repository.run("make")
    assert worse.returncode == 2
    assert "Error 5" in worse.stderr
    assert model.read_bytes() == before
    assert "Error 5" in repository.run("make").stderr


def test_recipe_hook(repository: Repository) -> None:
    (hook,) = yaml.safe_load((REPO / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    wanted = re.compile(hook["files"])
    assert [n for n in ("recipe.yaml", "a/b.recipe.yml", "myrecipe.yaml", "recipe.yaml.txt") if wanted.search(n)] == [
        "recipe.yaml",
        "a/b.recipe.yml",
    ]
    (repository.root / "other.recipe.yaml").write_text("target: x86-vnni\n")
    good = repository.run(f"{hook['entry']} recipe.yaml other.recipe.yaml")
    assert (good.returncode, good.stdout.count(": fine, for ")) == (0, 2)
    (repository.root / "other.recipe.yaml").write_text("target: x86-vnn\n")
    bad = repository.run(f"{hook['entry']} recipe.yaml other.recipe.yaml")
    assert bad.returncode == 2
    assert "other.recipe.yaml:1:9" in bad.stderr


def test_every_example_is_listed() -> None:
    text = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert all(f"`{path.name}`" in text for path in EXAMPLES.iterdir() if path.name != "README.md")
