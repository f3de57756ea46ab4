"""Tensors of two models that compute the same with channels scaled otherwise, as cross-layer equalization leaves them.

Such a tensor is far from its counterpart without any loss: the next layer's weights take the factors back. The least-squares
factor of each channel, `a = (r·v) / (r·r)`, is taken out of it: what is left, in units of the reference, is the noise
`(v·v) / a² - r·r`. Channels are those of axis 1, or of the last axis where that explains more.
"""

from __future__ import annotations

import numpy as np

from ..graph import Array
from .fidelity import Total, sqnr_db

_FAR = 20.0  # dB: factors of channels that differ by less than a tenth stay below the error that they are mixed with
_EXPLAINED = 6.0  # dB that the factors must win: three quarters of the noise


class ScaledTotal(Total):
    """Deviations of one tensor that may have its channels scaled otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self._axes: dict[int, _Channels] = {1: _Channels(), -1: _Channels()}

    def add(self, reference: Array, value: Array) -> None:
        """Take in one sample."""
        super().add(reference, value)
        fits = reference.shape == value.shape and reference.ndim > 1 and reference.dtype.kind == "f"
        for axis, channels in list(self._axes.items()):
            if not (fits and channels.add(np.moveaxis(reference, axis, 0), np.moveaxis(value, axis, 0))):
                del self._axes[axis]

    @property
    def rescaled(self) -> bool:
        """Whether a factor for each channel explains most of a large difference."""
        return super().sqnr_db < _FAR and self._fitted > super().sqnr_db + _EXPLAINED

    @property
    def sqnr_db(self) -> float:
        """Of all samples together, without the factors of the channels where they are others."""
        return self._fitted if self.rescaled else super().sqnr_db

    @property
    def _fitted(self) -> float:
        return max((channels.sqnr_db for channels in self._axes.values()), default=-np.inf)


class _Channels:
    """Sums of squares and products, one a channel."""

    def __init__(self) -> None:
        self._sums: Array | None = None  # [3, channels]: r·r, v·v, r·v
        self._values = 0  # of one channel

    def add(self, reference: Array, value: Array) -> bool:
        """Take in one sample, channels first; False where it has other channels than those before, or infinite values."""
        r, v = (array.reshape(len(array), -1).astype(np.float64) for array in (reference, value))
        with np.errstate(invalid="ignore", over="ignore"):
            sums = np.stack([np.einsum("cn,cn->c", *pair) for pair in ((r, r), (v, v), (r, v))])
        if not np.isfinite(sums).all() or (self._sums is not None and self._sums.shape != sums.shape):
            return False
        self._sums = sums if self._sums is None else self._sums + sums
        self._values += r.shape[1]
        return True

    @property
    def sqnr_db(self) -> float:
        """Without the factors; the one number of each channel that the fit takes is made up for."""
        if self._sums is None or self._values < 2:
            return -np.inf
        signal, power, product = self._sums
        same = product > 0  # a factor is positive; a channel without one is all noise
        noise = signal + power - 2 * product
        noise[same] = np.maximum(power[same] * (signal[same] / product[same]) ** 2 - signal[same], 0)
        return sqnr_db(float(signal.sum()), float(noise.sum()) * self._values / (self._values - 1))
