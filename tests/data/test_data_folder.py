"""Parts, kinds, companions, sampling."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qconvert.data.samples import choose
from qconvert.errors import Severity
from qconvert.pipeline.drafting.data import with_holdout

X = {"x": "float32[N,2]"}
IMG = {"x": "float32[N,3,8,8]"}


def codes(dataset) -> list[str]:
    return [d.code for d in dataset.diagnostics]


@pytest.mark.parametrize("calib", ["calib", "calibration", "train"])
@pytest.mark.parametrize("evaluation", ["eval", "evaluation", "val", "validation", "test"])
def test_parts_by_usual_names(make, data, calib, evaluation):
    make.npy(f"{calib}/a.npy", np.zeros((3, 2), "f4"))
    make.npy(f"{evaluation}/a.npy", np.ones((4, 2), "f4"))
    opened = data(X)
    assert (len(opened.calibration), opened.calibration.part) == (3, "calibration")
    assert (len(opened.evaluation), opened.evaluation.part) == (4, "evaluation")
    assert not {*opened.calibration.files} & {*opened.evaluation.files}


def test_a_folder_without_parts_is_calibration_data(make, data):
    make.npy("a.npy", np.zeros((3, 2), "f4"))
    opened = data(X, samples=3)
    assert len(opened.calibration) == 3
    assert opened.evaluation is None
    assert opened.diagnostics == ()


def test_only_a_calibration_part(make, data):
    make.npy("calib/a.npy", np.zeros((3, 2), "f4"))
    assert data(X).evaluation is None


def test_only_an_evaluation_part_is_refused(make, data):
    make.npy("eval/a.npy", np.zeros((3, 2), "f4"))
    found = data.mistake(X)
    assert found.code == "D011"
    assert "eval" in found.message
    assert "dataset.calibration" in found.hint


def test_files_beside_an_evaluation_folder_can_calibrate_when_asked(make, data):
    make.npy("eval/a.npy", np.zeros((3, 2), "f4"))
    make.npy("b.npy", np.zeros((5, 2), "f4"))
    opened = data(X, calibration=".")
    assert [s.id for s in opened.calibration] == [f"b.npy[{i}]" for i in range(5)]
    assert len(opened.evaluation) == 3


def test_named_parts(make, data):
    make.npy("one/a.npy", np.zeros((3, 2), "f4"))
    make.npy("two/a.npy", np.zeros((4, 2), "f4"))
    opened = data(X, calibration="one", evaluation="two")
    assert (len(opened.calibration), len(opened.evaluation)) == (3, 4)
    missing = data.mistake(X, calibration="three")
    assert missing.code == "D011"
    assert "three" in missing.message


def test_train_beside_other_classes_is_a_class(make, data):
    for name in ("bus", "car", "train"):
        make.image(f"{name}/1.png")
    opened = data(IMG)
    assert opened.classes == ("bus", "car", "train")
    assert [s.label for s in opened.calibration] == [0, 1, 2]
    assert any("taken for a class folder" in d.message for d in opened.diagnostics)


def test_train_beside_files_is_a_part(make, data):
    make.image("train/1.png")
    make.image("2.png")
    opened = data(IMG)
    assert [s.id for s in opened.calibration] == ["1.png"]
    assert any("outside the parts: 2.png" in d.message for d in opened.diagnostics)


def test_class_folders_inside_parts_are_not_parts(make, data):
    for part in ("calib", "eval"):
        for name in ("test", "zebra"):
            make.image(f"{part}/{name}/1.png")
    opened = data(IMG)
    assert opened.classes == ("test", "zebra")
    assert [s.id for s in opened.evaluation] == ["test/1.png", "zebra/1.png"]


def test_samples_outside_the_parts_are_named(make, data):
    make.npy("calib/a.npy", np.zeros((3, 2), "f4"))
    make.npy("scores.npy", np.zeros((3, 2), "f4"))
    (note,) = [d for d in data(X).diagnostics if d.code == "D105"]
    assert "scores.npy" in note.message


def test_not_found(make, data):
    found = data.mistake(X, "missing")
    assert found.code == "D001"
    assert "missing" in found.message
    make.text("file.txt", "x")
    assert data.mistake(X, "file.txt").code == "D001"
    assert "folder" in data.mistake(X, "file.txt").hint


def test_empty(make, data):
    (data.root / "empty").mkdir()
    assert data.mistake(X, "empty").code == "D002"
    make.text("texts/a.md", "x")
    found = data.mistake(X, "texts")
    assert found.code == "D002"
    assert "a.md" in found.message
    assert ".npz" in found.hint


def test_an_empty_part_is_named(make, data):
    make.npy("calib/a.npy", np.zeros((3, 2), "f4"))
    (data.root / "eval").mkdir()
    found = data.mistake(X)
    assert found.code == "D002"
    assert found.where.endswith("eval")


def test_mixed_kinds(make, data):
    make.image("a.png")
    make.npy("b.npy", np.zeros((3, 2), "f4"))
    found = data.mistake(X)
    assert found.code == "D008"
    assert "a.png" in found.message
    assert "b.npy" in found.message
    assert "kind" in found.hint
    assert len(data(X, kind="arrays").calibration) == 3


def test_skipped_files_are_one_note_without_companions(make, data):
    make.npy("a.npy", np.zeros((130, 2), "f4"))
    for name in ("README.md", "labels.csv", "classes.txt", ".hidden", ".git/b.npy", "LICENSE"):
        make.text(name, "")
    assert data(X).diagnostics == ()
    for i in range(5):
        make.text(f"note{i}.txt", "")
    (note,) = data(X).diagnostics
    assert (note.code, note.severity) == ("D105", Severity.NOTE)
    assert "note0.txt, note1.txt, note2.txt and 2 more" in note.message


def test_fewer_samples_than_asked_is_a_note(make, data):
    make.npy("a.npy", np.zeros((3, 2), "f4"))
    (note,) = data(X).diagnostics
    assert (note.code, note.severity) == ("D100", Severity.NOTE)
    assert "128" in note.message
    assert "3" in note.message


def test_up_to_ten_mistakes_then_how_many_more(make, data):
    for i in range(14):
        make.npy(f"{i:02}.npy", np.zeros((1, 3), "f4"))
    found = data.mistakes(X)
    assert len(found) == 11
    assert found[0].where == "00.npy"
    assert found[-1].message == "and 4 more"


def test_sampling_is_sorted_and_depends_on_the_seed_only_when_rows_are_left_out(make, data):
    make.npy("a.npy", np.arange(200, dtype="f4").reshape(100, 2))
    ids = [s.id for s in data(X, samples=10).calibration]
    rows = [int(i[6:-1]) for i in ids]
    assert rows == sorted(set(rows))
    assert ids == [s.id for s in data(X, samples=10).calibration]
    assert ids != [s.id for s in data(X, samples=10, seed=1).calibration]
    assert len(list(data(X, samples=100, seed=5).calibration)) == 100


@given(st.integers(1, 300), st.integers(1, 400), st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_choice(total, count, seed, batch):
    chosen = choose(total, count, seed, batch)
    assert chosen == choose(total, count, seed, batch)
    assert list(chosen) == sorted(set(chosen))
    assert len(chosen) % batch == 0
    assert all(0 <= i < total for i in chosen)
    assert len(chosen) == min(max(count // batch, 1), total // batch) * batch


def test_files_that_hold_one_run_each_are_not_mixed(make, data):
    """A fixed first axis may be time, whose steps belong together."""
    for number in range(6):
        make.npy(f"{number}.npy", np.full((5, 2), number, "f4"))
    dataset = data({"x": "float32[5,2]"}, samples=10)
    assert len(dataset.calibration) == 2
    held = with_holdout(dataset, 10)
    for sample in (*held.calibration, *held.evaluation):
        assert sample.feed["x"].shape == (5, 2)
        assert len(np.unique(sample.feed["x"])) == 1
    assert not {s.id for s in held.calibration} & {s.id for s in held.evaluation}


def test_choice_is_fixed_for_ever():
    assert choose(20, 5, 0) == (1, 8, 10, 18, 19)


def test_take_reiterate_and_digest(make, data):
    make.npy("a.npy", np.arange(20, dtype="f4").reshape(10, 2))
    samples = data(X).calibration
    assert [s.id for s in samples] == [s.id for s in samples]
    assert [s.id for s in samples.take(2)] == ["a.npy[0]", "a.npy[1]"]
    assert len(samples.take(99)) == 10
    assert len(samples.digest()) == 64
    assert samples.digest() == data(X).calibration.digest()
    assert samples.digest() != samples.take(2).digest()
    assert samples.digest() != data(X, preprocess={"scale": 2.0}).calibration.digest()


def test_digest_changes_with_the_content(make, data):
    make.npy("a.npy", np.zeros((3, 2), "f4"))
    before = data(X).calibration.digest()
    make.npy("a.npy", np.ones((3, 2), "f4"))
    assert data(X).calibration.digest() != before
