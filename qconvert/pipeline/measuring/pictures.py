"""Small pictures of samples, for reports: from the image file where there is one, else from what the model was fed with."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...data import Samples
from ...data.images import BROKEN, ImageFile
from ...evaluate import Examples
from ...evaluate.examples import Candidate, spoken_of
from ...graph import Array

if TYPE_CHECKING:
    from PIL import Image

SIDE = 112  # pixels of the longer side
MOST_BYTES = 8_000


def with_pictures(
    examples: Examples, samples: Samples, candidates: Iterable[Candidate], classes: Sequence[str] = ()
) -> Examples:
    """The examples with a picture for each sample that is one, and the names of the classes in the order of their numbers."""
    files = {source.name: source.item.path for source in samples.sources if isinstance(source, ImageFile)}
    shown = (c.example.model_copy(update={"image": _picture(files.get(c.example.id), c.feed)}) for c in candidates)
    names = {c: classes[c] for c in sorted(spoken_of(examples)) if 0 <= c < len(classes)}
    return examples.model_copy(update={"shown": tuple(shown), "names": names})


def _picture(path: Path | None, feed: Mapping[str, Array]) -> str:
    try:
        image = _of_file(path) if path is not None else _of_feed(feed)
        return _encoded(image) if image is not None else ""
    except BROKEN:
        return ""


def _of_file(path: Path) -> Image.Image:
    from PIL import Image, ImageOps

    with Image.open(path) as file:
        file.draft("RGB", (2 * SIDE, 2 * SIDE))  # lets JPEG decode at a fraction of its size
        return ImageOps.exif_transpose(file).convert("RGB")


def _of_feed(feed: Mapping[str, Array]) -> Image.Image | None:
    """The only input as a picture, if it has the shape of one in colour or of a square one in grey; contrast is stretched."""
    from PIL import Image

    values = next(iter(feed.values())) if len(feed) == 1 else np.zeros(0)
    pixels = _pixels(values[0] if values.ndim == 4 else values)
    if pixels is None or not np.isfinite(pixels).all():
        return None
    low, high = float(pixels.min()), float(pixels.max())
    stretched = (pixels - low) * (255 / (high - low) if high > low else 0)
    return Image.fromarray(stretched.astype(np.uint8)).convert("RGB")


def _pixels(row: Array) -> Array | None:
    if row.ndim != 3 or row.dtype.kind not in "uif" or min(sorted(row.shape)[1:]) < 8:
        return None
    channels_last = row.transpose(1, 2, 0) if row.shape[0] in (1, 3) else row
    if channels_last.shape[2] == 3:
        return channels_last.astype(np.float64)
    square = channels_last.shape[2] == 1 and channels_last.shape[0] == channels_last.shape[1]
    return channels_last[..., 0].astype(np.float64) if square else None


def _encoded(image: Image.Image) -> str:
    image.thumbnail((SIDE, SIDE))
    for quality in (80, 60, 40):
        buffer = BytesIO()
        image.save(buffer, "JPEG", quality=quality, optimize=True)
        if buffer.tell() <= MOST_BYTES:
            break
    return "data:image/jpeg;base64," + b64encode(buffer.getvalue()).decode()
