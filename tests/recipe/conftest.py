"""A vocabulary, preset folder and shorthands for the tests of recipes."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import Field

from qconvert.data.settings import Settings
from qconvert.errors import Diagnostic, QConvertError
from qconvert.recipe import Recipe, Vocabulary, load_recipe

PRESETS = Path(__file__).parents[2] / "recipes"


class Rounding(Settings):
    """Settings of a toy algorithm."""

    block: Annotated[int, Field(gt=0)] = Field(128, description="columns a block; ranges by {methods}")
    damp: float = Field(0.01, description="damping")
    axes: tuple[int, ...] = Field((), description="axes")


class Plain(Settings):
    """A toy algorithm without settings."""


@pytest.fixture
def vocabulary() -> Vocabulary:
    return Vocabulary(
        targets=("x86-vnni", "arm-neon", "tensorrt", "tflite-micro"),
        formats=("qdq", "qoperator", "tflite"),
        methods=("mse", "min-max", "percentile", "entropy"),
        metrics=("top1", "map"),
        find_algorithms=lambda: {"rounding": Rounding, "bias-correction": Plain},
        reports=("html", "md"),
    )


@pytest.fixture
def presets() -> Path:
    return PRESETS


@pytest.fixture
def load(tmp_path: Path, vocabulary: Vocabulary, presets: Path) -> Callable[[str], Recipe]:
    """Loads a recipe given as text."""

    def load(text: str) -> Recipe:
        path = tmp_path / "r.yaml"
        path.write_text(text, encoding="utf-8")
        return load_recipe(path, vocabulary, presets)

    return load


@pytest.fixture
def mistakes(load: Callable[[str], Recipe], tmp_path: Path) -> Callable[[str], list[str]]:
    """What is wrong with a recipe given as text, one line a mistake: `CODE file:line:column message | hint`."""

    def mistakes(text: str) -> list[str]:
        with pytest.raises(QConvertError) as caught:
            load(text)
        assert caught.value.exit_code == 2
        return [line(d, tmp_path) for d in caught.value.diagnostics]

    return mistakes


def line(d: Diagnostic, folder: Path) -> str:
    where = (d.where or "-").replace(f"{folder}/", "")
    return f"{d.code} {where} {d.message}" + (f" | {d.hint}" if d.hint else "")
