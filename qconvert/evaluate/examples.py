"""The samples that a person should look at: those whose answer changed, then those furthest from FP32."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np

from ..data import Sample
from ..graph import Array
from ..runtime import Feed
from .fidelity import Total
from .model import ClassChange, Confused, Confusion, Example, Examples
from .outputs import class_scores, first_largest, judged

SHOWN = 8
_PAIRS = 12
MOST_CLASSES = 24  # of a confusion matrix that is shown as a whole


@dataclass(frozen=True, eq=False)
class Candidate:
    """An example with what the models were fed with, from which its picture can be made."""

    example: Example
    feed: Feed

    @property
    def rank(self) -> tuple[bool, float]:
        """Changed answers first, those first of which FP32 was surest; then the least SQNR."""
        found = self.example
        return not found.changed, -(found.float_score or 0.0) if found.changed else found.sqnr_db


class Watched:
    """Finds the examples in one pass; keeps the feeds of a few samples only.

    Args:
        labelled: an arg-max counts as an answer only beside labels that are class numbers.
    """

    def __init__(self, labelled: bool = False, shown: int = SHOWN) -> None:
        self._labelled, self._shown, self._rows, self._classes = labelled, shown, 0, True
        self._pairs: Counter[tuple[int, int]] = Counter()
        self._judged = True
        self._float: Counter[tuple[int, int]] = Counter()
        self._result: Counter[tuple[int, int]] = Counter()
        self._best: list[Candidate] = []

    def add(self, sample: Sample, reference: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
        """Take in one sample with the outputs of the FP32 model and of the result."""
        found = judged(reference)
        if found is None:
            return
        total = Total()
        total.add(found[1], outputs[found[0]])
        example = Example(
            id=_printable(sample.id),
            sqnr_db=total.sqnr_db,
            label=_label(sample.label),
            **self._compare(sample.label, found[1], outputs[found[0]]),
        )
        self._best = sorted([*self._best, Candidate(example, sample.feed)], key=lambda c: c.rank)[: self._shown]

    def _compare(self, label: Any, reference: Array, value: Array) -> dict[str, Any]:
        before, after = class_scores(reference), class_scores(value)
        if (
            (self._labelled and not _is_class(label))
            or before is None
            or after is None
            or before.shape != after.shape
            or not before.size
        ):
            self._classes = False
            return {}
        first, second = first_largest(before), first_largest(after)
        different = np.flatnonzero(first != second)
        self._rows += len(first)
        self._pairs.update((int(first[i]), int(second[i])) for i in different)
        self._confuse(label, first, second, before.shape[1])
        row = int(different[0]) if different.size else 0
        return {
            "changed": bool(different.size),
            "float_class": int(first[row]),
            "result_class": int(second[row]),
            "float_score": _share(before[row], int(first[row])),
            "result_score": _share(after[row], int(second[row])),
        }

    def _confuse(self, label: Any, first: Array, second: Array, classes: int) -> None:
        """Count labels against answers, as long as every label is the number of a class."""
        labels = np.asarray(label).reshape(-1).tolist() if _is_class(label) else []
        self._judged &= len(labels) == len(first) and all(0 <= each < classes for each in labels)
        if self._judged:
            self._float.update(zip(labels, first.tolist(), strict=True))
            self._result.update(zip(labels, second.tolist(), strict=True))

    def result(self) -> tuple[Examples, tuple[Candidate, ...]]:
        """The figures, and the candidates that `shown` would hold; those that equal FP32 are left out."""
        common = sorted(self._pairs.items(), key=lambda item: (-item[1], item[0]))[:_PAIRS]
        changes = tuple(ClassChange(float_class=a, result_class=b, count=count) for (a, b), count in common)
        counted = self._classes and self._rows > 0
        shown = tuple(c for c in self._best if c.example.changed or isfinite(c.example.sqnr_db))
        figures = Examples(
            rows=self._rows if counted else None,
            changed=self._pairs.total() if counted else None,
            changes=changes if counted else (),
            shown=tuple(c.example for c in shown),
            confusion=_confusion(self._float, self._result) if counted and self._judged and self._result else None,
        )
        return figures, shown


def _confusion(before: Counter[tuple[int, int]], after: Counter[tuple[int, int]]) -> Confusion:
    """The whole table where there are few classes, and the most frequent mistakes in any case."""
    classes = sorted({c for pair in (*before, *after) for c in pair})
    wrong = {pair for pair in (*before, *after) if pair[0] != pair[1]}
    order = sorted(wrong, key=lambda pair: (-after[pair], -before[pair], pair))[:_PAIRS]
    pairs = tuple(Confused(label=a, answer=b, float_count=before[a, b], count=after[a, b]) for a, b in order)
    if len(classes) > MOST_CLASSES:
        return Confusion(pairs=pairs)
    tables = [tuple(tuple(table[a, b] for b in classes) for a in classes) for table in (before, after)]
    return Confusion(classes=tuple(classes), float_counts=tables[0], counts=tables[1], pairs=pairs)


def spoken_of(examples: Examples) -> frozenset[int]:
    """The classes whose names a report needs."""
    found = {c for e in examples.shown for c in (e.float_class, e.result_class) if c is not None}
    found |= {int(e.label) for e in examples.shown if e.label is not None and e.label.isdecimal()}
    found |= {c for change in examples.changes for c in (change.float_class, change.result_class)}
    if examples.confusion is not None:
        found |= {*examples.confusion.classes, *(c for p in examples.confusion.pairs for c in (p.label, p.answer))}
    return frozenset(found)


def _is_class(label: Any) -> bool:
    return label is not None and np.asarray(label).dtype.kind in "iu"


def _share(scores: Array, index: int) -> float | None:
    """The class's share: the score itself where scores are shares already, else by softmax."""
    values = scores.astype(np.float64)
    if not np.isfinite(values).all():
        return None
    if values.min() >= 0 and abs(values.sum() - 1) < 0.02:
        return float(values[index])
    powers = np.exp(values - values.max())
    return float(powers[index] / powers.sum())


def _label(label: Any) -> str | None:
    array = np.asarray(label, dtype=object)
    return None if label is None or array.size != 1 else _printable(str(array.reshape(-1)[0]))[:40]


def _printable(text: str) -> str:
    """File names may hold bytes that are no UTF-8."""
    return text.encode("utf-8", "backslashreplace").decode()
