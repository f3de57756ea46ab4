"""The samples of a request: opened, doubted where they look raw, and parted in two where there is only one part."""

from __future__ import annotations

from dataclasses import replace

from ...data import Dataset, DatasetSettings, Preprocess, open_dataset
from ...data.folder import SUFFIXES
from ...errors import Diagnostic, Severity, fail
from ...graph import Graph
from ...runtime import Feed
from ..events import Stages
from ..planning.sizes import LOOKED_AT
from ..request import Request

_SHARE = 0.75  # of the rows calibrate


def open_data(request: Request, graph: Graph, stages: Stages) -> Dataset | None:
    """The request's dataset, None where there is none.

    Args:
        graph: the float graph that the samples are for.

    Raises:
        QConvertError: whatever is wrong with the data.
    """
    if request.data is None:
        return None
    with stages.stage("data"):
        dataset = open_dataset(
            request.data, {name: graph.type_of(name) for name in graph.feeds}, request.recipe.dataset, request.base_dir
        )
    stages.note(*dataset.diagnostics, *raw_images(dataset, request.recipe.dataset))
    return with_holdout(dataset, request.recipe.dataset.evaluation_samples) if request.hold_out else dataset


def first_feeds(dataset: Dataset | None) -> tuple[Feed, ...]:
    """The first samples, by which open sizes are chosen."""
    return () if dataset is None else tuple(sample.feed for sample in dataset.calibration.take(LOOKED_AT))


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


def samples_with_holdout(dataset: Dataset, asked: int) -> int:
    """How many rows may calibrate so that enough others are left to judge by.

    Raises:
        QConvertError: D011 where there are too few rows.
    """
    part = dataset.calibration
    rows = sum(source.rows for source in part.sources) // part.batch * part.batch
    if rows < 2 * part.batch:
        raise fail(
            "D011",
            "too few samples to set some apart for the evaluation",
            None,
            "add a sub-folder `eval/` to the dataset",
        )
    return min(asked, max(int(rows * _SHARE) // part.batch, 1) * part.batch)


def with_holdout(dataset: Dataset, most: int | None) -> Dataset:
    """The dataset with the rows that do not calibrate as its evaluation part; unchanged if it has one, or no row is left.

    Args:
        most: evaluation rows to use, None for all.
    """
    part = dataset.calibration
    if dataset.evaluation is not None:
        return dataset
    rows, unit = sum(source.rows for source in part.sources), part.unit
    left = sorted(set(range(rows // unit)) - {row // unit for row in part.chosen})
    wanted = min(len(left) * unit, most or len(left) * unit) // part.batch * part.batch // unit
    if not wanted:
        return dataset
    firsts = [left[i * len(left) // wanted] * unit for i in range(wanted)]
    chosen = tuple(first + row for first in firsts for row in range(unit))
    return replace(dataset, evaluation=replace(part, part="evaluation", chosen=chosen))
