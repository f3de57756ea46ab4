"""What the model wants, in the terms of a dataset: which inputs have a batch axis, and what one row of each looks like."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ..errors import Diagnostic, QConvertError, fail
from .settings import DatasetSettings, Preprocess

if TYPE_CHECKING:
    from ..graph import Dim, TensorType

CHANNELS = (1, 3, 4)
_NUMBERS = "export the model with inputs such as float32 or int64, or cut it behind the nodes that read this one"
LABEL_NAMES = ("label", "labels")


@dataclass(frozen=True)
class Input:
    """One model input as a dataset sees it.

    Attributes:
        dtype: NumPy name of the element type, None if unknown.
        shape: the model's shape with its batch axis, None if the rank is unknown.
        batched: whether the first axis counts rows.
        array: name of the array or column prefix that feeds it where the recipe gives one.
        pre: preprocessing.
    """

    name: str
    dtype: str | None
    shape: tuple[Dim, ...] | None
    batched: bool
    array: str | None = None
    pre: Preprocess = field(default_factory=Preprocess)

    @property
    def row(self) -> tuple[Dim, ...] | None:
        """Shape of one row, without the batch axis; None if the rank is unknown."""
        if self.shape is None:
            return None
        return self.shape[1:] if self.batched else self.shape

    @property
    def layout(self) -> str:
        """Where the channels of a row of rank 3 are: "chw" or "hwc"."""
        if self.pre.layout is not None:
            return self.pre.layout[1:]
        row = self.row
        if row is None or len(row) != 3 or row[0] in CHANNELS:
            return "chw"
        return "hwc" if row[2] in CHANNELS or (isinstance(row[0], int) and not isinstance(row[2], int)) else "chw"


@dataclass(frozen=True)
class Wanted:
    """All inputs of the model and what else decides how a file is read.

    Attributes:
        batch: rows in one sample: 1, or the model's fixed batch.
        labels: names under which an array, column or key holds the label; such data is never an input's by position.
        use_labels: whether labels in the sample files are read.
    """

    inputs: tuple[Input, ...]
    batch: int = 1
    labels: tuple[str, ...] = LABEL_NAMES
    use_labels: bool = True

    @property
    def labels_named(self) -> bool:
        """Whether the recipe names the array that holds the labels."""
        return self.labels != LABEL_NAMES

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the inputs in graph order."""
        return tuple(i.name for i in self.inputs)

    def only(self, kind: str) -> Input:
        """The one input that files of this kind feed.

        Raises:
            QConvertError: D006, the model has several inputs.
        """
        if len(self.inputs) != 1:
            raise fail(
                "D006",
                f"{kind} feed one input, the model has {len(self.inputs)}: {', '.join(self.names)}",
                hint="save .npz files with one array for each input, or set `dataset.prepare: file.py:function`",
            )
        return self.inputs[0]


def describe(inputs: Mapping[str, TensorType], settings: DatasetSettings) -> Wanted:
    """Join the model's inputs with the recipe.

    The first axis of an input of rank 2 or more is a batch axis if its size is symbolic, unknown or 1, or if it is the
    same fixed number B > 1 for all of them (then a sample has B rows); a lone input of rank 3 with 1, 3 or 4 fixed
    channels is an image without a batch axis. An input of rank 1 has a batch axis only if its dimension is that of
    such an input's batch axis. Everything else is fed as it is.

    Raises:
        QConvertError: R005 (recipe names an unknown input or type), D005 (an input that no dataset can feed).
    """
    mistakes = [*_unknown_inputs(inputs, settings), *_bad_types(inputs, settings)]
    if mistakes:
        raise QConvertError(mistakes)
    batch = _fixed_batch(inputs)
    wide = {t.shape[0] for t in inputs.values() if t.shape and len(t.shape) >= 2 and _leads(t.shape[0], batch)}
    result = []
    for name, kind in inputs.items():
        own = settings.inputs.get(name)
        pre = own.preprocess if own and own.preprocess else settings.preprocess
        batched = _has_batch(kind.shape, batch, wide)
        result.append(Input(name, kind.dtype, kind.shape, batched, own.array if own else None, pre))
    labels = settings.labels
    elsewhere = labels is not None and (labels in ("none", "folders") or labels.endswith(".csv"))
    names = LABEL_NAMES if labels is None or elsewhere else (labels,)
    return Wanted(tuple(result), batch, names, not elsewhere)


def _fixed_batch(inputs: Mapping[str, TensorType]) -> int:
    shapes = [t.shape for t in inputs.values() if t.shape and len(t.shape) >= 2]
    first = {shape[0] for shape in shapes}
    if len(first) != 1 or (len(shapes) == 1 and _lone_image(shapes[0])):
        return 1
    size = first.pop()
    return size if isinstance(size, int) and size > 1 else 1


def _lone_image(shape: tuple[Dim, ...]) -> bool:
    return len(shape) == 3 and (shape[0] in CHANNELS or shape[2] in CHANNELS)


def _leads(dim: Dim, batch: int) -> bool:
    return not isinstance(dim, int) or dim in (1, batch)


def _has_batch(shape: tuple[Dim, ...] | None, batch: int, wide: set[Dim]) -> bool:
    if shape is None:
        return True
    if len(shape) == 1:
        return shape[0] is not None and shape[0] in wide
    return len(shape) >= 2 and _leads(shape[0], batch)


def _unknown_inputs(inputs: Mapping[str, TensorType], settings: DatasetSettings) -> list[Diagnostic]:
    found = []
    for name in sorted(settings.inputs.keys() - inputs.keys()):
        near = difflib.get_close_matches(name, inputs, 1)
        hint = f"did you mean `{near[0]}`?" if near else f"the inputs are: {', '.join(inputs)}"
        found.append(Diagnostic("R005", f"the model has no input `{name}`", "dataset.inputs", hint))
    return found


def _bad_types(inputs: Mapping[str, TensorType], settings: DatasetSettings) -> list[Diagnostic]:
    found = [
        Diagnostic("D005", f"input `{name}` is of type {kind.dtype}, which cannot come from a dataset", None, _NUMBERS)
        for name, kind in inputs.items()
        if kind.dtype is not None and not _numeric(kind.dtype)
    ]
    asked = {"dataset.preprocess.dtype": settings.preprocess.dtype}
    for name, own in settings.inputs.items():
        asked[f"dataset.inputs.{name}.preprocess.dtype"] = own.preprocess.dtype if own.preprocess else None
    hint = "use a NumPy name such as float32, int64 or uint8"
    return found + [
        Diagnostic("R005", f"not a numeric type: {kind}", place, hint)
        for place, kind in asked.items()
        if kind is not None and not _numeric(kind)
    ]


def _numeric(name: str) -> bool:
    try:
        return np.dtype(name).kind in "biuf"
    except TypeError:
        return False
