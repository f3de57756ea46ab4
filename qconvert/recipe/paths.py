"""Paths in values that do not come from the recipe's file."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_FILES = {"calibration.read", "gates.against", "gates.against.report"}
_FUNCTIONS = {"dataset.prepare", "evaluation.metric"}
_FOUND = {"dataset.labels"}  # also a name or a word, or a file of the dataset
_ENTRY = re.compile(r"^targets\.[^.]+\.")  # a target's own settings


def seen_from(folder: Path, key: str, value: Any) -> Any:
    """A value whose paths start in the working directory, with paths as the recipe in `folder` would have them."""
    if isinstance(value, Mapping):
        return {name: seen_from(folder, f"{key}.{name}", inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(seen_from(folder, key, inner) for inner in value)
    key = _ENTRY.sub("", key)
    file, colon, function = value.rpartition(":") if isinstance(value, str) and ".py:" in value else (value, "", "")
    moves = key in _FILES or (key in _FUNCTIONS and colon) or (key in _FOUND and Path(str(file)).is_file())
    if not moves or not isinstance(file, str) or Path(file).is_absolute():
        return value
    return Path(os.path.relpath(file, folder)).as_posix() + colon + function
