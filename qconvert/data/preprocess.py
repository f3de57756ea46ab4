"""From a decoded row to the array that is fed: x * scale, (x - mean) / std, dtype, pad, shape, lossless cast."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import Diagnostic, QConvertError, fail
from .check import Shape
from .inputs import Input
from .settings import Preprocess, Unit

if TYPE_CHECKING:
    from ..graph import Array, Dim


@dataclass(frozen=True)
class Style:
    """How the rows of a kind of file are finished.

    Attributes:
        flat: a row is a plain list of numbers that takes the input's shape.
        parsed: numbers without a type of their own (text, audio), read as the input's type.
        fill: rows are padded or truncated to the input's fixed size without being asked.
        image: the row comes from an image file.
    """

    flat: bool = False
    parsed: bool = False
    fill: bool = False
    image: bool = False


def finish(array: Array, inp: Input, style: Style, where: str) -> Array:
    """Preprocess one decoded row and give it the input's type; its shape is not checked here.

    Raises:
        QConvertError: D005 (type cannot be cast), D007 (NaN or infinite), R005 (mean or std of the wrong length).
    """
    with np.errstate(all="ignore"):
        array = arithmetic(array, inp)
        if inp.pre.dtype is not None and array.dtype.kind in "biuf":
            array = array.astype(inp.pre.dtype, copy=False)
        array = _pad(array, _length(array.shape, inp, style), inp.pre.pad_value)
        array = array.reshape(final_shape(array.shape, inp, style))
        check_finite(array, inp.name, where)
        done = cast(array, inp, style.parsed, where)
    if done.dtype != array.dtype:
        check_finite(done, inp.name, where)
    return np.ascontiguousarray(done).reshape(done.shape)


def final_shape(shape: Shape, inp: Input, style: Style) -> Shape:
    """Shape of a finished row that is decoded with `shape`: padded, and for lists of numbers in the input's shape."""
    length = _length(shape, inp, style)
    if length is not None and shape:
        shape = (*shape[:-1], length)
    return _unflatten(shape, inp.row) if style.flat else shape


def _length(shape: Shape, inp: Input, style: Style) -> int | None:
    if style.image or not shape:
        return None
    if inp.pre.pad_to is None and style.fill and inp.row:
        fixed = [d for d in inp.row if isinstance(d, int)]
        return math.prod(fixed) if len(fixed) == len(inp.row) else None
    return inp.pre.pad_to


