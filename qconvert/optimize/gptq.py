"""Rounding of weights that knows the inputs: GPTQ with activation order, on damped Gram matrices (Frantar et al. 2022).

Rounding one weight makes an error at the output that the weights not rounded yet can take back, as far as their inputs are
correlated. With H the Gram matrix of the inputs, the best correction after rounding input i is the i-th row of the Cholesky
factor of the inverse of H, divided by its diagonal.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.linalg import LinAlgError, cholesky, inv

from ..graph import Array

_BLOCK = 128


Limits: TypeAlias = tuple[int | Array, int | Array]


def gptq(weights: Array, gram: Array, scale: Array, limits: Limits, damping: float = 0.01) -> Array:
    """Codes [O, K] of the weights [O, K] with the least error of the output under the inputs' second moments.

    Weights that are exactly zero, as pruning leaves them, stay so.

    Args:
        gram: [K, K], mean of x xᵀ.
        scale: scalar, [O], or [O, K] where inputs in blocks have scales of their own.
        limits: smallest and largest code, counted from the zero point; numbers or [O, K].
        damping: share of the mean diagonal that is added to it; more where there are few rows.

    Returns:
        int codes, counted from the zero point; rounding to nearest where the Gram matrix is singular beyond repair.
    """
    given = np.asarray(scale, dtype=np.float64)
    steps = np.broadcast_to(given if given.ndim == 2 else given.reshape(-1, 1), weights.shape)
    low, high = (np.broadcast_to(end, weights.shape) for end in limits)
    dead = np.diag(gram) <= 0
    order = np.argsort(-np.diag(gram), kind="stable")
    factor = inverse_factor(gram[np.ix_(order, order)], dead[order], damping)
    if factor is None:
        return nearest(weights, steps, limits)
    codes = _rounded(weights.astype(np.float64)[:, order], steps[:, order], factor, (low[:, order], high[:, order]))
    result = np.empty_like(codes)
    result[:, order] = codes
    return result


def nearest(weights: Array, steps: Array, limits: Limits) -> Array:
    """Codes by rounding to nearest."""
    return np.asarray(np.clip(np.rint(weights / steps), *limits))


def inverse_factor(gram: Array, dead: Array, damping: float) -> Array | None:
    """Upper Cholesky factor [K, K] of the inverse of the damped Gram matrix, None if it has none."""
    matrix = np.array(gram, dtype=np.float64)
    diagonal = np.einsum("ii->i", matrix)
    mean = float(diagonal[~dead].mean()) if (~dead).any() else 1.0
    diagonal[dead] = mean
    for attempt in range(4):
        damped = matrix + np.eye(len(matrix)) * (damping * 10.0**attempt * mean)
        try:
            return np.asarray(cholesky(inv(damped)).T)
        except LinAlgError:
            continue
    return None


def _rounded(targets: Array, steps: Array, factor: Array, limits: tuple[Array, Array]) -> Array:
    """Round column by column, in blocks so that most of the correction is a matrix product."""
    left, codes, zero = targets.copy(), np.empty_like(targets), targets == 0
    low, high = limits
    size = targets.shape[1]
    for start in range(0, size, _BLOCK):
        end = min(start + _BLOCK, size)
        errors = np.empty((targets.shape[0], end - start))
        for i in range(start, end):
            nearby = np.clip(np.rint(left[:, i] / steps[:, i]), low[:, i], high[:, i])
            codes[:, i] = np.where(zero[:, i], 0, nearby)
            errors[:, i - start] = (left[:, i] - codes[:, i] * steps[:, i]) / factor[i, i]
            left[:, i + 1 : end] -= np.outer(errors[:, i - start], factor[i, i + 1 : end])
        left[:, end:] -= errors @ factor[start:end, end:]
    return codes
