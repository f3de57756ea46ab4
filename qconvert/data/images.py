"""Image files: one row each, decoded by Pillow to 8 bits a channel, turned upright, recoloured, resized and cropped."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ..errors import Diagnostic, QConvertError, fail
from .check import check_shapes
from .geometry import Area, after, crop_box, offset, pair, resized
from .inputs import CHANNELS, Input, Wanted
from .preprocess import Style
from .settings import Resize
from .source import Item, Row, Source

if TYPE_CHECKING:
    from PIL import Image as Pillow

    from ..graph import Array

BROKEN = (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, struct.error, zlib.error)
MODES = {1: "L", 3: "RGB", 4: "RGBA"}
TURNED = (5, 6, 7, 8)  # EXIF orientations that swap height and width


@dataclass(frozen=True)
class ImageFile(Source):
    """One image file."""

    style: ClassVar[Style] = Style(image=True)

    def check(self, rows: Sequence[int]) -> list[Diagnostic]:
        """Compare the size in the file's header with the input."""
        inp = self.wanted.inputs[0]
        try:
            area = after(_header_area(self.item), inp.pre.resize, None)
            small = _too_small(area, inp, self.name)
            shape = to_layout(np.empty((*after(area, None, inp.pre.crop), len(_mode(inp))), np.uint8), inp).shape
        except QConvertError as error:
            return list(error.diagnostics)
        return small or check_shapes({inp.name: shape}, self.wanted, self.name, image=True)

    def read(self, rows: Sequence[int]) -> Iterator[Row]:
        """Decode the image to uint8 in the input's layout."""
        inp = self.wanted.inputs[0]
        for index in rows:
            yield Row(index, {inp.name: to_layout(decode(self.item, inp), inp)})


def open_image(item: Item, wanted: Wanted) -> ImageFile:
    """Describe an image file without opening it.

    Raises:
        QConvertError: D006 (several inputs), D010 (the input is no image).
    """
    check_image_input(wanted.only("images"))
    return ImageFile(item, (item.path,), wanted)


def check_image_input(inp: Input) -> None:
    """Raise D010 if no image has the shape of the input, and R009 if the colour does not fit to its channels."""
    row = inp.row
    if row is None:
        return
    if len(row) == 2:
        row = (1, *row)
    hint = "`dataset.prepare: file.py:function` can turn the files into arrays"
    if len(row) != 3:
        raise fail("D010", f"input `{inp.name}` of rank {len(inp.shape or ())} is not an image", hint=hint)
    channels = row[0 if len(inp.row or ()) == 2 or inp.layout == "chw" else 2]
    if isinstance(channels, int) and channels not in CHANNELS:
        raise fail("D010", f"input `{inp.name}` has {channels} channels, images have 1, 3 or 4", hint=hint)
    if isinstance(channels, int) and channels != len(_mode(inp)):
        message = f"`color: {inp.pre.color}` gives {len(_mode(inp))} channels, input `{inp.name}` has {channels}"
        raise fail("R009", message, "dataset.preprocess.color", "leave `color` out, or choose one that fits")


def decode(item: Item, inp: Input) -> Array:
    """Read an image: uint8 [height, width, channels] in the recipe's colour order and size.

    Transparency is dropped, 16-bit greys are brought to 8 bits, the EXIF orientation is applied.

    Raises:
        QConvertError: D003 (unreadable), D004 (smaller than the crop).
    """
    image = _load(item, _mode(inp))
    if inp.pre.resize is not None:
        image = resize_image(image, inp.pre.resize)
    if inp.pre.crop is not None:
        small = _too_small((image.height, image.width), inp, item.name)
        if small:
            raise QConvertError(small)
        image = image.crop(crop_box((image.height, image.width), inp.pre.crop))
    pixels = np.asarray(image).reshape(image.height, image.width, -1)
    return pixels[..., ::-1] if inp.pre.color == "bgr" else pixels


def _load(item: Item, mode: str) -> Pillow.Image:
    from PIL import ImageOps

    with _open(item) as file:
        try:
            return recolour(ImageOps.exif_transpose(file), mode)
        except BROKEN as error:
            raise _unreadable(item, error) from error


def to_layout(pixels: Array, inp: Input) -> Array:
    """[height, width, channels] to the layout of the input's rows."""
    if inp.row is not None and len(inp.row) == 2:
        return pixels[..., 0]
    return pixels.transpose(2, 0, 1) if inp.layout == "chw" else pixels


def recolour(image: Pillow.Image, mode: str) -> Pillow.Image:
    """Bring any Pillow mode to L, RGB or RGBA.

    Raises:
        ValueError: pixels without a fixed range (32-bit integers or floats).
    """
    from PIL import Image

    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        wide = np.asarray(image).astype(np.uint32)
        image = Image.fromarray(((wide * 255 + 32767) // 65535).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError(f"pixels of mode {image.mode} have no fixed range; save them as .npy")
    if image.mode == "LAB":
        raise ValueError("LAB images are not read; save them as RGB")
    return image if image.mode == mode else image.convert(mode)


def resize_image(image: Pillow.Image, resize: Resize) -> Pillow.Image:
    """Resize as the recipe says; a letterbox gets its border."""
    from PIL import Image

    height, width = resized((image.height, image.width), resize)
    kernel = Image.Resampling[resize.resampler.upper()]
    if (width, height) == image.size:
        small = image
    elif resize.antialias:
        small = image.resize((width, height), kernel)
    else:
        matrix = (image.width / width, 0, 0, 0, image.height / height, 0)
        small = image.transform((width, height), Image.Transform.AFFINE, matrix, kernel)
    if resize.mode != "letterbox":
        return small
    top, left = offset((height, width), resize)
    to_h, to_w = pair(resize.size)
    fill: Any = resize.fill if len(image.mode) == 1 else (resize.fill,) * len(image.mode)
    canvas = Image.new(image.mode, (to_w, to_h), fill)
    canvas.paste(small, (left, top))
    return canvas


def _mode(inp: Input) -> str:
    color, row = inp.pre.color, inp.row
    if color is not None or row is None:
        return "L" if color == "gray" else "RGB"
    channels = row[0 if inp.layout == "chw" else 2] if len(row) == 3 else 1
    return MODES.get(channels, "RGB") if isinstance(channels, int) else "RGB"


def _too_small(area: Area, inp: Input, where: str) -> list[Diagnostic]:
    if inp.pre.crop is None:
        return []
    (height, width), (to_h, to_w) = area, pair(inp.pre.crop)
    if height >= to_h and width >= to_w:
        return []
    message = f"the image of {height} x {width} pixels is smaller than the crop of {to_h} x {to_w}"
    hint = f"`resize: {{size: {max(to_h, to_w)}}}` in `dataset.preprocess` comes before the crop"
    return [Diagnostic("D004", message, where, hint)]


def _header_area(item: Item) -> Area:
    with _open(item) as image:
        try:
            turned = image.getexif().get(0x0112) in TURNED
        except BROKEN:
            turned = False
        return (image.width, image.height) if turned else (image.height, image.width)


def _open(item: Item) -> Pillow.Image:
    from PIL import Image

    try:
        return Image.open(Path(item.path))
    except (*BROKEN, Image.DecompressionBombError) as error:
        raise _unreadable(item, error) from error


def _unreadable(item: Item, error: Exception) -> QConvertError:
    text = "not an image that Pillow knows" if "cannot identify" in str(error) else str(error) or type(error).__name__
    return fail("D003", f"cannot be decoded: {text}", item.name, "mend or remove the file")