def _unflatten(shape: Shape, row: tuple[Dim, ...] | None) -> Shape:
    if row is None or len(shape) > 1 or len(row) == len(shape) == 1:
        return shape
    shape = shape or (1,)
    known = math.prod(d for d in row if isinstance(d, int))
    free = sum(not isinstance(d, int) for d in row)
    if free > 1 or known == 0 or shape[0] % known or (not free and shape[0] != known):
        return shape
    return tuple(d if isinstance(d, int) else shape[0] // known for d in row)


def arithmetic(array: Array, inp: Input) -> Array:
    """(x * scale - mean) / std in float32 (float64 stays float64); untouched where the recipe asks for nothing."""
    pre = inp.pre
    if array.dtype.kind not in "biuf" or (pre.scale == 1 and pre.mean == 0 and pre.std == 1):
        return array
    kind = np.float64 if array.dtype == np.float64 else np.float32
    result: Array = array.astype(kind, order="C")
    if pre.scale != 1:
        np.multiply(result, kind(pre.scale), out=result)
    if pre.mean != 0:
        np.subtract(result, _unit(pre.mean, "mean", result.shape, inp).astype(kind), out=result)
    if pre.std != 1:
        np.divide(result, _unit(pre.std, "std", result.shape, inp).astype(kind), out=result)
    return result


def _unit(value: Unit, key: str, shape: Shape, inp: Input) -> Array:
    if not isinstance(value, tuple):
        return np.asarray(value)
    if len(value) == 1:
        return np.asarray(value[0])
    axis = 0 if len(shape) == 3 and inp.layout == "chw" else len(shape) - 1
    if not shape or shape[axis] != len(value):
        came = shape[axis] if shape else 1
        message = f"`{key}` has {len(value)} values, input `{inp.name}` has {came} channels"
        raise fail("R005", message, f"dataset.preprocess.{key}", "give one number, or one for each channel")
    return np.asarray(value).reshape([-1 if i == axis else 1 for i in range(len(shape))])


def _pad(array: Array, length: int | None, value: float) -> Array:
    if length is None or array.ndim == 0 or array.shape[-1] == length:
        return array
    if array.shape[-1] > length:
        return array[..., :length]
    result = np.full((*array.shape[:-1], length), value, array.dtype)
    result[..., : array.shape[-1]] = array
    return result


def castable(source: np.dtype[Any], target: str | None, pre: Preprocess) -> str:
    """How values of one type become another: "same", "safe" (always exact), "value" (exact if the values allow) or "no"."""
    if source.kind not in "biuf":
        return "no"
    kind = np.dtype(pre.dtype or _after_arithmetic(source.newbyteorder("="), pre))
    if target is None or kind == np.dtype(target):
        return "same"
    wanted = np.dtype(target)
    if np.can_cast(kind, wanted, "safe"):
        return "safe"
    return "value" if kind.kind in "biu" and wanted.kind in "biuf" else "no"


def _after_arithmetic(source: np.dtype[Any], pre: Preprocess) -> np.dtype[Any]:
    plain = pre.scale == 1 and pre.mean == 0 and pre.std == 1
    return source if plain or source == np.float64 else np.dtype(np.float32)


def cast_error(source: np.dtype[Any], inp: Input, where: str) -> Diagnostic:
    """D005 for values whose type the input cannot take."""
    message = f"input `{inp.name}`: {source} cannot become {inp.dtype} without loss"
    hint = f"`dtype: {inp.dtype}` in `dataset.preprocess` casts it all the same"
    if source.kind not in "biuf":
        hint = "save numbers, not objects or text"
    return Diagnostic("D005", message, where, hint)


def cast(array: Array, inp: Input, parsed: bool, where: str) -> Array:
    """Give the array the input's type where nothing is lost.

    Args:
        parsed: the numbers have no type of their own, so rounding to the input's float type is no loss.

    Raises:
        QConvertError: D005, with the first value that would change.
    """
    if inp.dtype is None or array.dtype == np.dtype(inp.dtype):
        return array
    target = np.dtype(inp.dtype)
    how = castable(array.dtype, inp.dtype, Preprocess())
    result = array.astype(target) if array.dtype.kind in "biuf" else array
    if how == "safe" or (parsed and target.kind == "f" and array.dtype.kind in "biuf"):
        return result
    if how == "no" and not parsed:
        raise QConvertError([cast_error(array.dtype, inp, where)])
    changed = _changed(array, result)
    if changed is not None:
        message = f"input `{inp.name}`: the value {changed} cannot become {inp.dtype} without loss"
        raise fail("D005", message, where, f"`dtype: {inp.dtype}` in `dataset.preprocess` casts it all the same")
    return result


def _changed(before: Array, after: Array) -> object:
    if before.dtype.kind not in "biuf":
        return before.flat[0]
    exact = before == after
    if before.dtype.kind in "iu" and after.dtype.kind in "iu":
        exact &= (before < 0) == (after < 0)
    elif before.dtype.kind in "iu" and after.dtype.kind == "f":
        exact = (np.abs(after) < 2.0**62) & (after.astype(before.dtype) == before)
    return None if exact.all() else before[~exact].flat[0]


def check_finite(array: Array, name: str, where: str) -> None:
    """Raise D007 if the array holds NaN or infinity."""
    if array.dtype.kind != "f" or np.isfinite(array).all():
        return
    bad = array[~np.isfinite(array)]
    what, hint = "NaN", "remove the sample or mend it"
    if not np.isnan(bad).any():
        what, hint = "infinite values", f"{hint}; in a mask, write a large number such as -10000 instead"
    raise fail("D007", f"input `{name}`: {what} in {bad.size} of {array.size} values", where, hint)
