"""Pruning: the weights that matter least become exact zeros, and those that remain take over what they did.

By magnitude, or by second moments of the inputs as an optimal brain surgeon does (Hassibi and Stork 1993, in the column-wise form of
SparseGPT, Frantar and Alistarh 2023): with U the Cholesky factor of the inverse of the inputs' Gram matrix, removing weight w of
input i costs (w / U_ii)^2, and row i of U says how the inputs not visited yet make up for it. Zeros are numbers of every symmetric
format, so rounding keeps them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from math import prod
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from ..calibrate import weight_params
from ..data.settings import Settings
from ..errors import fail
from ..graph import Array, Edit, Graph, Node
from ..ops import spec
from ..runtime import Feed, Options, opened
from .draft import Draft, Lab
from .fitting import from_matrix, to_matrix
from .gptq import inverse_factor
from .gram import rows

_BLOCK = 128
_FOUR = 4
_LEAST_INPUTS = 16  # neurons with fewer, as in depthwise layers, are a small part of a model and miss every weight


class Pruning(Settings):
    """Settings of `prune`."""

    sparsity: Annotated[float, Field(gt=0, lt=1)] = Field(
        default=0.5, description="share of a layer's weights that become zero; always one half under 2:4"
    )
    pattern: Literal["unstructured", "2:4"] = Field(
        default="unstructured",
        description="2:4: two of every four neighbouring inputs of a neuron, as sparse tensor cores want",
    )
    method: Literal["second-order", "magnitude"] = Field(
        default="second-order",
        description="second-order: by the effect on the layer's output, the rest makes up for it",
    )
    damping: Annotated[float, Field(gt=0)] = Field(
        default=0.01, description="share of the mean diagonal added to Gram matrices"
    )
    samples: Annotated[int, Field(ge=1)] = Field(default=64, description="samples to learn from, at most")
    max_inputs: Annotated[int, Field(gt=0)] = Field(
        default=4608,
        description="layers with more inputs a neuron are pruned by magnitude, which bounds memory and time",
    )
    dense: tuple[str, ...] = Field(default=(), description="names of nodes, or globs, that stay dense")


def prune(draft: Draft, lab: Lab, settings: Pruning) -> Draft:
    """The draft with pruned weights, which everything after it takes for the real ones.

    Raises:
        QConvertError: R005 where `sparsity` contradicts the pattern.
    """
    if settings.pattern == "2:4" and settings.sparsity != 0.5:
        raise fail(
            "R005",
            f"2:4 prunes one half, not {settings.sparsity:g}",
            "algorithms.prune.sparsity",
            "remove `sparsity`, or set `pattern: unstructured`",
        )
    layers = prunable(draft.graph, settings)
    learned = [n for n in layers if _learns(n, draft.graph, settings)]
    grams = gram_matrices(draft.graph, learned, lab.fit[: settings.samples], lab.options.threads)
    edit, reference = Edit(draft.graph), Edit(draft.reference)
    shared: dict[str, tuple[str, str]] = {}  # a weight of several layers is pruned once, for the first of them
    for node in layers:
        twin, weight = draft.reference.by_name.get(node.name), node.input(1)
        if weight not in shared:
            pruned = _pruned(node, draft.graph.weights[weight].numpy(), grams.get(node.name), settings)
            shared[weight] = (
                edit.add_weight(f"{weight}/pruned", pruned),
                reference.add_weight(f"{weight}/pruned", pruned),
            )
        edit.replace(node, _reading(node, shared[weight][0]))
        if twin is not None:
            reference.replace(twin, _reading(twin, shared[weight][1]))
    graph = edit.graph()
    weights = weight_params(graph, draft.plan, draft.activations, lab.calibration)
    return draft.with_(graph=graph, reference=reference.graph(), weights=weights)


def _learns(node: Node, graph: Graph, settings: Pruning) -> bool:
    few = _inputs(node, graph.weight_shape(node.input(1))) <= settings.max_inputs
    return settings.method == "second-order" and few


def _reading(node: Node, weight: str) -> Node:
    return node.with_(inputs=(node.inputs[0], weight, *node.inputs[2:]))


def prunable(graph: Graph, settings: Pruning) -> list[Node]:
    """Layers with constant weights whose inputs can form the pattern."""
    return [
        node
        for node in graph.nodes
        if (row := spec(node)) is not None
        and row.weighted
        and node.op != "ConvTranspose"
        and node.input(1) in graph.weights
        and graph.type_of(node.input(1)).dtype == "float32"
        and (node.op == "Conv" or len(graph.weight_shape(node.input(1))) == 2)
        and _inputs(node, graph.weight_shape(node.input(1))) >= _LEAST_INPUTS
        and (settings.pattern == "unstructured" or _quads(node, graph.weight_shape(node.input(1))) is not None)
        and not any(fnmatchcase(node.name, pattern) for pattern in settings.dense)
    ]


def _inputs(node: Node, shape: tuple[int, ...]) -> int:
    """Inputs of a neuron."""
    return prod(shape[1:]) if node.op == "Conv" else shape[1 if node.attr("transB", 0) else 0]


def _quads(node: Node, shape: tuple[int, ...]) -> Array | None:
    """Order [K] of a neuron's inputs in which each four in a row are neighbours in the sense of 2:4; None if there is none.

    Sparse tensor cores count along the input channels: those of one kernel position, for a convolution.
    """
    channels = shape[1] if node.op == "Conv" or node.attr("transB", 0) else shape[0]
    area = prod(shape[2:]) if node.op == "Conv" else 1
    if channels % _FOUR:
        return None
    return np.arange(channels * area).reshape(channels, area).T.reshape(-1)


def in_fours(node: Node, weight: Array) -> Array | None:
    """The weight as [G, O/G, K/4, 4], each four neighbours in the sense of 2:4; None where there are none."""
    quads = _quads(node, weight.shape)
    matrix = to_matrix(node, weight)
    return None if quads is None else matrix[:, :, quads].reshape(*matrix.shape[:2], -1, _FOUR)


def gram_matrices(graph: Graph, layers: Sequence[Node], feeds: Iterable[Feed], threads: int) -> dict[str, Array]:
    """Second moments [G, K, K] of the inputs of layers, by node name, in one pass with one sample in memory."""
    wanted = tuple(dict.fromkeys(node.input(0) for node in layers if node.input(0) not in graph.feeds))
    total: dict[str, Array] = {}
    count: dict[str, int] = {}
    with opened(graph.with_(outputs=wanted or graph.outputs[:1]), Options(threads=threads)) as session:
        for feed in feeds if layers else ():
            seen: Mapping[str, Array] = {**feed, **session.run(feed)}
            for node in layers:
                x = rows(node, graph.weight_shape(node.input(1)), seen[node.input(0)])
                product = np.matmul(x.transpose(0, 2, 1), x).astype(np.float64)
                total[node.name] = total.get(node.name, np.zeros(())) + product
                count[node.name] = count.get(node.name, 0) + x.shape[1]
    return {name: value / max(count[name], 1) for name, value in total.items()}


def _pruned(node: Node, weight: Array, gram: Array | None, settings: Pruning) -> Array:
    matrix = to_matrix(node, weight)  # [G, O/G, K]
    quads = _quads(node, weight.shape) if settings.pattern == "2:4" else None
    done = [
        by_magnitude(rows_, settings.sparsity, quads)
        if gram is None
        else second_order(rows_, gram[g], settings.sparsity, quads, settings.damping)
        for g, rows_ in enumerate(matrix)
    ]
    return from_matrix(node, np.stack(done), weight.shape).astype(np.float32)


def by_magnitude(weights: Array, sparsity: float, quads: Array | None = None) -> Array:
    """The weights [O, K] with the smallest set to zero.

    Args:
        quads: order of the inputs for 2:4; None for any place in the layer.
    """
    if quads is None:
        return np.where(smallest(np.abs(weights), round(sparsity * weights.size)), 0.0, weights)
    ordered = weights[:, quads].reshape(len(weights), -1, _FOUR)
    result = np.empty_like(weights)
    result[:, quads] = np.where(_two_of_four(np.abs(ordered)), 0.0, ordered).reshape(weights.shape)
    return result


def second_order(
    weights: Array, gram: Array, sparsity: float, quads: Array | None = None, damping: float = 0.01
) -> Array:
    """The weights [O, K] with those set to zero that the output misses least, and the others corrected.

    Args:
        gram: [K, K], mean of x xᵀ.
        quads: order of the inputs for 2:4; None for any place in a block of columns.
    """
    order = np.argsort(-np.diag(gram), kind="stable") if quads is None else quads
    factor = inverse_factor(gram[np.ix_(order, order)], np.diag(gram)[order] <= 0, damping)
    if factor is None:
        return by_magnitude(weights, sparsity, quads)
    left = weights[:, order].astype(np.float64)
    for start in range(0, left.shape[1], _BLOCK):
        _prune_block(left, factor, slice(start, min(start + _BLOCK, left.shape[1])), sparsity, quads is not None)
    result = np.empty_like(left)
    result[:, order] = left
    return result


def _prune_block(left: Array, factor: Array, block: slice, sparsity: float, four: bool) -> None:
    """Prune some columns in place, and let those behind them make up for it."""
    diagonal = np.diag(factor)
    errors = np.zeros((len(left), block.stop - block.start))
    gone = np.zeros(errors.shape, dtype=bool)
    if not four:
        cost = np.square(left[:, block] / diagonal[block])
        gone = smallest(cost, round(sparsity * cost.size))
    for i in range(block.start, block.stop):
        n = i - block.start
        if four and n % _FOUR == 0:
            gone[:, n : n + _FOUR] = _two_of_four(np.square(left[:, i : i + _FOUR] / diagonal[i : i + _FOUR]))
        errors[:, n] = np.where(gone[:, n], left[:, i] / diagonal[i], 0.0)
        left[:, i + 1 : block.stop] -= np.outer(errors[:, n], factor[i, i + 1 : block.stop])
        left[gone[:, n], i] = 0.0
    left[:, block.stop :] -= errors @ factor[block, block.stop :]


def smallest(cost: Array, count: int) -> Array:
    """Mask of the `count` smallest entries; among equals the first."""
    mask = np.zeros(cost.size, dtype=bool)
    mask[np.argsort(cost, axis=None, kind="stable")[:count]] = True
    return mask.reshape(cost.shape)


def _two_of_four(cost: Array) -> Array:
    """Mask of the two cheaper of each four [..., 4]."""
    return np.asarray(np.argsort(np.argsort(cost, axis=-1, kind="stable"), axis=-1, kind="stable") < _FOUR // 2)
