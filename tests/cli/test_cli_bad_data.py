"""Datasets that cannot be used: one clear error with exit code 4 before anything is written."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from end_to_end_support import Cli, Place, hashes, model
from onnx import helper
from PIL import Image

ROWS = np.random.default_rng(0).standard_normal((4, 3, 8, 8)).astype(np.float32)
Fill = Callable[[Path], object]


def images(folder: Path, side: int = 8) -> None:
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 256, (side, side, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")


def truncated_image(folder: Path) -> None:
    images(folder)
    content = (folder / "2.png").read_bytes()
    (folder / "2.png").write_bytes(content[: len(content) // 2])


def mixed(folder: Path) -> None:
    images(folder)
    np.savez(folder / "a.npz", x=ROWS)


def parts(folder: Path, evaluation: np.ndarray | None) -> None:
    for part in ("calib", "eval"):
        (folder / part).mkdir()
    np.savez(folder / "calib" / "a.npz", x=ROWS)
    if evaluation is not None:
        np.savez(folder / "eval" / "b.npz", x=evaluation)


def protobuf(folder: Path) -> None:
    (folder / "test_data_set_0").mkdir()
    (folder / "test_data_set_0" / "input_0.pb").write_bytes(b"\xff\xff")


def arrays(**values: np.ndarray) -> Fill:
    return lambda folder: np.savez(folder / "a.npz", **values)


BAD = {
    "empty": (lambda f: None, "D002", "no samples"),
    "nothing but other files": (lambda f: (f / "readme.txt").write_text("hello"), "D002", "no samples"),
    "no rows": (arrays(x=ROWS[:0]), "D002", "no rows"),
    "npz that is no zip": (lambda f: (f / "a.npz").write_bytes(b"junk"), "D003", "a.npz"),
    "Python objects": (lambda f: np.save(f / "a.npy", np.array([{}], dtype=object)), "D003", "Python objects"),
    "truncated image": (truncated_image, "D003", "2.png"),
    "text called image": (lambda f: (f / "a.jpg").write_text("hello"), "D003", "a.jpg"),
    "broken protobuf": (protobuf, "D003", "input_0.pb"),
    "link to nowhere": (lambda f: (f / "b.npz").symlink_to("/nonexistent"), "D003", "b.npz"),
    "channels last": (arrays(x=ROWS.transpose(0, 2, 3, 1)), "D004", "layout: nchw"),
    "wrong image size": (lambda f: images(f, 9), "D004", "resize"),
    "wrong rank": (arrays(x=ROWS[..., 0, 0]), "D004", "[batch,3,8,8] is wanted"),
    "doubles": (arrays(x=ROWS.astype(np.float64)), "D005", "float64"),
    "text": (arrays(x=np.array(["a", "b"])), "D005", "`x`"),
    "NaN": (arrays(x=np.where(ROWS > 2, np.nan, ROWS).astype(np.float32)), "D007", "NaN in 1 of 192 values"),
    "infinity": (arrays(x=np.where(ROWS > 2, np.inf, ROWS).astype(np.float32)), "D007", "infinite"),
    "images and arrays": (mixed, "D008", "mixed kinds"),
    "bad evaluation part": (lambda f: parts(f, ROWS[:, :2]), "D004", "b.npz"),
    "empty evaluation part": (lambda f: parts(f, None), "D002", "eval"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_data(cli: Cli, place: Place, case: str) -> None:
    fill, code, says = BAD[case]
    shutil.rmtree(place.data)
    place.data.mkdir()
    fill(place.data)
    before = hashes(place.root)
    ran = cli(*place.convert("-q"))
    assert (ran.code, ran.out) == (4, ""), ran
    assert ran.err.startswith(f"error[{code}]: "), ran.err
    assert says in ran.err
    assert hashes(place.root) == before
    assert not place.output.parent.exists()


def test_folder_is_missing_or_a_file(cli: Cli, place: Place) -> None:
    for data, says in ((place.root / "nope", "no such folder"), (place.model, "not a folder")):
        ran = cli(*place.convert("-q", data=data))
        assert (ran.code, ran.out) == (4, "")
        assert ran.err.startswith("error[D001]: ")
        assert says in ran.err


def test_input_missing(cli: Cli, place: Place) -> None:
    shape = ("b", 3, 8, 8)
    place.save(model([helper.make_node("Add", ["x", "other"], ["y"])], {"x": shape, "other": shape}, {"y": shape}))
    ran = cli(*place.convert("-q"))
    assert (ran.code, ran.out) == (4, "")
    assert ran.err.startswith("error[D006]: ")
    assert "`other`" in ran.err


def test_every_bad_file_is_named(cli: Cli, place: Place) -> None:
    for number in range(3):
        (place.data / f"bad{number}.npz").write_bytes(b"junk")
    ran = cli(*place.convert("--json", "-q"))
    assert ran.code == 4
    assert [d["where"] for d in ran.json["diagnostics"]] == ["bad0.npz", "bad1.npz", "bad2.npz"]


def test_labels_and_metrics_that_do_not_fit(cli: Cli, place: Place) -> None:
    for change, code, exit_code in (
        ("dataset.labels=nope.csv", "D009", 4),
        ("evaluation.metric=top1", "D009", 4),
        ("evaluation.metric=nope.py:score", "R012", 2),
        ("evaluation.metric=nope", "R005", 2),
    ):
        ran = cli(*place.convert("-q", "--set", change))
        assert (ran.code, ran.out) == (exit_code, ""), ran
        assert ran.err.startswith(f"error[{code}]: "), ran.err
        assert not place.output.parent.exists()


@pytest.mark.parametrize("factor", [0.0, 1e-40, 1e30])
def test_extreme_values_are_no_reason_to_fail(cli: Cli, place: Place, factor: float) -> None:
    shutil.rmtree(place.data)
    place.data.mkdir()
    np.savez(place.data / "a.npz", x=(ROWS * factor).astype(np.float32))
    ran = cli(*place.convert("--json", "--set", "evaluation.latency=false"))
    assert ran.code == 0, ran.err
    assert ran.json["status"] == "done"
