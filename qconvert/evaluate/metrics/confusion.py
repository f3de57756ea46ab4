"""Macro averages from counts of true positives, false positives and false negatives.

Averages run over the classes that occur among labels or predictions, each with the same weight; a quotient 0/0 counts as 0
(as `sklearn.metrics.f1_score(..., average="macro", zero_division=0)` does).
"""

from __future__ import annotations

import numpy as np

from ...graph import Array


def counts(chosen: Array, true: Array) -> Array:
    """[3, classes]: true positives, false positives, false negatives. Predictions below 0 are missed labels only."""
    chosen, true = chosen.reshape(-1), true.reshape(-1)
    classes = int(max(chosen.max(initial=0), true.max(initial=0))) + 1
    right = chosen == true
    parts = (true[right], chosen[~right & (chosen >= 0)], true[~right])
    return np.stack([np.bincount(part, minlength=classes) for part in parts])


def added(a: Array, b: Array) -> Array:
    """Sum of two tables of counts, as wide as the wider one."""
    width = max(a.shape[1], b.shape[1])
    wide = [np.pad(table, ((0, 0), (0, width - table.shape[1]))) for table in (a, b)]
    return np.asarray(wide[0] + wide[1])


def precision(table: Array) -> float:
    """Mean over classes of TP / (TP + FP)."""
    return _macro(table, table[0], table[0] + table[1])


def recall(table: Array) -> float:
    """Mean over classes of TP / (TP + FN)."""
    return _macro(table, table[0], table[0] + table[2])


def f1(table: Array) -> float:
    """Mean over classes of 2 TP / (2 TP + FP + FN)."""
    return _macro(table, 2 * table[0], 2 * table[0] + table[1] + table[2])


def _macro(table: Array, top: Array, bottom: Array) -> float:
    present = table.sum(axis=0) > 0
    if not present.any():
        return 0.0
    quotients = np.divide(top, bottom, out=np.zeros(top.shape), where=bottom > 0)
    return float(quotients[present].mean())
