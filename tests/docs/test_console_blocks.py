"""Every console block of README and cookbook runs, section by section, on models and data that stand in for the user's."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from docs_stand_ins import STAND_INS
from end_to_end_support import REPO

PAGES = ("README.md", "docs/guide.md", "docs/cookbook.md")
# What is not run here, and why; everything else is.
ELSEWHERE = {
    "make test": "is what runs this test",
    "pip install": "is what has set this environment up",
}
_FENCE = re.compile(r"```(\w+)\n(.*?)```", re.DOTALL)


@dataclass(frozen=True)
class Section:
    """A section with recipes and commands.

    Attributes:
        files: recipes that it shows, by the name in their first line.
        commands: in order.
    """

    page: str
    title: str
    files: tuple[tuple[str, str], ...]
    commands: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page}:{self.title}"


def sections() -> list[Section]:
    """All sections with console blocks."""
    found = []
    for page in PAGES:
        for part in re.split(r"^## ", (REPO / page).read_text(encoding="utf-8"), flags=re.MULTILINE):
            blocks = _FENCE.findall(part)
            files = tuple(
                (match[1], text)
                for kind, text in blocks
                if kind == "yaml" and (match := re.match(r"# (\S+\.yaml)\n", text))
            )
            commands = tuple(line for kind, text in blocks if kind == "console" for line in _commands(text))
            if commands:
                found.append(Section(page, part.splitlines()[0], files, commands))
    return found


def _commands(block: str) -> list[str]:
    """Lines behind `$`, with their continuations, without comments."""
    joined = block.replace("\\\n", " ")
    return [re.sub(r"\s{2,}# .*$", "", line[2:]).strip() for line in joined.splitlines() if line.startswith("$ ")]


@pytest.mark.parametrize("section", sections(), ids=str)
def test_section(section: Section, tmp_path: Path) -> None:
    text = "\n".join((*section.commands, *(content for _, content in section.files)))
    for name, make in STAND_INS.items():
        if re.search(rf"(?<![\w./]){re.escape(name)}", text):
            make(tmp_path / name)
    for name, content in section.files:
        (tmp_path / name).write_text(content, encoding="utf-8")
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(REPO),
        "COLUMNS": "120",
    }
    for command in section.commands:
        if not command.startswith(tuple(ELSEWHERE)):
            _run(command, tmp_path, environment)


def _run(command: str, folder: Path, environment: dict[str, str]) -> None:
    if command.startswith("make "):  # its targets set an environment up first; what they run in it is run here
        lines = subprocess.run(
            ["make", "-n", command.split()[1]], cwd=REPO, capture_output=True, text=True, check=True
        ).stdout.splitlines()
        command = next(line for line in reversed(lines) if "/bin/qconvert " in line)
        command = re.sub(r"\S*/bin/qconvert", f"cd {REPO}; qconvert", command).replace(" out/", f" {folder}/out/")
    done = subprocess.run(
        ["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"$ {command}\n{done.stdout[-1500:]}\n{done.stderr[-1500:]}"


@pytest.mark.parametrize("command", ELSEWHERE)
def test_what_is_not_run_is_there(command: str) -> None:
    assert any(c.startswith(command) for section in sections() for c in section.commands)
