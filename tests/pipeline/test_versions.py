"""Results are taken over only where everything that computes them is the same."""

import re
import tomllib

from end_to_end_support import REPO

from qconvert.pipeline.storage.versions import COMPUTES, INTERPRETERS


def test_every_dependency_counts_in_results_or_only_shows_them() -> None:
    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    shows = {"jinja2", "typer", "pydantic", "pyyaml", "rich", "threadpoolctl"}
    assert {*COMPUTES, *shows} == {re.split(r"[><=]", one)[0] for one in project["dependencies"]}
    assert set(INTERPRETERS) == {re.split(r"[><=]", one)[0] for one in project["optional-dependencies"]["tflite"]}
