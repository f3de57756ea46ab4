"""Weights of one layer fitted to the moments of its inputs: real targets, then codes and scales.

Weights are matrices [G, O, K]: groups of output channels, each group with K inputs of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..calibrate import QuantParams
from ..graph import Array, Node
from .gram import Moments
from .rounding import Lattice, rounded


def to_matrix(node: Node, array: Array) -> Array:
    """Weights as [groups, outputs of a group, inputs], float64."""
    if node.op == "Conv":
        group = int(node.attr("group", 1))
        return array.reshape(group, array.shape[0] // group, -1).astype(np.float64)
    matrix = array if node.op == "Gemm" and node.attr("transB", 0) else array.T
    return matrix[None].astype(np.float64)


def from_matrix(node: Node, matrix: Array, shape: tuple[int, ...]) -> Array:
    """Back from `to_matrix` to the weight's own shape."""
    if node.op == "Conv":
        return matrix.reshape(shape)
    return matrix[0] if node.op == "Gemm" and node.attr("transB", 0) else np.ascontiguousarray(matrix[0].T)


@dataclass(frozen=True, eq=False)
class Part:
    """Some inputs of a layer, with the weights [G, O, K] to round and the Gram matrices [G, K, K]."""

    inputs: slice
    target: Array
    gram: Array
    damping: float


def fitted(parts: Sequence[Part], params: QuantParams, thorough: bool) -> tuple[Array, QuantParams]:
    """Codes [G, O, K] and parameters; powers of two, and scales of channels that are rounded in parts, stay as they are."""
    first, inputs = parts[0].target, sum(part.target.shape[2] for part in parts)
    lattice = lattice_of(params, (*first.shape[:2], inputs))
    fixed = params.format.exponents is not None or (len(parts) > 1 and not params.block)
    done = [rounded(p.target, p.gram, lattice.part(p.inputs), p.damping, thorough, fixed) for p in parts]
    codes = np.concatenate([found for found, _ in done], axis=2)
    if params.block:
        scale, low = (np.concatenate([getattr(g, name) for _, g in done], axis=2) for name in ("scale", "low"))
    else:
        scale, low = done[0][1].scale, done[0][1].low
    lattice = replace(lattice, scale=scale, low=low)
    zeros = params.format.qmin - lattice.each(low, inputs)
    return codes + zeros, params if fixed else _of_lattice(lattice, params)


def lattice_of(params: QuantParams, shape: tuple[int, ...]) -> Lattice:
    """What weights [G, O, K] can become under parameters."""
    counts = params.scale.shape[-1] if params.block else 1
    size = shape[0] * shape[1] * counts
    scale, zero = (
        np.broadcast_to(v.astype(np.float64).reshape(-1), (size,)).reshape(*shape[:2], counts)
        for v in (params.scale, params.zero_point)
    )
    low, span = params.format.qmin - zero, int(params.format.qmax - params.format.qmin)
    block, shared = params.block or shape[2], params.scale.ndim == 0
    return Lattice(scale, low, span, block, shared, slides=not params.format.symmetric)


def _of_lattice(lattice: Lattice, params: QuantParams) -> QuantParams:
    """Parameters with the scales and zero points of a lattice."""
    count, shape = params.scale.size, params.scale.shape
    scale = lattice.scale.reshape(-1)[:count].reshape(shape).astype(np.float32)
    zero = (params.format.qmin - lattice.low).reshape(-1)[:count].reshape(shape)
    return replace(params, scale=scale, zero_point=zero.astype(params.zero_point.dtype))


def targets(matrix: Array, gram: Array, cross: Array | None, pull: float) -> Array:
    """Real weights [G, O, K] with the least error of the wanted outputs, pulled towards the given ones.

    Args:
        cross: [G, O, K], moments of what the outputs lack with the inputs; without them, the weights themselves are aimed at.
        pull: share of the mean diagonal that each change of a weight costs.
    """
    if cross is None or pull == np.inf:
        return matrix
    diagonal = np.einsum("gkk->gk", gram).mean(axis=1)
    damped = gram + np.eye(gram.shape[1]) * np.maximum(pull * diagonal, 1e-12)[:, None, None]
    change = np.linalg.solve(damped, cross.transpose(0, 2, 1)).transpose(0, 2, 1)
    return np.where(matrix == 0, 0.0, matrix + change)  # what was pruned stays so


_PULLS = (1.0, 3.0, 10.0)


def suited_pull(matrix: Array, halves: tuple[Moments, Moments], least: float) -> float:
    """The pull with which targets learned from one half of the samples do best on the other half.

    How far moments can be trusted depends on how much alike samples are, which the number of rows does not tell.

    Args:
        matrix: [G, O, K].
        least: the smallest to try.
    """
    learned, judge = halves
    pulls = [least * factor for factor in _PULLS]
    changes = [targets(matrix, learned.gram, learned.cross, pull) - matrix for pull in pulls]
    return pulls[int(np.argmin([_left_over(change, judge) for change in changes]))]


def _left_over(change: Array, judge: Moments) -> float:
    """Error of the outputs after a change of the weights [G, O, K], up to a constant."""
    wrong = change @ judge.gram - (2 * judge.cross if judge.cross is not None else 0.0)
    return float((wrong * change).sum())
