"""Signs that the data does not fit the model, which no single sample shows."""

from __future__ import annotations

from ..data import Dataset, DatasetSettings, Preprocess
from ..data.folder import SUFFIXES
from ..errors import Diagnostic, Severity
from ..evaluate import Metric
from ..graph import Graph

_GUESSING = 1.5  # times the accuracy of a coin with as many sides as there are classes


def raw_images(dataset: Dataset, settings: DatasetSettings) -> tuple[Diagnostic, ...]:
    """D106 where images reach the model as they were decoded."""
    given = [settings.preprocess, *(i.preprocess for i in settings.inputs.values() if i.preprocess is not None)]
    plain = all((p.scale, p.mean, p.std) == (Preprocess().scale, Preprocess().mean, Preprocess().std) for p in given)
    images = any(SUFFIXES.get(path.suffix.lower()) == "images" for path in dataset.calibration.files[:1])
    if not images or not plain or settings.prepare:
        return ()
    text = "images are fed as raw values of 0..255, the recipe has neither scale nor mean and std"
    return (
        Diagnostic("D106", text, None, "set `dataset.preprocess` unless the model wants just that", Severity.WARNING),
    )


def at_chance(metrics: tuple[Metric, ...], graph: Graph) -> tuple[Diagnostic, ...]:
    """D107 where the FP32 model is not clearly better than guessing."""
    shape = graph.type_of(graph.outputs[0]).shape if graph.outputs else None
    classes = shape[-1] if shape else None
    found = next((m for m in metrics if m.name in ("top1", "accuracy")), None)
    if found is None or not isinstance(classes, int) or classes < 3 or found.float_value * classes >= _GUESSING:
        return ()
    text = f"the FP32 model has {found.name} {found.float_value:.1%} on {found.samples} samples of {classes} classes, which is chance"
    return (
        Diagnostic("D107", text, None, "check `dataset.preprocess` and the order of the classes", Severity.WARNING),
    )
