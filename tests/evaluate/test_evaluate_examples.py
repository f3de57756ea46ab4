"""The samples that reports show: changed answers first, then those furthest from FP32."""

from __future__ import annotations

from typing import Any

import numpy as np

from qconvert.data import Sample
from qconvert.evaluate.examples import Watched
from qconvert.runtime.profile import by_operator

BEFORE = np.array([[5.0, 1.0, 0.0], [2.0, 1.9, 0.0], [0.0, 0.0, 9.0], [4.0, 0.0, 3.9]], np.float32)
AFTER = np.array([[5.0, 1.0, 0.5], [1.8, 1.9, 0.0], [0.0, 0.0, 9.0], [3.0, 0.0, 3.9]], np.float32)


def watched(labels: list[Any], labelled: bool = False) -> Watched:
    found = Watched(labelled)
    for n, label in enumerate(labels):
        found.add(Sample(f"{n}.png", {"x": BEFORE[n]}, label), {"y": BEFORE[n : n + 1]}, {"y": AFTER[n : n + 1]})
    return found


def test_changed_answers_come_first_and_equal_samples_not_at_all() -> None:
    figures, candidates = watched([0, 1, 2, 0]).result()
    assert (figures.rows, figures.changed) == (4, 2)
    assert [e.id for e in figures.shown] == ["1.png", "3.png", "0.png"] or [e.id for e in figures.shown] == [
        "3.png",
        "1.png",
        "0.png",
    ]
    assert [(c.float_class, c.result_class, c.count) for c in figures.changes] == [(0, 1, 1), (0, 2, 1)]
    first = figures.shown[0]
    assert first.changed
    assert first.float_score is not None
    assert first.float_score >= (figures.shown[1].float_score or 0)
    assert [c.example for c in candidates] == list(figures.shown)


def test_labels_against_answers() -> None:
    found = watched([0, 0, 2, 2]).result()[0].confusion
    assert found is not None
    assert found.classes == (0, 1, 2)
    assert found.float_counts == ((2, 0, 0), (0, 0, 0), (1, 0, 1))
    assert found.counts == ((1, 1, 0), (0, 0, 0), (0, 0, 2))
    assert [(p.label, p.answer, p.float_count, p.count) for p in found.pairs] == [(0, 1, 0, 1), (2, 0, 1, 0)]
    for labels in ([0, 0, 2, 3], [None] * 4, [0.5] * 4, [0, None, 2, 2]):
        assert watched(labels).result()[0].confusion is None


def test_of_many_classes_only_the_mistakes_are_kept() -> None:
    found = Watched()
    for n in range(40):
        scores = np.eye(40, dtype=np.float32)[n : n + 1]
        found.add(Sample(str(n), {}, n), {"y": scores}, {"y": np.roll(scores, n == 7)})
    confusion = found.result()[0].confusion
    assert confusion is not None
    assert (confusion.classes, confusion.counts) == ((), ())
    assert [(p.label, p.answer, p.count) for p in confusion.pairs] == [(7, 8, 1)]


def test_an_arg_max_means_nothing_beside_labels_that_are_no_classes() -> None:
    figures, _ = watched([None, None], labelled=True).result()
    assert (figures.rows, figures.changed, figures.changes) == (None, None, ())
    assert [e.float_class for e in figures.shown] == [None, None]


def test_shares_are_kept_and_scores_go_through_softmax() -> None:
    found = Watched()
    found.add(Sample("a", {}, 0), {"y": np.array([[0.7, 0.3]])}, {"y": np.array([[3.0, 3.0]])})
    shown = found.result()[0].shown[0]
    assert shown.float_score == 0.7
    assert shown.result_score == 0.5


def test_odd_outputs() -> None:
    found = Watched()
    found.add(Sample("a\udcff", {}), {"y": np.array([[np.nan, 1.0]])}, {"y": np.array([[0.0, 1.0]])})
    found.add(Sample("b", {}), {"y": np.zeros((0, 3))}, {"y": np.zeros((0, 3))})
    found.add(Sample("c", {}), {}, {})
    figures, _ = found.result()
    assert figures.rows is None


def event(name: str, op: str, duration: int) -> dict[str, Any]:
    return {"cat": "Node", "name": f"{name}_kernel_time", "dur": duration, "args": {"op_name": op}}


def test_a_profile_is_added_up_by_operator() -> None:
    runs = [
        [event("a", "Conv", first), event("b", "Conv", 10), event("q", "QuantizeLinear", 2)]
        for first in (90, 4, 4, 6, 4, 4)
    ]
    events = [{"cat": "Session", "name": "model_run", "dur": 5, "args": {}}, *(e for run in runs for e in run)]
    found = by_operator(events, len(runs))
    assert {op: (spent.count, spent.us) for op, spent in found.items()} == {
        "Conv": (2, 14.0),
        "QuantizeLinear": (1, 2.0),
    }


def test_nodes_of_a_loop_run_more_than_once() -> None:
    events = [event("body", "Add", 3) for _ in range(4 * 5)]
    assert by_operator(events, 4)["Add"].us == 15.0
