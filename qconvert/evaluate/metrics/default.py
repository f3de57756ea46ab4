"""The metric that labels and outputs suggest where the recipe names none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ...graph import Array
from ..outputs import is_float, judged
from .classes import as_array, class_axis, fits, predictions
from .regression import errors


@dataclass(frozen=True, slots=True)
class Choice:
    """A key of METRICS, or None with the reason why no metric suggests itself."""

    name: str | None
    reason: str


def default_metric(labels: Sequence[Any], outputs: Mapping[str, Any]) -> Choice:
    """Pick a metric.

    Integer labels with an output that has classes give `top1`; labels 0 and 1 with a single score, and integer labels with an
    output of integers, give `accuracy`; float labels of the output's shape give `mse`.

    Args:
        labels: those of some samples.
        outputs: of one of these samples, or of one of the same shape.
    """
    found, known = judged(outputs), [as_array(label) for label in labels if label is not None]
    if found is None or not known:
        return Choice(None, "there are no labels" if found is not None else "the model has no numeric output")
    name, output = found
    kinds = {label.dtype.kind for label in known}
    suggest = _for_classes if kinds <= set("iub") else _for_numbers if kinds <= set("iubf") else _for_others
    return suggest(name, output, known)


def _for_classes(name: str, output: Array, labels: Sequence[Array]) -> Choice:
    axis = class_axis(output, labels[0]) if is_float(output) else None
    if axis is not None and axis < output.ndim:
        return Choice("top1", f"integer labels, and output `{name}` has {output.shape[axis]} classes")
    if fits(lambda label: predictions(output, label, name, 0.0), labels):
        return Choice("accuracy", f"integer labels, and output `{name}` holds one value a label")
    return _none(name, output, labels)


def _for_numbers(name: str, output: Array, labels: Sequence[Array]) -> Choice:
    if is_float(output) and fits(lambda label: errors(output, label, name), labels[:1]):
        return Choice("mse", f"labels are numbers of the shape of output `{name}`")
    return _none(name, output, labels)


def _for_others(name: str, output: Array, labels: Sequence[Array]) -> Choice:
    return Choice(None, f"labels are no numbers: {labels[0].reshape(-1).tolist()[:1]!r:.60}")


def _none(name: str, output: Array, labels: Sequence[Array]) -> Choice:
    shapes = f"{labels[0].dtype}{list(labels[0].shape)} for output `{name}` {output.dtype}{list(output.shape)}"
    return Choice(None, f"no metric suggests itself for labels {shapes}")
