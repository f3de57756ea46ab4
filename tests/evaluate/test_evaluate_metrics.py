"""Task metrics against scikit-learn and against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qconvert.errors import QConvertError
from qconvert.evaluate import METRICS, default_metric
from qconvert.evaluate.metrics import Spec
from qconvert.evaluate.statistics import paired_proportions

RNG = np.random.default_rng(5)
LOGITS = RNG.normal(size=(60, 7)).astype(np.float32)
WORSE = LOGITS + RNG.normal(size=LOGITS.shape).astype(np.float32)
LABELS = np.where(RNG.random(60) < 0.7, LOGITS.argmax(axis=1), RNG.integers(0, 7, 60))


def measured(name, before, after, labels):
    """The metric of outputs given sample by sample."""
    pair = METRICS[name].start()
    for i, (b, a, label) in enumerate(zip(before, after, labels, strict=True)):
        pair.add(b, a, label, f"s{i}")
    return pair.result(name)


def rows(array):
    return [row[np.newaxis] for row in array]


def assert_close(one, other):
    assert (one.interval is None) == (other.interval is None)
    if one.interval is not None:
        assert one.interval.model_dump() == pytest.approx(other.interval.model_dump())
    assert one.model_dump(exclude={"interval"}) == pytest.approx(other.model_dump(exclude={"interval"}))


def mistake(name, output, label):
    with pytest.raises(QConvertError) as caught:
        METRICS[name].start().add(output, output, label, "s0")
    diagnostic = caught.value.diagnostics[0]
    assert (diagnostic.code, diagnostic.where) == ("D009", "s0")
    return diagnostic.message


@pytest.mark.parametrize("name", ["top1", "top5", "accuracy", "f1", "precision", "recall"])
def test_classes_against_sklearn(name):
    sk = pytest.importorskip("sklearn.metrics")
    macro = {"average": "macro", "zero_division": 0}

    def slow(scores):
        match name:
            case "top1" | "accuracy":
                return sk.accuracy_score(LABELS, scores.argmax(axis=1))
            case "top5":
                return sk.top_k_accuracy_score(LABELS, scores, k=5, labels=np.arange(7))
        return getattr(sk, f"{name}_score")(LABELS, scores.argmax(axis=1), **macro)

    found = measured(name, rows(LOGITS), rows(WORSE), LABELS)
    assert found.float_value == pytest.approx(slow(LOGITS))
    assert found.value == pytest.approx(slow(WORSE))
    assert found.drop == pytest.approx(slow(LOGITS) - slow(WORSE))
    assert found.higher_is_better
    assert found.samples == 60
    assert (found.interval is not None) == (name in {"top1", "top5", "accuracy"})


@pytest.mark.parametrize(("name", "slow"), [("mse", lambda d: (d * d).mean()), ("mae", lambda d: np.abs(d).mean())])
def test_errors(name, slow):
    truth = RNG.normal(size=LOGITS.shape)
    found = measured(name, rows(LOGITS), rows(WORSE), list(truth))
    assert found.float_value == pytest.approx(slow(LOGITS - truth))
    assert found.drop == pytest.approx(slow(WORSE - truth) - slow(LOGITS - truth))
    assert not found.higher_is_better
    assert found.interval.low < found.drop < found.interval.high


@pytest.mark.parametrize("name", METRICS)
def test_streaming_equals_the_whole(name):
    labels = LOGITS * 0.5 if name in {"mse", "mae"} else LABELS
    one, whole = measured(name, rows(LOGITS), rows(WORSE), labels), measured(name, [LOGITS], [WORSE], [labels])
    assert_close(one, whole)


def test_the_drop_of_hits_has_the_paired_interval():
    before, after = LOGITS.argmax(axis=1) == LABELS, WORSE.argmax(axis=1) == LABELS
    found = measured("top1", rows(LOGITS), rows(WORSE), LABELS)
    assert found.interval == paired_proportions(int((before & ~after).sum()), int((after & ~before).sum()), 60)


def test_no_change_at_all():
    same = measured("mse", rows(LOGITS), rows(LOGITS), list(LOGITS + 1))
    assert (same.drop, same.interval.low, same.interval.high) == (0, 0, 0)
    assert measured("mse", [LOGITS[:1]], [WORSE[:1]], [LOGITS[0]]).interval is None


@given(st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_top_k_counts_better_classes(k, seed):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 4, (1, 8)).astype(np.float32)  # with ties
    label = int(rng.integers(0, 8))
    order = sorted(range(8), key=lambda c: (-scores[0, c], c))
    from qconvert.evaluate.metrics.classes import top

    assert top(k)(scores, label, "")[0] == (label in order[:k])


def test_scores_that_are_no_numbers_are_misses():
    nan = np.array([[np.nan, 0, 1]], np.float32)
    assert measured("top1", [nan], [nan], [0]).value == 0
    assert measured("top1", [nan], [nan], [2]).value == 1
    assert measured("accuracy", [nan], [nan], [2]).value == 1


@pytest.mark.parametrize(
    ("shape", "label", "score"),
    [
        ((1, 3), 2, 1), ((1, 3), [2], 1), ((1, 3), 2.0, 1), ((1, 3), np.int32(1), 0), ((1, 3, 1, 1), 2, 1), ((3,), 2, 1),
        ((2, 3), [2, 0], 0.5), ((1, 4, 3), [2, 2, 0, 2], 0.75), ((1, 3, 2, 2), [[2, 2], [2, 2]], 1), ((2, 3, 2, 2), np.full((2, 2, 2), 2), 1),
    ],
)  # fmt: skip
def test_forms_of_labels(shape, label, score):
    axis = 1 if len(shape) == 4 else -1
    output = np.moveaxis(np.zeros(shape, np.float32), axis, -1)
    output[..., 2] = 1
    output = np.moveaxis(output, -1, axis)
    assert measured("top1", [output], [output], [label]).value == score
    assert measured("accuracy", [output], [output], [label]).value == score


@pytest.mark.parametrize("shape", [(1, 1), (1,), ()])
@pytest.mark.parametrize(("scale", "threshold"), [(1, 0.5), (20, 0.0)])
def test_single_scores_are_probabilities_or_logits(shape, scale, threshold):
    values = np.linspace(0, 1, 11) if scale == 1 else np.linspace(-10, 10, 11)
    outputs = [np.full(shape, v, np.float32) for v in values]
    truth = [int(v > threshold) for v in values]
    assert measured("accuracy", outputs, outputs, truth).value == 1
    assert measured("f1", outputs, outputs, truth).value == 1


def test_the_float_model_decides_what_single_scores_are():
    before = [np.full((1, 1), v, np.float32) for v in (0.1, 0.9)]
    after = [np.full((1, 1), v, np.float32) for v in (0.4, 1.01)]  # a probability that rounding carried above 1
    assert measured("accuracy", before, after, [0, 1]).value == 1


def test_several_yes_or_no_answers():
    output = np.array([[-1, 2, 3, -4]], np.float32)
    assert measured("accuracy", [output], [output], [[0, 1, 0, 0]]).value == 0.75


def test_outputs_that_are_classes():
    assert measured("accuracy", [np.array([3])], [np.array([2])], [3]).drop == 1
    assert measured("f1", [np.array([3])], [np.array([-1])], [3]).value == 0


def test_wrong_labels_are_told():
    scores, single = np.zeros((1, 3), np.float32), np.zeros((1, 1), np.float32)
    assert mistake("top1", scores, 3) == "label 3: the output has the classes 0 to 2"
    assert mistake("top1", scores, -1) == "label -1: the output has the classes 0 to 2"
    assert mistake("f1", single, 2) == "label 2: a yes-or-no output has the classes 0 and 1"
    assert mistake("top5", single, 0) == "top-5 needs a score for each class, the output has one"
    assert mistake("top1", np.array([1]), 0) == "top-1 needs scores, the output holds integers"
    assert mistake("accuracy", np.array([1, 2]), 0) == "labels of shape [] do not fit to class numbers of shape [2]"
    assert mistake("accuracy", np.array([1]), -3) == "label -3: classes are counted from 0"
    assert mistake("top1", scores, [0, 1]) == "labels of shape [2] do not fit to an output of shape [1, 3]"
    assert mistake("top1", scores, 0.5) == "a class label is a whole number, not 0.5"
    assert mistake("top1", scores, "cat") == "a class label is a whole number, not 'cat'"
    assert mistake("top1", scores, [[1], [2, 3]]) == "a class label is a whole number, not [[1], [2, 3]]"
    assert mistake("top1", scores, None) == "the sample has no label"
    assert mistake("mse", scores, None) == "the sample has no label"
    assert mistake("mse", scores, 1.0) == "a label of shape [] does not fit to an output of shape [1, 3]"
    assert mistake("mae", scores, "cat") == "a label of a regression is a number, not 'cat'"


FLOAT = np.zeros((1, 3), np.float32)


@pytest.mark.parametrize(
    ("labels", "output", "name"),
    [
        ([1, 2], FLOAT, "top1"),
        ([[1, 2]], np.zeros((2, 3), np.float32), "top1"),
        ([np.zeros((4, 4), np.int64)], np.zeros((1, 5, 4, 4), np.float32), "top1"),
        ([0, 1], np.zeros((1, 1), np.float32), "accuracy"),
        ([7, 1], np.zeros((1, 1), np.float32), None),
        ([7, 1], np.zeros((1,), np.int64), "accuracy"),
        ([7.5, 1.0], np.zeros((1, 1), np.float32), "mse"),
        ([np.zeros(3)], FLOAT, "mse"),
        ([np.zeros(4)], FLOAT, None),
        ([0.5], FLOAT, None),
        ([[1, 2, 3, 4]], FLOAT, None),
        (["cat"], FLOAT, None),
        ([{"boxes": []}], FLOAT, None),
        ([[[1, 2], [3]]], FLOAT, None),
        ([], FLOAT, None),
        ([None], FLOAT, None),
        ([1], np.array(["a"], object), None),
    ],
)  # fmt: skip
def test_default_metric(labels, output, name):
    found = default_metric(labels, {"y": output})
    assert found.name == name
    assert found.reason


def test_default_metric_takes_the_first_float_output():
    outputs = {"label": np.array([1]), "scores": FLOAT}
    assert default_metric([1], outputs).name == "top1"


def test_the_table_says_what_is_better():
    assert {name: spec.higher_is_better for name, spec in METRICS.items()} == {
        name: name not in {"mse", "mae"} for name in METRICS
    }
    for spec in METRICS.values():
        assert isinstance(spec, Spec)
