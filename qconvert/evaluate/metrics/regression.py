"""Errors of outputs that have the shape of their labels."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import fail
from ...graph import Array
from .classes import HINT, as_array


def squared_errors(output: Array, label: Any, where: str) -> Array:
    """Mean squared error of each row: `mean((output - label)²)`; every row weighs the same, whatever its length."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(np.square(errors(output, label, where)).mean(axis=1))


def absolute_errors(output: Array, label: Any, where: str) -> Array:
    """Mean absolute error of each row: `mean(|output - label|)`."""
    return np.asarray(np.abs(errors(output, label, where)).mean(axis=1))


def errors(output: Array, label: Any, where: str) -> Array:
    """`output - label` as float64 [rows, values a row]; axes of length 1 do not matter.

    Raises:
        QConvertError: D009 where the label is missing, is no number or has another shape.
    """
    target = as_array(label)
    if label is None or target.dtype.kind not in "iubf":
        text = "the sample has no label" if label is None else f"a label of a regression is a number, not {label!r:.40}"
        raise fail("D009", text, where, HINT)
    if [d for d in target.shape if d != 1] != [d for d in output.shape if d != 1] or output.size == 0:
        shapes = f"a label of shape {list(target.shape)} does not fit to an output of shape {list(output.shape)}"
        raise fail("D009", shapes, where, HINT)
    rows = output.shape[0] if output.ndim else 1
    with np.errstate(invalid="ignore"):
        difference = output.astype(np.float64).reshape(rows, -1) - target.astype(np.float64).reshape(rows, -1)
    return np.asarray(difference)
