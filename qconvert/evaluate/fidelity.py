"""How close two runs are, output by output, without labels; one sample is in memory at a time.

* SQNR in dB: `10 log10(sum r² / sum (v - r)²)` over all values of all samples, r of the FP32 model and v of the result.
* Cosine: mean over samples of `r·v / (|r| |v|)`; 1 where both are zero, 0 where only one is.
* Largest absolute difference.
* Agreement: share of rows whose arg-max is the same, with Wilson's 95 % interval.

Outputs that are no floats (integers, booleans, strings) are equal or not: their cosine is the mean share of equal elements,
their SQNR counts elements over unequal elements (`-10 log10(1 - share)`: infinite where all are equal, 0 dB where none is), and
their largest difference is that of the numbers, or 1 for strings. They enter the figures of the whole only if there is no
float output. Outputs whose shape depends on the data may differ in shape: missing floats count as zeros, missing elements of
other types as unequal. The same infinity, or NaN, on both sides is no error; a value that is not finite on one side only makes
the noise infinite.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf, log10, nan, sqrt
from typing import Any

import numpy as np

from ..graph import Array
from .model import Fidelity, Interval, OutputFidelity
from .outputs import arrays, class_scores, first_largest, is_float, judged
from .statistics import wilson


def sqnr_db(signal: float, noise: float) -> float:
    """Signal power over noise power in dB; infinite without noise, minus infinite for noise without signal."""
    if noise == 0:
        return inf
    if signal == 0 or not noise < inf:
        return -inf
    return 10 * (log10(signal) - log10(noise))


@dataclass(frozen=True, slots=True)
class Deviation:
    """How one tensor of one sample deviates: powers, cosine, largest absolute difference."""

    signal: float
    noise: float
    cosine: float
    max_abs: float


def deviation(reference: Array, value: Array) -> Deviation:
    """Compare two tensors as the module says; floats by their differences, others by equality."""
    if is_float(reference) and is_float(value):
        return _float_deviation(reference, value)
    return _symbol_deviation(reference, value)


def _float_deviation(reference: Array, value: Array) -> Deviation:
    r, v = _comparable(*_padded(reference, value))
    with np.errstate(invalid="ignore", over="ignore"):
        difference = v - r
        noise = float(difference @ difference)
        signal, power, product = float(r @ r), float(v @ v), float(r @ v)
    if not noise < inf:
        return Deviation(float(np.sum(np.square(r[np.isfinite(r)]))), inf, 0.0, inf)
    return Deviation(signal, noise, _cosine(signal, power, product), float(np.abs(difference).max(initial=0.0)))


def _cosine(signal: float, power: float, product: float) -> float:
    if signal == 0 or power == 0:
        return float(signal == power)
    return min(max(product / (sqrt(signal) * sqrt(power)), -1.0), 1.0)


def _padded(reference: Array, value: Array) -> tuple[Array, Array]:
    """Both as flat float64, the shorter one extended by zeros along each axis."""
    if reference.ndim != value.ndim:
        reference, value = reference.reshape(-1), value.reshape(-1)
    shape = tuple(max(pair) for pair in zip(reference.shape, value.shape, strict=True))
    return _extended(reference, shape), _extended(value, shape)


def _extended(array: Array, shape: tuple[int, ...]) -> Array:
    if array.shape != shape:
        array = np.pad(array, [(0, wanted - have) for wanted, have in zip(shape, array.shape, strict=True)])
    return array.astype(np.float64).reshape(-1)


def _comparable(r: Array, v: Array) -> tuple[Array, Array]:
    """Without the places where both are the same infinity, or both NaN."""
    finite = np.isfinite(r) & np.isfinite(v)
    if finite.all():
        return r, v
    keep = finite | ~((r == v) | (np.isnan(r) & np.isnan(v)))
    return r[keep], v[keep]


def _symbol_deviation(reference: Array, value: Array) -> Deviation:
    total = max(reference.size, value.size)
    if reference.shape != value.shape:
        return Deviation(total, total, 0.0, inf)
    unequal = int(np.count_nonzero(reference != value))
    share = 1 - unequal / total if total else 1.0
    return Deviation(total, unequal, share, _largest_difference(reference, value, unequal))


def _largest_difference(reference: Array, value: Array, unequal: int) -> float:
    if unequal == 0 or reference.dtype.kind not in "iubf" or value.dtype.kind not in "iubf":
        return float(unequal > 0)
    return float(np.abs(value.astype(np.float64) - reference.astype(np.float64)).max())


class Total:
    """Deviations of one tensor, added up over samples."""

    def __init__(self) -> None:
        self.signal = self.noise = self.max_abs = self._cosines = 0.0
        self.samples = 0

    def add(self, reference: Array, value: Array) -> None:
        """Take in one sample."""
        found = deviation(reference, value)
        self.signal += found.signal
        self.noise += found.noise
        self.max_abs = max(self.max_abs, found.max_abs)
        self._cosines += found.cosine
        self.samples += 1

    @property
    def sqnr_db(self) -> float:
        """Of all samples together; NaN before the first."""
        return sqnr_db(self.signal, self.noise) if self.samples else nan

    @property
    def cosine(self) -> float:
        """Mean over samples; NaN before the first."""
        return self._cosines / self.samples if self.samples else nan

    @property
    def relative_noise(self) -> float:
        """Noise power over signal power."""
        if self.noise == 0:
            return 0.0
        return self.noise / self.signal if self.signal else inf


class Agreement:
    """Share of rows with the same arg-max; nothing if any sample has no scores of classes."""

    def __init__(self) -> None:
        self.hits = self.rows = 0
        self._meaningful = True

    def add(self, reference: Array, value: Array) -> None:
        """Take in one sample."""
        before, after = class_scores(reference), class_scores(value)
        if before is None or after is None or before.shape != after.shape:
            self._meaningful = False
            return
        self.hits += int(np.count_nonzero(first_largest(before) == first_largest(after)))
        self.rows += len(before)

    def result(self) -> tuple[float, Interval] | tuple[None, None]:
        """The share and its 95 % interval."""
        if not self._meaningful or not self.rows:
            return None, None
        return self.hits / self.rows, wilson(self.hits, self.rows)


class Comparison:
    """Fidelity of a stream of samples."""

    def __init__(self) -> None:
        self.samples = 0
        self._totals: dict[str, Total] = {}
        self._floats: set[str] = set()
        self._agreement = Agreement()

    def add(self, reference: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
        """Take in one sample: the outputs by name of the FP32 model and of the result."""
        self.samples += 1
        for name, array in arrays(reference).items():
            self._totals.setdefault(name, Total()).add(array, outputs[name])
            if is_float(array):
                self._floats.add(name)
        first = judged(reference)
        if first is not None:
            self._agreement.add(first[1], outputs[first[0]])

    def result(self, part: str) -> Fidelity:
        """The figures so far; NaN where there was nothing to compare."""
        whole = [t for name, t in self._totals.items() if name in self._floats] or list(self._totals.values())
        agreement, interval = self._agreement.result()
        return Fidelity(
            sqnr_db=_whole_sqnr(whole),
            cosine=sum(t.cosine for t in whole) / len(whole) if whole else nan,
            agreement=agreement,
            agreement_interval=interval,
            samples=self.samples,
            part=part,
            outputs=tuple(
                OutputFidelity(name=name, sqnr_db=t.sqnr_db, cosine=t.cosine, max_abs=t.max_abs)
                for name, t in self._totals.items()
            ),
        )


def _whole_sqnr(totals: list[Total]) -> float:
    """All outputs as one, each divided by the root of its own signal power: `-10 log10(mean of noise/signal)`."""
    if len(totals) < 2:
        return totals[0].sqnr_db if totals else nan
    return sqnr_db(1.0, sum(t.relative_noise for t in totals) / len(totals))
