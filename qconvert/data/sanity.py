"""Does the data look like what a model expects? Judged from a few statistics; doubts are warnings, never errors."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from ..errors import Diagnostic, QConvertError, Severity
from .check import gather
from .inputs import CHANNELS
from .samples import Sample, Samples

if TYPE_CHECKING:
    from ..graph import Array

FEW_LEVELS = 4
HUGE = 1e4


@dataclass(frozen=True)
class Hints:
    """What else is known of an input.

    Attributes:
        expected_mean: mean that the model's first layer was trained on, for instance of a BatchNormalization on the input.
        expected_var: variance, likewise.
        integer: whether the input takes integers, where constants are common (masks, segment numbers).
        image: whether it has the shape of images.
        levels: number of distinct values, None if there are many or it is unknown.
        zero_channels: channels that are zero in every sample.
        samples: number of samples that were looked at.
        all_equal: whether all samples are the same.
    """

    expected_mean: float | None = None
    expected_var: float | None = None
    integer: bool = False
    image: bool = False
    levels: int | None = None
    zero_channels: tuple[int, ...] = ()
    samples: int = 1
    all_equal: bool = False


NO_HINTS = Hints()


def sanity(name: str, lo: float, hi: float, mean: float, std: float, hints: Hints = NO_HINTS) -> tuple[Diagnostic, ...]:
    """Judge one input by its statistics over all samples.

    Values of 0..255 are not suspicious by themselves, many models take them; only `expected_mean` can tell.

    Returns:
        D102 for constant inputs, channels and samples; D101 for ranges that look wrong. Warnings; notes where the
        input takes integers.
    """
    if lo == hi:
        return (_doubt("D102", f"input `{name}` is {lo:g} in every sample", hints.integer),)
    found = []
    if hints.all_equal and hints.samples > 1:
        found.append(_doubt("D102", f"input `{name}` is the same in all {hints.samples} samples", hints.integer))
    if hints.zero_channels:
        channels = ", ".join(map(str, hints.zero_channels))
        found.append(_doubt("D102", f"input `{name}`: channel {channels} is zero in every sample", hints.integer))
    if hints.integer:
        return tuple(found)
    if max(abs(lo), abs(hi)) > HUGE:
        text = f"input `{name}` reaches {lo:g}..{hi:g}, which is large for a network"
        found.append(_doubt("D101", text, hint="check `scale`, `mean` and `std` in `dataset.preprocess`"))
    if hints.image and lo >= 0 and hi <= 1 and hints.levels is not None and hints.levels <= FEW_LEVELS:
        text = f"input `{name}` has only {hints.levels} different values in 0..1"
        found.append(_doubt("D101", text, hint="were the images rounded after they were scaled?"))
    return (*found, *_unexpected(name, mean, std, hints))


def scan(samples: Samples, expected: Mapping[str, Hints] = MappingProxyType({})) -> tuple[Diagnostic, ...]:
    """Read all samples once and judge every input.

    Args:
        expected: what the model's first layers tell, by input name; only `expected_mean` and `expected_var` are read.

    Raises:
        QConvertError: the mistakes of all samples that cannot be used, D003 to D007.
    """
    statistics: dict[str, _Statistics] = {}
    mistakes: list[Diagnostic] = []
    for outcome in samples.outcomes():
        if isinstance(outcome, QConvertError):
            mistakes.extend(outcome.diagnostics)
            continue
        for name, array in outcome.feed.items():
            statistics.setdefault(name, _Statistics()).add(array)
    if mistakes:
        raise gather(mistakes)
    return tuple(d for name, s in statistics.items() for d in s.judge(name, expected.get(name, NO_HINTS)))


class Watch:
    """Judges every input while somebody else iterates, so that the data is read only once."""

    def __init__(self, expected: Mapping[str, Hints] = MappingProxyType({})) -> None:
        self._expected = expected
        self._statistics: dict[str, _Statistics] = {}

    def __call__(self, samples: Iterable[Sample]) -> Iterator[Sample]:
        """The same samples, looked at in passing."""
        for sample in samples:
            for name, array in sample.feed.items():
                self._statistics.setdefault(name, _Statistics()).add(array)
            yield sample

    def judge(self) -> tuple[Diagnostic, ...]:
        """What was found in all samples that passed."""
        found = self._statistics.items()
        return tuple(d for name, s in found for d in s.judge(name, self._expected.get(name, NO_HINTS)))


@dataclass
class _Statistics:
    """Running statistics of one input."""

    samples: int = 0
    count: int = 0
    total: float = 0.0
    squares: float = 0.0
    lo: float = math.inf
    hi: float = -math.inf
    integer: bool = False
    image: bool = False
    levels: set[float] = field(default_factory=set)
    zero: Array | None = None
    first: bytes = b""
    all_equal: bool = True

    def add(self, array: Array) -> None:
        if array.size == 0:
            return
        values = array.astype(np.float64)
        self.samples += 1
        self.count += values.size
        self.total += float(values.sum())
        self.squares += float(np.square(values).sum())
        self.lo, self.hi = min(self.lo, float(values.min())), max(self.hi, float(values.max()))
        self.integer = array.dtype.kind in "biu"
        self._add_identity(array)
        if len(self.levels) <= FEW_LEVELS:
            self.levels.update(np.unique(values)[: FEW_LEVELS + 1].tolist())
        if array.ndim == 4 and not self.integer:
            self._add_channels(array)

    def _add_identity(self, array: Array) -> None:
        if not self.all_equal:
            return
        digest = hashlib.sha256(str(array.shape).encode() + np.ascontiguousarray(array).tobytes()).digest()
        self.all_equal = self.first in (b"", digest)
        self.first = self.first or digest

    def _add_channels(self, array: Array) -> None:
        axis = 1 if array.shape[1] in CHANNELS else 3
        self.image = array.shape[axis] in CHANNELS
        if self.image:
            zero = ~np.any(array, axis=tuple(a for a in range(4) if a != axis))
            self.zero = zero if self.zero is None or self.zero.shape != zero.shape else self.zero & zero

    def judge(self, name: str, known: Hints) -> tuple[Diagnostic, ...]:
        if not self.count:
            return ()
        mean = self.total / self.count
        std = math.sqrt(max(self.squares / self.count - mean * mean, 0.0))
        few = len(self.levels) if len(self.levels) <= FEW_LEVELS else None
        zero = () if self.zero is None else tuple(np.flatnonzero(self.zero).tolist())
        hints = Hints(
            known.expected_mean, known.expected_var, self.integer, self.image, few, zero, self.samples, self.all_equal
        )
        return sanity(name, self.lo, self.hi, mean, std, hints)


def _unexpected(name: str, mean: float, std: float, hints: Hints) -> list[Diagnostic]:
    """D101 if mean or spread are far from what the first layer was trained on."""
    if hints.expected_mean is None or hints.expected_var is None:
        return []
    usual = math.sqrt(max(hints.expected_var, 1e-12))
    if abs(mean - hints.expected_mean) <= 3 * usual and usual / 5 <= std <= usual * 5:
        return []
    text = (
        f"input `{name}` has mean {mean:.3g} and standard deviation {std:.3g}, "
        f"the model's first layer was trained on {hints.expected_mean:.3g} and {usual:.3g}"
    )
    return [_doubt("D101", text, hint="check `scale`, `mean` and `std` in `dataset.preprocess`")]


def _doubt(code: str, message: str, mild: bool = False, hint: str | None = None) -> Diagnostic:
    return Diagnostic(code, message, None, hint, Severity.NOTE if mild else Severity.WARNING)
