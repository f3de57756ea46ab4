"""Labels and user functions."""

from __future__ import annotations

import numpy as np
import pytest

from qconvert.data import load_function
from qconvert.errors import QConvertError

X = {"x": "float32[N,2]"}
IMG = {"x": "float32[N,3,8,8]"}


def labels(samples) -> list:
    return [s.label for s in samples]


@pytest.mark.parametrize("name", ["label", "labels"])
def test_in_the_npz(make, data, name):
    make.npz("a.npz", x=np.zeros((3, 2), "f4"), **{name: np.array([5, 6, 7])})
    opened = data(X)
    assert opened.calibration.has_labels
    assert labels(opened.calibration) == [5, 6, 7]
    assert type(labels(opened.calibration)[0]) is int
    assert labels(data(X, labels="none").calibration) == [None] * 3


def test_an_array_of_another_name(make, data):
    make.npz("a.npz", x=np.zeros((3, 2), "f4"), y=np.array([[5, 1], [6, 1], [7, 1]]))
    assert [x.tolist() for x in labels(data(X, labels="y").calibration)] == [[5, 1], [6, 1], [7, 1]]
    found = data.mistake(X, labels="z")
    assert found.code == "D009"
    assert "`z`" in found.message


def test_unused_labels_do_not_become_inputs(make, data):
    make.npz("a.npz", z=np.zeros((3, 2), "f4"), label=np.array([5, 6]))
    assert data.mistake(X).code == "D009"
    assert labels(data(X, labels="none").calibration) == [None] * 3


def test_an_input_called_label_is_an_input(make, data):
    make.npz("a.npz", x=np.zeros((3, 2), "f4"), label=np.zeros(3, "i8"))
    assert not data({**X, "label": "int64[N]"}).calibration.has_labels


@pytest.mark.parametrize("array", [np.zeros(2), np.array(["a", "b", "c"])])
def test_bad_labels_in_the_npz(make, data, array):
    make.npz("a.npz", x=np.zeros((3, 2), "f4"), label=array)
    found = data.mistake(X)
    assert (found.code, found.where) == ("D009", "a.npz")


def test_some_files_without_labels(make, data):
    make.npz("a.npz", x=np.zeros((3, 2), "f4"), label=np.zeros(3))
    make.npz("b.npz", x=np.zeros((3, 2), "f4"))
    found = data.mistake(X)
    assert found.code == "D009"
    assert "b.npz" in found.message
    assert "labels: none" in found.hint


@pytest.mark.parametrize(
    "table", ["file,label\na.png,3\nb.png,1\n", "a.png,3\nb.png,1\n", "name,size,class\n./a.png,9,3\nb.png,9,1\n"]
)
@pytest.mark.parametrize("place", ["eval/labels.csv", "labels.csv"])
def test_table(make, data, table, place):
    make.image("calib/c.png")
    make.image("eval/a.png")
    make.image("eval/b.png")
    make.text(place, table)
    opened = data(IMG)
    assert labels(opened.evaluation) == [3, 1]
    assert labels(opened.calibration) == [None]


def test_table_of_the_parent_with_part_names(make, data):
    make.image("calib/a.png")
    make.image("eval/a.png")
    make.text("labels.csv", "calib/a.png,cat\neval/a.png,dog\n")
    opened = data(IMG)
    assert (labels(opened.calibration), labels(opened.evaluation)) == ([0], [1])
    assert opened.classes == ("cat", "dog")


def test_names_in_the_order_of_classes_txt(make, data):
    make.image("a.png")
    make.text("classes.txt", "zebra\ncat\n")
    make.text("labels.csv", "a.png,cat\n")
    opened = data(IMG)
    assert (opened.classes, labels(opened.calibration)) == (("zebra", "cat"), [1])
    make.text("labels.csv", "a.png,dog\n")
    found = data.mistake(IMG)
    assert found.code == "D009"
    assert "dog" in found.message


def test_rows_of_arrays_in_a_table(make, data):
    make.npy("a.npy", np.zeros((2, 2), "f4"))
    make.text("labels.csv", "a.npy[0],4\na.npy[1],5\n")
    assert labels(data(X).calibration) == [4, 5]


