"""Labels that are class numbers, beside the scores that are judged by them.

A label fits scores in one of two ways. Scores with one value a label are those of a yes-or-no question. Otherwise one axis
counts the classes: the axis without which the scores have the shape of the labels (axes of length 1 aside). Where several axes
would do it is the last one, or, for images (rank 4 and more), axis 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from ...errors import QConvertError, fail
from ...graph import Array
from ..outputs import first_largest, is_float

Scores: TypeAlias = Callable[[Array, Any, str], Array]  # output, label, sample id -> one score a row
HINT = "name a fitting metric in `evaluation.metric`, or set `dataset.labels: none`"


@dataclass(frozen=True, slots=True)
class Labelled:
    """Scores and labels of one sample, brought to the same form.

    Attributes:
        scores: [rows, labels a row, classes]; a single class stands for a yes-or-no score.
        labels: class numbers [rows, labels a row].
    """

    scores: Array
    labels: Array

    @property
    def single(self) -> bool:
        """Whether a score is a yes-or-no answer."""
        return bool(self.scores.shape[-1] == 1)


def labelled(output: Array, label: Any, where: str) -> Labelled:
    """Fit class labels to an output of scores.

    Raises:
        QConvertError: D009 where they do not fit: not whole numbers, other shape, no such class.
    """
    labels = whole_labels(label, where)
    axis = class_axis(output, labels)
    if axis is None:
        shape = f"labels of shape {list(labels.shape)} do not fit to an output of shape {list(output.shape)}"
        raise fail("D009", shape, where, HINT)
    scores = output[..., np.newaxis] if axis == output.ndim else np.moveaxis(output, axis, -1)
    rows = output.shape[0] if output.ndim and axis != 0 else 1
    found = Labelled(scores.reshape(rows, -1, scores.shape[-1]).astype(np.float64), labels.reshape(rows, -1))
    _check_range(found, where)
    return found


def class_axis(output: Array, labels: Array) -> int | None:
    """The axis that counts classes; the output's rank where there is one value a label; None if the labels do not fit."""
    wanted = _core(labels.shape)
    if _core(output.shape) == wanted and output.size == labels.size:
        return output.ndim
    axes = [a for a in range(output.ndim) if _core(output.shape[:a] + output.shape[a + 1 :]) == wanted]
    if output.ndim >= 4 and 1 in axes:
        return 1
    return axes[-1] if axes else None


def _core(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(d for d in shape if d != 1)


def as_array(label: Any) -> Array:
    """A label as an array; one that is no table of numbers becomes a single object."""
    try:
        return np.asarray(label)
    except ValueError:  # lists of different lengths
        whole = np.empty((), object)
        whole[()] = label
        return whole


def whole_labels(label: Any, where: str) -> Array:
    """Labels as int64.

    Raises:
        QConvertError: D009 for a label that is missing, or no whole number.
    """
    array = as_array(label)
    if label is None or array.size == 0:
        raise fail("D009", "the sample has no label", where, "label every sample")
    if array.dtype.kind == "f" and np.array_equal(array, np.floor(array)):
        array = array.astype(np.int64)
    if array.dtype.kind not in "iub":
        raise fail("D009", f"a class label is a whole number, not {_shown(array)}", where, HINT)
    return array.astype(np.int64)


def _shown(array: Array) -> str:
    return f"{array.reshape(-1).tolist()[0]!r:.40}"


def _check_range(found: Labelled, where: str) -> None:
    classes = 2 if found.single else found.scores.shape[-1]
    wrong = found.labels[(found.labels < 0) | (found.labels >= classes)]
    if wrong.size:
        what = (
            "a yes-or-no output has the classes 0 and 1"
            if found.single
            else f"the output has the classes 0 to {classes - 1}"
        )
        raise fail("D009", f"label {wrong[0]}: {what}", where, "is the order of the classes that of the model?")


def predictions(output: Array, label: Any, where: str, threshold: float) -> tuple[Array, Array]:
    """Predicted and true classes, both [rows, labels a row].

    The predicted class is the arg-max, for a single score whether it is above the threshold, and for an output of integers
    the number itself.

    Raises:
        QConvertError: D009 where the labels do not fit.
    """
    if not is_float(output):
        return _given(output, label, where)
    found = labelled(output, label, where)
    chosen = found.scores[..., 0] > threshold if found.single else first_largest(found.scores)
    return chosen.astype(np.int64), found.labels


def _given(output: Array, label: Any, where: str) -> tuple[Array, Array]:
    labels = whole_labels(label, where)
    if _core(output.shape) != _core(labels.shape):
        shapes = f"labels of shape {list(labels.shape)} do not fit to class numbers of shape {list(output.shape)}"
        raise fail("D009", shapes, where, HINT)
    if labels.min() < 0:
        raise fail(
            "D009",
            f"label {labels.min()}: classes are counted from 0",
            where,
            "number the classes from 0 in the labels",
        )
    rows = output.shape[0] if output.ndim else 1
    return output.astype(np.int64).reshape(rows, -1), labels.reshape(rows, -1)


def class_hits(threshold: float) -> Scores:
    """Accuracy: share of right classes in each row."""

    def score(output: Array, label: Any, where: str) -> Array:
        chosen, true = predictions(output, label, where, threshold)
        return np.asarray((chosen == true).mean(axis=1))

    return score


def top(k: int) -> Scores:
    """Share of labels in each row that are among the `k` highest scores; of equal scores the first counts as higher."""

    def score(output: Array, label: Any, where: str) -> Array:
        if not is_float(output):
            raise fail("D009", f"top-{k} needs scores, the output holds integers", where, "use `accuracy`")
        found = labelled(output, label, where)
        if found.single:
            raise fail("D009", f"top-{k} needs a score for each class, the output has one", where, "use `accuracy`")
        return np.asarray((_rank(found) < k).mean(axis=1))

    return score


def _rank(found: Labelled) -> Array:
    """How many scores stand before that of the label; NaN stands behind all, and a label whose own score is NaN is last."""
    scores = np.where(np.isnan(found.scores), -np.inf, found.scores)
    own = np.take_along_axis(scores, found.labels[..., np.newaxis], axis=-1)
    earlier = np.arange(scores.shape[-1]) < found.labels[..., np.newaxis]
    rank = (scores > own).sum(axis=-1) + ((scores == own) & earlier).sum(axis=-1)
    missing = np.isnan(np.take_along_axis(found.scores, found.labels[..., np.newaxis], axis=-1))[..., 0]
    return np.asarray(np.where(missing, scores.shape[-1], rank))


def fits(check: Callable[[Array], object], labels: Sequence[Array]) -> bool:
    """Whether a check that raises for labels that do not fit goes through for all of these."""
    try:
        for label in labels:
            check(label)
    except QConvertError:
        return False
    return True
