"""Two disjoint sets of samples from a dataset that has only one part."""

from __future__ import annotations

from dataclasses import replace

from ..data import Dataset
from ..errors import fail

_SHARE = 0.75  # of the rows calibrate


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
    rows = sum(source.rows for source in part.sources)
    left = sorted(set(range(rows)) - set(part.chosen))
    wanted = min(len(left), most or len(left)) // part.batch * part.batch
    if not wanted:
        return dataset
    chosen = tuple(left[i * len(left) // wanted] for i in range(wanted))
    return replace(dataset, evaluation=replace(part, part="evaluation", chosen=chosen))
