"""Where products of uint8 activations and int8 weights can saturate on x86 CPUs without VNNI.

There vpmaddubsw adds two neighbouring products into 16 bits. With activations up to 255 the sum leaves them only if the two
weight codes together exceed 128 in magnitude (32,767 / 255).
"""

from __future__ import annotations

import numpy as np

from ..graph import Array, Node

_PAIR = 32_767 // 255


def can_saturate(node: Node, weights: Array, axis: int | None) -> bool:
    """Whether some pair of weights that are neighbours along the accumulation can overflow 16 bits.

    Convolutions accumulate over channels and kernel positions; both orders that kernels use are looked at.

    Args:
        weights: real values; axis: their channel axis, None for one scale.
    """
    reach = np.abs(weights).max() if axis is None else np.abs(weights).max(axis=_others(weights, axis), keepdims=True)
    codes = np.rint(weights / np.maximum(reach, 1e-30) * 127)
    return any(_overflows(matrix) for matrix in _accumulations(node, codes))


def _accumulations(node: Node, codes: Array) -> tuple[Array, ...]:
    """The codes [outputs, inputs] in every order in which a kernel may add them up."""
    if node.op == "Conv":
        return codes.reshape(len(codes), -1), np.moveaxis(codes, 1, -1).reshape(len(codes), -1)
    return (codes if node.op == "Gemm" and node.attr("transB", 0) else codes.T,)


def _others(weights: Array, axis: int) -> tuple[int, ...]:
    return tuple(i for i in range(weights.ndim) if i != axis)


def _overflows(matrix: Array) -> bool:
    """Pairs (0, 1), (2, 3), ... of each row."""
    even = matrix[:, : matrix.shape[1] // 2 * 2]
    return bool(np.any(np.abs(even[:, ::2] + even[:, 1::2]) > _PAIR))
