"""Images: modes, geometry, arithmetic, layout, mistakes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from qconvert.data import Preprocess, Resize
from qconvert.data.geometry import after, crop_box, offset, resized

RGB = {"x": "float32[N,3,8,8]"}
sides = st.integers(1, 2000)


def first(dataset) -> np.ndarray:
    return next(iter(dataset.calibration)).feed["x"]


def test_a_plain_image(make, data):
    make.image("a.png")
    x = first(data(RGB))
    assert (x.shape, x.dtype) == ((1, 3, 8, 8), np.float32)
    assert x[0, :, 0, 0].tolist() == [10, 20, 30]
    assert x.flags.c_contiguous


@pytest.mark.parametrize(
    ("inputs", "pre", "shape", "values"),
    [
        ("float32[N,3,8,8]", {"color": "bgr"}, (1, 3, 8, 8), [30, 20, 10]),
        ("float32[N,8,8,3]", {}, (1, 8, 8, 3), [10, 20, 30]),
        ("uint8[1,8,8,3]", {}, (1, 8, 8, 3), [10, 20, 30]),
        ("float32[N,1,8,8]", {}, (1, 1, 8, 8), [18]),
        ("float32[N,8,8]", {}, (1, 8, 8), [18]),
        ("float32[3,8,8]", {}, (3, 8, 8), [10, 20, 30]),
        ("float32[N,4,8,8]", {}, (1, 4, 8, 8), [10, 20, 30, 255]),
        ("float32[N,C,H,W]", {}, (1, 3, 8, 8), [10, 20, 30]),
        ("float32[N,C,H,W]", {"color": "gray"}, (1, 1, 8, 8), [18]),
        ("float32[N,H,W,C]", {"layout": "nhwc"}, (1, 8, 8, 3), [10, 20, 30]),
    ],
)
def test_colour_and_layout(make, data, inputs, pre, shape, values):
    make.image("a.png")
    x = first(data({"x": inputs}, preprocess=pre))
    assert x.shape == shape
    pixel = x.reshape(-1, 8 * 8) if shape[-1] == 8 else x.reshape(8 * 8, -1).T
    assert pixel[:, 0].tolist() == values


@pytest.mark.parametrize(
    ("mode", "color", "name", "value"),
    [
        ("L", 7, "a.png", [7, 7, 7]),
        ("1", 1, "a.png", [255, 255, 255]),
        ("RGBA", (1, 2, 3, 0), "a.png", [1, 2, 3]),
        ("LA", (9, 0), "a.png", [9, 9, 9]),
        ("I;16", 65535, "a.png", [255, 255, 255]),
        ("I;16", 257 * 7, "a.tif", [7, 7, 7]),
        ("CMYK", (0, 0, 0, 0), "a.tif", [255, 255, 255]),
    ],
)
def test_modes(make, data, mode, color, name, value):
    make.image(name, color=color, mode=mode)
    assert first(data(RGB))[0, :, 0, 0].tolist() == value


def test_palette(make, data):
    Image.new("RGB", (8, 8), (200, 100, 0)).quantize(4).save(make.path("a.gif"))
    assert first(data(RGB))[0, :, 0, 0].tolist() == [200, 100, 0]


def test_exif_orientation_is_applied_and_known_from_the_header(make, data):
    image = Image.new("RGB", (4, 8))
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(make.path("a.jpg"), exif=exif)
    assert first(data({"x": "float32[N,3,4,8]"})).shape == (1, 3, 4, 8)
    assert data.mistake({"x": "float32[N,3,8,4]"}).code == "D004"


def test_scale_mean_std(make, data):
    make.image("a.png")
    pre = Preprocess(scale=0.5, mean=(1.0, 2.0, 3.0), std=(2.0, 4.0, 8.0))
    for inputs in (RGB, {"x": "float32[N,8,8,3]"}):
        x = first(data(inputs, preprocess=pre))
        assert sorted(set(x.ravel().tolist())) == [1.5, 2.0]
    wrong = data.mistake(RGB, preprocess={"mean": (1.0, 2.0)})
    assert wrong.code == "R005"
    assert "2 values" in wrong.message
    assert "3 channels" in wrong.message


@given(sides, sides, sides, sides)
def test_letterbox_fits_keeps_the_ratio_and_fills_one_side(h, w, to_h, to_w):
    resize = Resize(size=(to_h, to_w), mode="letterbox")
    a, b = resized((h, w), resize)
    assert 1 <= a <= to_h
    assert 1 <= b <= to_w
    assert a == to_h or b == to_w
    assert a == 1 or b == 1 or abs(a * w - b * h) <= max(h, w)
    top, left = offset((a, b), resize)
    assert 0 <= to_h - a - 2 * top <= 1
    assert 0 <= to_w - b - 2 * left <= 1
    assert after((h, w), resize, None) == (to_h, to_w)


@given(sides, sides, sides)
def test_shortest_side(h, w, size):
    a, b = resized((h, w), Resize(size=size))
    assert min(a, b) == size
    assert max(a, b) == size * max(h, w) // min(h, w)
    assert (a >= b) == (h >= w) or a == b


@given(sides, sides, sides, sides)
def test_crop_is_centred(h, w, to_h, to_w):
    left, top, right, bottom = crop_box((h, w), (to_h, to_w))
    assert (bottom - top, right - left) == (to_h, to_w)
    assert abs((top + bottom) - h) <= 1
    assert abs((left + right) - w) <= 1


@pytest.mark.parametrize("anchor", ["center", "top-left"])
def test_letterbox_pixels(make, data, anchor):
    make.image("a.png", size=(4, 8), color=(200, 200, 200))
    x = first(data(RGB, preprocess={"resize": Resize(size=8, mode="letterbox", anchor=anchor, fill=9)}))[0, 0]
    top = 0 if anchor == "top-left" else 2
    assert (x[top : top + 4] == 200).all()
    assert (np.delete(x, range(top, top + 4), 0) == 9).all()


def test_resamplers_differ_and_antialiasing_can_be_switched_off(make, data):
    pixels = np.random.RandomState(0).randint(0, 256, (64, 64, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(make.path("a.png"))
    results = {
        (r, a): first(data(RGB, preprocess={"resize": Resize(size=8, resampler=r, antialias=a)})).tobytes()
        for r, a in [("bilinear", True), ("bilinear", False), ("bicubic", True), ("nearest", True), ("nearest", False)]
    }
    assert len(set(results.values())) == 4
    assert results["nearest", True] == results["nearest", False]


def test_without_antialiasing_is_half_pixel_bilinear(make, data):
    pixels = np.arange(32, dtype=np.uint8).reshape(4, 8)
    Image.fromarray(pixels).save(make.path("a.png"))
    x = first(data({"x": "float32[N,1,2,4]"}, preprocess={"resize": Resize(size=2, antialias=False)}))[0, 0]
    assert np.abs(x - pixels.reshape(2, 2, 4, 2).mean((1, 3))).max() <= 0.5


def test_resize_then_crop(make, data):
    make.image("a.png", size=(20, 40))
    assert first(data(RGB, preprocess={"resize": Resize(size=10), "crop": 8})).shape == (1, 3, 8, 8)


def test_wrong_size_is_found_before_anything_is_decoded(make, data):
    make.image("a.png")
    make.image("b.png", size=(9, 7))
    found = data.mistake(RGB)
    assert (found.code, found.where) == ("D004", "b.png")
    assert "[1,3,9,7] came, [N,3,8,8] is wanted" in found.message
    assert "resize: {size: [8, 8]" in found.hint
    assert len(data({"x": "float32[N,3,H,W]"}).calibration) == 2


def test_smaller_than_the_crop(make, data):
    make.image("a.png", size=(7, 20))
    found = data.mistake(RGB, preprocess={"crop": 8})
    assert (found.code, found.where) == ("D004", "a.png")
    assert "resize" in found.hint


def test_corrupt_files(make, data):
    make.text("a.png", "not an image")
    Image.fromarray(np.random.RandomState(0).randint(0, 256, (64, 64, 3)).astype(np.uint8)).save(make.path("b.jpg"))
    make.image("c.png", size=(64, 64))
    whole = make.path("b.jpg").read_bytes()
    make.path("b.jpg").write_bytes(whole[: len(whole) // 2])
    inputs = {"x": "float32[N,3,64,64]"}
    assert (data.mistake(inputs).code, data.mistake(inputs).where) == ("D003", "a.png")
    make.path("a.png").unlink()
    found = data.mistake(inputs)
    assert (found.code, found.where) == ("D003", "b.jpg")
    assert "truncated" in found.message


def test_float_images_have_no_range(make, data):
    make.image("a.tif", mode="F", color=0.5)
    found = data.mistake(RGB)
    assert found.code == "D003"
    assert ".npy" in found.message


@pytest.mark.parametrize("shape", ["float32[N,10]", "float32[N,8,8,3,2]", "float32[N,7,8,8]"])
def test_an_input_that_is_no_image(make, data, shape):
    make.image("a.png")
    found = data.mistake({"x": shape})
    assert found.code == "D010"
    assert "prepare" in found.hint


def test_colour_that_does_not_fit(make, data):
    make.image("a.png")
    assert data.mistake({"x": "float32[N,1,8,8]"}, preprocess={"color": "rgb"}).code == "R009"


def test_several_inputs(make, data):
    make.image("a.png")
    make.image("b.png")
    found = data.mistake({**RGB, "y": "float32[N,1]"})
    assert found.code == "D006"
    assert "x, y" in found.message
    assert ".npz" in found.hint


def test_fixed_batch_groups_images_and_drops_the_tail(make, data):
    for i in range(5):
        make.image(f"{i}.png", color=(i, i, i))
    make.text("labels.csv", "\n".join(f"{i}.png,{i}" for i in range(5)))
    opened = data({"x": "float32[2,3,8,8]"})
    assert [s.id for s in opened.calibration] == ["0.png..1.png", "2.png..3.png"]
    assert [s.feed["x"][:, 0, 0, 0].tolist() for s in opened.calibration] == [[0, 1], [2, 3]]
    assert [s.label.tolist() for s in opened.calibration] == [[0, 1], [2, 3]]
    assert any("the last 1 of 5 rows" in d.message for d in opened.diagnostics)
    assert data.mistake({"x": "float32[8,3,8,8]"}).code == "D004"
