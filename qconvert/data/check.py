"""Checks of one row against the inputs: shape, symbolic dimensions, type; and how mistakes are put together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from ..errors import Diagnostic, QConvertError
from .inputs import CHANNELS, Input, Wanted

if TYPE_CHECKING:
    from ..graph import Dim

LIMIT = 10
Shape = tuple[int, ...]


def gather(mistakes: Iterable[Diagnostic]) -> QConvertError:
    """One exception for all mistakes: the first ten, then how many more there are."""
    unique = list(dict.fromkeys(mistakes))
    shown, rest = unique[:LIMIT], unique[LIMIT:]
    if rest:
        shown.append(Diagnostic(rest[0].code, f"and {len(rest)} more"))
    return QConvertError(shown)


def check_shapes(shapes: Mapping[str, Shape], wanted: Wanted, where: str, image: bool = False) -> list[Diagnostic]:
    """Compare the rows of one sample with the inputs.

    Args:
        shapes: shape of a row (without batch axis) by input name.
        image: whether the rows were decoded from an image file, for the hint.

    Returns:
        D004 for every rank or fixed size that differs and every symbolic size that two inputs disagree on.
    """
    found = []
    for inp in wanted.inputs:
        shape = shapes.get(inp.name)
        if shape is not None and inp.row is not None and not fits(shape, inp.row):
            message = f"input `{inp.name}`: {_full(shape, inp, wanted.batch)} came, {_show(inp.shape or ())} is wanted"
            found.append(Diagnostic("D004", message, where, shape_hint(shape, inp, image)))
    return found or _disagreements(shapes, wanted, where)


def fits(shape: Shape, row: tuple[Dim, ...]) -> bool:
    """Whether a shape has the rank and the fixed sizes of a row."""
    return len(shape) == len(row) and all(not isinstance(d, int) or d == s for s, d in zip(shape, row, strict=True))


def _disagreements(shapes: Mapping[str, Shape], wanted: Wanted, where: str) -> list[Diagnostic]:
    sizes: dict[str, tuple[int, str]] = {}
    found = []
    for inp in wanted.inputs:
        shape = shapes.get(inp.name)
        if shape is None or inp.shape is None:
            continue
        full = (wanted.batch, *shape) if inp.batched else shape
        for size, dim in zip(full, inp.shape, strict=True):
            known, owner = sizes.setdefault(dim, (size, inp.name)) if isinstance(dim, str) else (size, "")
            if known != size:
                message = f"dimension {dim} is {known} in `{owner}` and {size} in `{inp.name}`"
                found.append(Diagnostic("D004", message, where, "inputs that share a dimension need arrays that agree"))
    return found


def shape_hint(shape: Shape, inp: Input, image: bool = False) -> str | None:
    """The preprocessing that would turn a row of `shape` into what the input wants, in words; None if none is known."""
    row = inp.row or ()
    if image:
        return _image_hint(row, inp.layout)
    place = "`dataset.preprocess`"
    if transposed(shape, row) is not None:
        layout = "nchw" if len(row) == 3 and row[0] in CHANNELS else "nhwc"
        return (
            f"the channels are on the other side; `layout: {layout}` in {place} transposes arrays to the model's layout"
        )
    if len(shape) == len(row) and row and isinstance(row[-1], int) and fits(shape[:-1], row[:-1]):
        return f"`pad_to: {row[-1]}` in {place} pads or truncates the last axis"
    if len(shape) != len(row):
        return f"one sample has the shape {_show(row)}, an array of many has one axis more in front"
    return None


def transposed(shape: Shape, row: tuple[Dim, ...]) -> tuple[int, int, int] | None:
    """The axes order that brings a row from the other channel layout to the wanted one; None if that is not what differs."""
    if len(shape) != 3 or len(row) != 3 or fits(shape, row):
        return None
    for axes in ((2, 0, 1), (1, 2, 0)):
        channel = row[axes.index(2)] if axes == (2, 0, 1) else row[2]
        if channel in CHANNELS and fits((shape[axes[0]], shape[axes[1]], shape[axes[2]]), row):
            return axes
    return None


def _image_hint(row: tuple[Dim, ...], layout: str) -> str | None:
    sizes = row[1:] if len(row) == 3 and layout == "chw" else row[:2]
    if len(sizes) != 2 or not all(isinstance(s, int) for s in sizes):
        return "set `dataset.preprocess.color` and `layout` to what the model was trained with"
    size = f"[{sizes[0]}, {sizes[1]}]"
    return f"set `resize: {{size: {size}, mode: stretch}}` (or letterbox), or `crop: {size}`, in `dataset.preprocess`"


def _full(shape: Shape, inp: Input, batch: int) -> str:
    return _show((batch, *shape) if inp.batched else shape)


def _show(shape: tuple[Dim, ...]) -> str:
    return f"[{','.join('?' if d is None else str(d) for d in shape)}]"
