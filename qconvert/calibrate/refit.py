"""Scales of weights in few bits, refitted to the codes that they lead to."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ..graph import Array
from .params import SMALLEST_SCALE, QuantParams

_ROUNDS = 8
_POWER = 0.7  # of the norm under which large errors count little
_SHARPNESS, _SHARPER = 10.0, 1.01


def refitted(rows: Array, params: QuantParams) -> QuantParams:
    """Scales and zero points with the least error of each row under a norm of power 0.7; never worse than those given.

    Half-quadratic quantization (Badri and Shaji 2023): large residuals are taken out by the norm's proximal operator, then the
    scale <w, c> / <c, c> and the zero point are fitted to the codes, by turns.

    Args:
        rows: [scales, n], the values that share a scale.
        params: one scale and zero point a row.
    """
    scale, zero = params.scale.reshape(-1, 1).astype(np.float32), params.zero_point.reshape(-1, 1).astype(np.float32)
    limits = (params.format.qmin, params.format.qmax)
    best, least = (scale, zero), np.full((len(rows), 1), np.inf)
    for n in range(_ROUNDS + 1):
        codes = np.clip(np.rint(rows / scale) + zero, *limits)
        rest = rows - (codes - zero) * scale
        error = np.power(np.abs(rest), _POWER).sum(axis=1, keepdims=True, dtype=np.float64)
        better = error < least
        least = np.where(better, error, least)
        best = (np.where(better, scale, best[0]), np.where(better, zero, best[1]))
        target = rows - _outliers(rest, _SHARPNESS * _SHARPER**n)
        if not params.format.symmetric:
            zero = np.clip(np.rint((codes - target / scale).mean(axis=1, keepdims=True)), *limits)
        steps = codes - zero
        size = np.square(steps).sum(axis=1, keepdims=True)
        fitted = (target * steps).sum(axis=1, keepdims=True) / np.maximum(size, 1.0)
        scale = np.where(fitted > SMALLEST_SCALE, fitted, scale).astype(np.float32)
    shape = params.scale.shape
    return replace(
        params, scale=best[0].reshape(shape), zero_point=best[1].reshape(shape).astype(params.zero_point.dtype)
    )


def _outliers(rest: Array, sharpness: float) -> Array:
    """Proximal operator of the norm: what remains of each residual once its noise is taken off."""
    size = np.abs(rest)
    return np.sign(rest) * np.maximum(size - np.power(np.maximum(size, 1e-8), _POWER - 1) / sharpness, 0)