@pytest.mark.parametrize(
    ("table", "text"),
    [
        ("a.png,1\n", "b.png"),
        ("a.png,1\nb.png,\n", "row 2"),
        ("a.png,1\nb.png,1\na.png,2\n", "two labels for `a.png`"),
        ("c.png,1\n", "c.png"),
    ],
)
def test_bad_tables(make, data, table, text):
    make.image("calib/a.png")
    make.image("calib/b.png")
    make.text("calib/labels.csv", table)
    found = data.mistake(IMG)
    assert found.code == "D009"
    assert text in found.message


def test_named_table(make, data):
    make.image("a.png")
    make.text("truth.csv", "a.png,4\n")
    assert labels(data(IMG, labels="truth.csv").calibration) == [4]
    assert data.mistake(IMG, labels="other.csv").code == "D008"
    make.path("truth.csv").unlink()
    assert data.mistake(IMG, labels="other.csv").code == "D009"


def test_class_folders_are_numbered_over_both_parts(make, data):
    for name in ("calib/b/1.png", "calib/c/1.png", "eval/a/1.png", "eval/c/1.png"):
        make.image(name)
    opened = data(IMG)
    assert opened.classes == ("a", "b", "c")
    assert (labels(opened.calibration), labels(opened.evaluation)) == ([1, 2], [0, 2])
    make.text("classes.txt", "c\nb\na\n")
    assert labels(data(IMG).evaluation) == [2, 0]
    make.text("classes.txt", "c\nb\n")
    assert data.mistake(IMG).code == "D009"


def test_unlabelled_calibration_and_evaluation_in_class_folders(make, data):
    make.image("calib/1.png")
    for name in ("a", "b"):
        make.image(f"eval/{name}/1.png")
    opened = data(IMG)
    assert (labels(opened.calibration), labels(opened.evaluation)) == ([None], [0, 1])


def test_one_folder_is_no_class_unless_asked(make, data):
    make.image("images/1.png")
    assert not data(IMG).calibration.has_labels
    assert labels(data(IMG, labels="folders").calibration) == [0]
    make.image("2.png")
    assert data.mistake(IMG, labels="folders").code == "D009"


def test_prepare(make, data):
    make.text(
        "f.py", "import numpy as np\ndef f(path):\n    return {'x': np.full((1, 2), len(path.name), 'f4'), 'y': 3}\n"
    )
    make.text("data/ab.xyz", "")
    opened = data(X, "data", base_dir=data.root, prepare="f.py:f", labels="y")
    (sample,) = opened.calibration
    assert (sample.id, sample.feed["x"].tolist(), sample.label) == ("ab.xyz", [[6, 6]], 3)


@pytest.mark.parametrize(
    ("body", "code", "text"),
    [
        ("raise KeyError('oops')", "R012", "KeyError in line 3: 'oops'"),
        ("return 3", "R012", "returned int"),
        ("return {'x': np.zeros((1, 3), 'f4')}", "D004", "[1,3] came"),
        ("return {'x': np.zeros((4, 2), 'f4')}", "D004", "4 rows"),
        ("return {'z': np.zeros((1, 2)), 'w': 1}", "D006", "z, w"),
        ("return {'x': np.zeros((1, 2))}", "D005", "float64"),
    ],
)
def test_prepare_that_fails(make, data, body, code, text):
    make.text("f.py", f"import numpy as np\ndef f(path):\n    {body}\n")
    make.image("a.png")
    found = data.mistake(X, prepare="f.py:f")
    assert (found.code, found.where) == (code, "a.png")
    assert text in found.message


def test_load_function(make, tmp_path):
    make.text(
        "f.py",
        "from __future__ import annotations\nfrom dataclasses import dataclass\n@dataclass\nclass A:\n    x: int\ndef f(x):\n    return A(x).x + 1\nnothing = 3\n",
    )
    assert load_function("f.py:f", tmp_path)(2) == 3
    make.text("broken.py", "1 / 0\n")
    make.text("exits.py", "raise SystemExit(2)\n")
    for spec, text in [
        ("f.py", "file.py:function"),
        ("f.py:1x", "file.py:function"),
        ("g.py:f", "g.py"),
        ("f.py:g", "no function `g`"),
        ("f.py:nothing", "not callable"),
        ("broken.py:f", "ZeroDivisionError"),
        ("exits.py:f", "SystemExit"),
    ]:
        with pytest.raises(QConvertError, match="R012") as caught:
            load_function(spec, tmp_path)
        assert text in str(caught.value)
