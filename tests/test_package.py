"""The wheel: installed into a clean environment it converts from any folder, with the presets that it brings."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from end_to_end_support import REPO, Place

from qconvert import __version__


def built(folder: Path) -> Path:
    """The wheel, built from the checkout; without a download where the build backend is installed."""
    offline = ["--no-build-isolation"] if importlib.util.find_spec("hatchling") else []
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        *offline,
        "--wheel-dir",
        str(folder),
        str(REPO),
    ]
    subprocess.run(command, check=True, timeout=300)
    (wheel,) = folder.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if importlib.util.find_spec("pip") is None:
        pytest.skip("needs pip")
    return built(tmp_path_factory.mktemp("wheel"))


def test_presets_have_one_source(wheel: Path) -> None:
    presets = {path.name: path.read_bytes() for path in (REPO / "recipes").glob("*.yaml")}
    with zipfile.ZipFile(wheel) as archive:
        packed = {
            Path(name).name: archive.read(name)
            for name in archive.namelist()
            if name.startswith("qconvert/recipes/") and not name.endswith("/")
        }
        names = archive.namelist()
    assert packed == presets
    assert not (REPO / "qconvert" / "recipes").exists()
    assert not [name for name in names if name.startswith(("tests/", "sample_models/", "recipes/"))]


def test_everything_is_packed(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if name.startswith("qconvert/")}
    wanted = {
        str(path.relative_to(REPO))
        for path in (REPO / "qconvert").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
    }
    assert wanted <= packed


def test_converts_from_another_folder(wheel: Path, place: Place, tmp_path: Path) -> None:
    """A new environment with nothing but the wheel; its dependencies are those of this one, lent by a .pth file."""
    home = tmp_path / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True, timeout=120)
    scripts = home / ("Scripts" if os.name == "nt" else "bin")
    python = (
        scripts / Path(sys.executable).name if (scripts / Path(sys.executable).name).exists() else scripts / "python"
    )
    site = Path(
        subprocess.run(
            [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    )
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "--python",
            str(python),
            "install",
            "--quiet",
            "--no-deps",
            "--no-index",
            str(wheel),
        ],
        check=True,
        timeout=120,
    )
    (site / "lent.pth").write_text("\n".join({sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}) + "\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}

    def run(*command: object) -> str:
        return subprocess.run(
            list(map(str, command)),
            cwd=elsewhere,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        ).stdout

    where = run(
        python,
        "-c",
        "import qconvert, qconvert.pipeline.words as w; print(qconvert.__file__, w.presets_folder(), sep='\\n')",
    ).splitlines()
    assert Path(where[0]).is_relative_to(site)
    assert Path(where[1]) == site / "qconvert" / "recipes"
    qconvert = scripts / "qconvert"
    assert run(qconvert, "--version") == f"qconvert {__version__}\n"
    out = run(
        qconvert, "convert", place.model, "-t", "x86-vnni", "-d", place.data, "-o", "out", "--json", "--no-evaluate"
    )
    assert json.loads(out)["status"] == "done"
    assert sorted(p.name for p in (elsewhere / "out").iterdir()) == ["model.onnx", "model.report.json"]
    (elsewhere / "mine.yaml").write_text("extends: arm-neon\n")
    assert run(qconvert, "recipe", "check", "mine.yaml") == "mine.yaml: fine, for arm-neon\n"
