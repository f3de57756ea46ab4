"""Samples: the chosen rows of one part as a lazy, re-iterable value."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import Diagnostic, QConvertError
from .labels import Labels
from .source import Source

if TYPE_CHECKING:
    from ..graph import Array

_ONE_SHAPE = (
    "the model's batch is fixed at {}; in `dataset.preprocess`, `resize: {{size: [HEIGHT, WIDTH]}}` or `crop` brings images to"
    " one size, `pad_to` sequences to one length"
)


@dataclass(frozen=True)
class Sample:
    """What one run of the model is fed with.

    Attributes:
        id: "cat/file.png", "samples.npz[17]", or "first..last" where the model's batch is fixed above 1.
        feed: array by input name, with batch axis and in the model's type.
        label: number or array; an array of one label a row where the batch is above 1; None without labels.
    """

    id: str
    feed: Mapping[str, Array]
    label: Any | None = None


@dataclass(frozen=True, eq=False)
class Samples:
    """The chosen rows of one part; files are read only while iterating, one sample is in memory.

    Attributes:
        part: "calibration" or "evaluation".
        sources: all files of the part, sorted by name.
        chosen: ascending row numbers over all files; a multiple of the model's batch.
        preprocessing: everything in the recipe that decides how a file becomes arrays, as text.
    """

    part: str
    sources: tuple[Source, ...] = field(repr=False)
    chosen: tuple[int, ...] = field(repr=False)
    batch: int = 1
    labels: Labels = field(default_factory=Labels, repr=False)
    preprocessing: str = field(default="", repr=False)

    def __len__(self) -> int:
        """Number of samples that iterating gives: rows, or groups of rows where the model's batch is fixed above 1."""
        return len(self.chosen) // self.batch

    def __iter__(self) -> Iterator[Sample]:
        """Read and preprocess the samples in order.

        Raises:
            QConvertError: D003 to D007, naming the sample, at the first that cannot be used.
        """
        for outcome in self.outcomes():
            if isinstance(outcome, QConvertError):
                raise outcome
            yield outcome

    def outcomes(self) -> Iterator[Sample | QConvertError]:
        """Like iterating, but a sample that cannot be used comes as its error, and the next ones follow."""
        group: list[Sample] = []
        for outcome in self._rows():
            if isinstance(outcome, QConvertError):
                yield outcome
                group = []
                continue
            group.append(outcome)
            if len(group) == self.batch:
                yield self._join(group)
                group = []

    @property
    def unit(self) -> int:
        """Rows that are only used together: a batch where every file holds just one, as its rows may be the steps of a sequence."""
        return unit_of(self.sources, self.batch)

    @property
    def has_labels(self) -> bool:
        """Whether every sample has a label."""
        return bool(self.labels)

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that hold the chosen rows, in order."""
        return tuple(path for source, _ in self._by_source() for path in source.files)

    def take(self, n: int) -> Samples:
        """The first `n` samples."""
        return replace(self, chosen=self.chosen[: max(n, 0) * self.batch])

    def digest(self) -> str:
        """SHA-256 over names and contents of the files, the chosen rows, the labels and the preprocessing."""
        total = hashlib.sha256(f"{self.part}\n{self.batch}\n{self.preprocessing}\n".encode())
        for source, rows in self._by_source():
            ids = [source.row_id(i) for i in rows]
            table = [self.labels.of(source.name, i, None) for i in ids]
            total.update(f"{source.name}\n{rows}\n{table}\n".encode())
            for path in source.files:
                with open(path, "rb") as file:
                    total.update(hashlib.file_digest(file, "sha256").digest())
        return total.hexdigest()

    def _by_source(self) -> Iterator[tuple[Source, list[int]]]:
        start = at = 0
        for source in self.sources:
            rows = []
            while at < len(self.chosen) and self.chosen[at] < start + source.rows:
                rows.append(self.chosen[at] - start)
                at += 1
            start += source.rows
            if rows:
                yield source, rows

    def check(self) -> list[Diagnostic]:
        """Mistakes in the chosen rows that show without reading all of the data."""
        return [found for source, rows in self._by_source() for found in source.check(rows)]

    def _rows(self) -> Iterator[Sample | QConvertError]:
        for source, rows in self._by_source():
            yield from self._source_rows(source, rows)

    def _source_rows(self, source: Source, rows: Sequence[int]) -> Iterator[Sample | QConvertError]:
        reader = source.read(rows)
        while True:
            try:
                row = next(reader, None)
                if row is None:
                    return
            except QConvertError as error:
                yield error
                return
            row_id = source.row_id(row.index)
            try:
                arrays = source.finish(row)
            except QConvertError as error:
                yield error
                continue
            yield Sample(row_id, arrays, self.labels.of(source.name, row_id, row.label))

    def _join(self, group: Sequence[Sample]) -> Sample | QConvertError:
        feed = {}
        wanted = self.sources[0].wanted
        for inp in wanted.inputs:
            arrays = [s.feed[inp.name] for s in group]
            if len({a.shape for a in arrays}) > 1:
                shapes = " and ".join(dict.fromkeys(str(list(a.shape)) for a in arrays))
                text = f"input `{inp.name}`: rows of one batch have different shapes: {shapes}"
                where = f"{group[0].id}..{group[-1].id}"
                return QConvertError([Diagnostic("D004", text, where, _ONE_SHAPE.format(self.batch))])
            feed[inp.name] = np.stack(arrays) if inp.batched else np.array(arrays[0])
        if self.batch == 1:
            return Sample(group[0].id, feed, group[0].label)
        label = np.asarray([s.label for s in group]) if self.has_labels else None
        return Sample(f"{group[0].id}..{group[-1].id}", feed, label)


def unit_of(sources: Sequence[Source], batch: int) -> int:
    """Rows that are only used together, see `Samples.unit`."""
    return batch if all(source.rows == batch for source in sources) else 1


def choose(total: int, count: int | None, seed: int, batch: int = 1, unit: int = 1) -> tuple[int, ...]:
    """Ascending numbers of the rows to use: all of them, or `count` drawn without replacement.

    The draw depends on nothing but its arguments: NumPy keeps the stream of the legacy generator fixed for ever.
    Only whole batches are chosen; rows at the end that fill none are left out.

    Args:
        unit: neighbouring rows that are drawn together: 1 or `batch`.
    """
    usable = total // batch * batch
    wanted = usable if count is None else max(count // batch, 1) * batch
    if wanted >= usable:
        return tuple(range(usable))
    drawn = np.random.RandomState(seed).permutation(total // unit)[: wanted // unit]
    return tuple(first * unit + row for first in sorted(drawn.tolist()) for row in range(unit))
