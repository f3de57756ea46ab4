"""`--if-changed` and `--depfile`: what counts as a change, and what make and ninja understand."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from end_to_end_support import REPO, Cli, Place, Ran, conv_model, hashes

from qconvert.pipeline.storage import fresh
from qconvert.pipeline.storage.fresh import depfile

METRIC = "def score(stream):\n    return float(sum(1 for _ in stream))\n"
RECIPE = "extends: parent.yaml\nplacement: everywhere\nalgorithms: none\nevaluation: {metric: 'metric.py:score', latency: false}\n"


class Project:
    """A model with external data, a recipe with a parent and a metric, data, and the command that converts."""

    def __init__(self, place: Place, cli: Cli) -> None:
        self.place, self.cli, self.root = place, cli, place.root
        onnx.save(
            conv_model(), place.model, save_as_external_data=True, location="model.data", size_threshold=0,
        )  # fmt: skip
        for name, text in {"recipe.yaml": RECIPE, "parent.yaml": "extends: x86-vnni\n", "metric.py": METRIC}.items():
            (self.root / name).write_text(text)

    def run(self, *extra: object) -> Ran:
        model, recipe, out = self.place.model, self.root / "recipe.yaml", self.place.output
        return self.cli("convert", model, "-r", recipe, "-d", self.place.data, "-o", out, "--if-changed", *extra)

    def touch(self, path: Path) -> None:
        """Another time of change, the same content."""
        os.utime(path, ns=(0, path.stat().st_mtime_ns - 10**10))


@pytest.fixture
def project(place: Place, cli: Cli) -> Project:
    return Project(place, cli)


def idle(ran: Ran, output: Path) -> bool:
    """Whether a run said that there was nothing to do."""
    assert ran.code == 0
    return ran.err == f"nothing has changed: {output} is up to date\n" and ran.out == ""


def test_nothing_is_done_twice(project: Project) -> None:
    output = project.place.output
    assert not idle(project.run(), output)
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in output.parent.glob("m.[or]*")}
    assert sorted(path.name for path in before) == ["m.onnx", "m.report.json"]
    assert idle(project.run(), output)
    for path in (project.place.model, project.root / "metric.py", *project.place.data.iterdir(), output):
        project.touch(path)
    assert idle(project.run(), output)
    assert {path: path.read_bytes() for path in before} == {path: content for path, (_, content) in before.items()}
    project.place = Place(project.root / ".." / project.root.name)  # another way to say the same
    assert idle(project.run(), output)
    assert project.run("-q") == Ran(0, "", "")
    assert project.run("--json").json["outputs"][0]["path"] == str(output)


def grow(path: Path) -> Callable[[Project], None]:
    """Another content."""
    return lambda project: (project.root / path).write_bytes((project.root / path).read_bytes() + b"\n")


def add_sample(project: Project) -> None:
    np.savez(project.place.data / "part009.npz", x=np.ones((1, 3, 8, 8), np.float32))


def swap_weights(project: Project) -> None:
    """External data of the same size, changed at the same moment: only the content tells."""
    path = project.root / "in" / "model.data"
    content, times = bytearray(path.read_bytes()), path.stat()
    content[2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


CHANGES: dict[str, Callable[[Project], None]] = {
    "recipe": grow(Path("recipe.yaml")),
    "parent": grow(Path("parent.yaml")),
    "function": grow(Path("metric.py")),
    "external data": swap_weights,
    "a sample": lambda project: shutil.copy(
        project.place.data / "part000.npz", project.place.data / "part001.npz"
    ) and None,
    "another sample": add_sample,
    "a sample less": lambda project: (project.place.data / "part001.npz").unlink(),
    "output gone": lambda project: project.place.output.unlink(),
    "output damaged": grow(Path("out/m.onnx")),
    "report gone": lambda project: (project.root / "out" / "m.report.json").unlink(),
    "state damaged": lambda project: (project.root / "out" / "m.state.json").write_text("{") and None,
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_what_counts_as_a_change(project: Project, change: str) -> None:
    assert project.run("--no-evaluate").code == 0
    CHANGES[change](project)
    assert not idle(project.run("--no-evaluate"), project.place.output)
    assert idle(project.run("--no-evaluate"), project.place.output)


def test_options_and_versions_count(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    output = project.place.output
    assert project.run("--no-evaluate").code == 0
    for option in (["--samples", "4"], ["--set", "dataset.seed=3"], ["-t", "arm-neon"], ["--report", "md"]):
        assert not idle(project.run("--no-evaluate", *option), output)
    monkeypatch.setattr(fresh, "__version__", "99")
    assert not idle(project.run("--no-evaluate", "--report", "md"), output)


def test_a_failed_gate_is_never_up_to_date(project: Project) -> None:
    for _ in range(2):
        assert project.run("--set", "gates.size_ratio=99").code == 5
    assert project.run().code == 0
    assert project.run("--set", "gates.size_ratio=99").code == 5
    assert not idle(project.run(), project.place.output)


def test_an_input_that_changes_during_the_run(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    (project.root / "metric.py").write_text(
        METRIC.replace("return", f"open({str(project.root / 'parent.yaml')!r}, 'a').write('#')\n    return")
    )
    assert project.run().code == 0
    assert not idle(project.run(), project.place.output)


def test_nothing_heavy_is_loaded(project: Project) -> None:
    assert project.run("--no-evaluate").code == 0
    place = project.place
    command = ["convert", place.model, "-r", project.root / "recipe.yaml", "-d", place.data, "-o", place.output]
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "qconvert", *map(str, command), "--if-changed", "--no-evaluate"],
        capture_output=True,
        text=True,
        check=True,
        cwd=REPO,
    )
    loaded = {line.split("|")[-1].strip().split(".")[0] for line in done.stderr.splitlines() if "|" in line}
    assert "nothing has changed" in done.stderr
    assert not loaded & {"numpy", "onnx", "onnxruntime", "yaml", "jinja2", "PIL"}


# --- depfile -------------------------------------------------------------------------------------------------------------


def test_the_depfile_lists_everything(project: Project) -> None:
    path = project.root / "out" / "m.d"
    assert project.run("--depfile", path).code == 0
    text = path.read_text()
    root, place = project.root, project.place
    wanted = {
        place.model, place.model.with_name("model.data"), root / "recipe.yaml", root / "parent.yaml", root / "metric.py",
        REPO / "recipes" / "x86-vnni.yaml", *place.data.iterdir(), place.data,
    }  # fmt: skip
    rule = text.partition("\n" + str(place.model) + ":")[0]
    assert rule.startswith(f"{place.output}: ")
    assert set(rule.partition(": ")[2].replace("\\\n", "").split()) == set(map(str, wanted))
    path.unlink()
    assert idle(project.run("--depfile", path), place.output)
    assert path.read_text() == text


def test_no_depfile_of_a_failed_run(project: Project) -> None:
    path = project.root / "m.d"
    assert project.run("--depfile", path, "--set", "gates.size_ratio=99").code == 5
    assert not path.exists()


NASTY = [
    "plain",
    "with space",
    "hash#1",
    "dollar$x$$",
    "a:b",
    "back\\slash",
    "back\\ space",
    "层",
    "br[1]",
    "p%q",
    "(p)",
]
ODD = [
    "tab\there",
    "back\\#x",
    "q'uo\"te",
    "amp&",
    "a=b",
]  # ninja takes them for several files, and works each time


@pytest.fixture
def nasty(tmp_path: Path) -> Path:
    folder = tmp_path / "build"
    folder.mkdir()
    for name in (*NASTY, *ODD, "out file"):
        (folder / name).write_text("")
        os.utime(folder / name, (10**9, 10**9))
    os.utime(folder / "out file", (10**9 + 10, 10**9 + 10))
    return folder


def test_make_understands_every_name(nasty: Path) -> None:
    if shutil.which("make") is None:
        pytest.skip("needs make")
    (nasty / "rule.d").write_text(depfile("out file", [*NASTY, *ODD]))
    (nasty / "Makefile").write_text("all: out\\ file\ninclude rule.d\nout\\ file:\n\t@false\n")
    command = ["make", "-rR", "-s", "-q", "-C", str(nasty), "all"]

    def asked() -> tuple[int, str]:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.returncode, done.stderr

    assert asked() == (0, "")
    for name in (*NASTY, *ODD):
        os.utime(nasty / name, (10**9 + 20, 10**9 + 20))
        assert asked() == (1, ""), name
        os.utime(nasty / name, (10**9, 10**9))
    assert asked() == (0, "")
    (nasty / "plain").unlink()
    assert asked() == (1, "")  # a file that is gone means work, not an error


def test_ninja_understands_every_name(nasty: Path) -> None:
    if shutil.which("ninja") is None:
        pytest.skip("needs ninja")
    (nasty / "rule.d").write_text(depfile("out file", NASTY))
    (nasty / "build.ninja").write_text('rule r\n  command = touch "out file"\n  depfile = rule.d\nbuild out$ file: r\n')

    def asked() -> str:
        return subprocess.run(["ninja", "-C", str(nasty)], capture_output=True, text=True, check=True).stdout

    (nasty / "out file").unlink()
    assert "no work to do" not in asked()
    assert "no work to do" in asked()
    for name in NASTY:
        later = time.time() + 60
        os.utime(nasty / name, (later, later))
        assert "no work to do" not in asked(), name
        os.utime(nasty / name, (10**9, 10**9))
        asked()
    assert "no work to do" in asked()


def test_a_depfile_in_an_impossible_place(project: Project) -> None:
    """Found before anything is computed, as for `-o`."""
    place = project.place
    (project.root / "afile").write_text("")
    (project.root / "folder").mkdir()
    for path, code in {"afile/m.d": "O001", "folder": "O001", place.data / "m.d": "O003", place.model: "O003"}.items():
        ran = project.run("--depfile", project.root / path)
        assert (ran.code, ran.err.startswith(f"error[{code}]: ")) == (7, True), ran.err
    assert not place.output.exists()


def test_names_that_no_depfile_can_hold(project: Project) -> None:
    (project.place.data / "line\nbreak.npz").write_bytes((project.place.data / "part000.npz").read_bytes())
    before = hashes(project.root)
    ran = project.run("--depfile", project.root / "m.d")
    assert ran.code == 7
    assert "line break" in ran.err
    assert hashes(project.root) == before
    assert project.run().code == 0
