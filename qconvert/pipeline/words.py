"""The names that recipes may use, and where the presets are."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from ..calibrate.methods import RANGE_METHODS
from ..data.settings import Settings
from ..emit import EMITTERS
from ..evaluate.metrics import METRICS
from ..recipe import Vocabulary
from ..report import FORMATS
from ..targets import TARGETS


def vocabulary() -> Vocabulary:
    """Every name that a recipe may use."""
    return Vocabulary(
        tuple(TARGETS),
        tuple(dict.fromkeys((*EMITTERS, *(name for target in TARGETS.values() for name in target.artefact.formats)))),
        tuple(RANGE_METHODS),
        tuple(METRICS),
        _algorithms,
        tuple(FORMATS),
    )


def _algorithms() -> dict[str, type[Settings]]:
    from ..optimize import ALGORITHMS, AutoSteps

    return {**{name: row.settings for name, row in ALGORITHMS.items()}, "auto": AutoSteps}


def presets_folder() -> Path:
    """Folder of the targets' presets: inside the installed package, or beside it in a checkout."""
    packaged = Path(str(files("qconvert") / "recipes"))
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "recipes"
