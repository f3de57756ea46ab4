"""How an output is read: as numbers, as scores of classes, or as symbols that are equal or not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..graph import Array


def arrays(outputs: Mapping[str, Any]) -> dict[str, Array]:
    """The outputs that are tensors; sequences, maps and empty optionals are left out."""
    return {name: value for name, value in outputs.items() if isinstance(value, np.ndarray)}


def is_float(array: Array) -> bool:
    """Whether the values are real numbers, those of ml_dtypes ("bfloat16") included."""
    return array.dtype.kind == "f" or (array.dtype.kind == "V" and "float" in array.dtype.name)


def judged(outputs: Mapping[str, Any]) -> tuple[str, Array] | None:
    """The output that metrics and the arg-max speak of: the first float one, without any the first integer one."""
    found = arrays(outputs)
    for wanted in (is_float, is_whole):
        name = next((n for n, a in found.items() if wanted(a)), None)
        if name is not None:
            return name, found[name]
    return None


def is_whole(array: Array) -> bool:
    """Whether the values are integers or booleans."""
    return array.dtype.kind in "iub"


def class_scores(array: Array) -> Array | None:
    """Scores [rows, classes] of an output [B, C] or [B, C, 1, 1], with at least two classes; None for any other."""
    if not is_float(array) or array.ndim < 2 or array.shape[1] < 2 or any(d != 1 for d in array.shape[2:]):
        return None
    return array.reshape(array.shape[:2])


def first_largest(scores: Array) -> Array:
    """Index of the largest score along the last axis, the first among equals; NaN never wins against a number."""
    return np.asarray(np.where(np.isnan(scores), -np.inf, scores).argmax(axis=-1))
