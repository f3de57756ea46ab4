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
    """Codes [..., O, K] of the weights [..., O, K] with the least error of the output under the inputs' second moments.

    Leading axes are groups of channels, each with inputs of its own. Weights that are exactly zero, as pruning leaves them, stay so.

    Args:
        gram: [..., K, K], mean of x xᵀ.
        scale: scalar, [..., O], or [..., O, K] where inputs in blocks have scales of their own.
        limits: smallest and largest code, counted from the zero point; numbers or [..., O, K].
        damping: share of the mean diagonal that is added to it; more where there are few rows.

    Returns:
        int codes, counted from the zero point; rounding to nearest where the Gram matrix is singular beyond repair.
    """
    outputs, inputs = weights.shape[-2:]
    given = np.asarray(scale, dtype=np.float64)
    given = given[..., None] if 0 < given.ndim < weights.ndim else given
    diagonal = np.einsum("...kk->...k", gram).reshape(-1, inputs)
    order = np.argsort(-diagonal, axis=1, kind="stable")
    factor = np.stack(
        [
            _factor(matrix[np.ix_(o, o)], d[o] <= 0, damping)
            for matrix, d, o in zip(gram.reshape(-1, inputs, inputs), diagonal, order, strict=True)
        ]
    )

    def ordered(values: Array | int) -> Array:
        flat = np.broadcast_to(values, weights.shape).reshape(-1, outputs, inputs)
        return np.take_along_axis(flat, order[:, None], axis=2)

    low, high = limits
    codes = _rounded(ordered(weights.astype(np.float64)), ordered(given), factor, (ordered(low), ordered(high)))
    result = np.empty_like(codes)
    np.put_along_axis(result, order[:, None], codes, axis=2)
    return _better(weights, gram, given, (result.reshape(weights.shape), nearest(weights, given, limits)))


def _better(weights: Array, gram: Array, steps: Array, choices: tuple[Array, Array]) -> Array:
    """Of two roundings the one with less error, for each output: taking errors back is greedy, and may end up worse."""
    wrong = (weights - codes * steps for codes in choices)
    first, second = (np.einsum("...ok,...kl,...ol->...o", e, gram, e, optimize=True) for e in wrong)
    return np.where((first <= second)[..., None], *choices)


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


def _factor(gram: Array, dead: Array, damping: float) -> Array:
    """The factor, or the unit matrix, under which every weight is rounded for itself."""
    found = inverse_factor(gram, dead, damping)
    return np.eye(len(gram)) if found is None else found


def _rounded(targets: Array, steps: Array, factor: Array, limits: tuple[Array, Array]) -> Array:
    """Round [G, O, K] input by input, in blocks so that most of the correction is a product of large matrices."""
    left, steps, low, high = (
        np.ascontiguousarray(a.transpose(0, 2, 1)) for a in (targets, steps, *limits)
    )  # [G, K, O]
    codes, errors, free, back = np.empty_like(left), np.empty_like(left), left != 0, factor.transpose(0, 2, 1).copy()
    size = left.shape[1]
    for start in range(0, size, _BLOCK):
        end = min(start + _BLOCK, size)
        for i in range(start, end):
            value = left[:, i] - (back[:, i, None, start:i] @ errors[:, start:i])[:, 0]
            codes[:, i] = np.clip(np.rint(value / steps[:, i]), low[:, i], high[:, i]) * free[:, i]
            errors[:, i] = (value - codes[:, i] * steps[:, i]) / factor[:, i, i, None]
        left[:, end:] -= back[:, end:, start:end] @ errors[:, start:end]
    return codes.transpose(0, 2, 1)
