"""A concrete shape for every tensor: by inference with symbolic dimensions bound to numbers, or from one real run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeGuard

import numpy as np

from ..errors import QConvertError, fail
from ..graph import Array, Dim, Graph, TensorType, infer_types
from .open import opened
from .session import Feed, Options

DEFAULT_DIM = 64  # for symbolic dimensions that are no batch and that nothing names: a sequence length or an image side
Shapes = dict[str, tuple[int, ...]]


def assumed_inputs(graph: Graph, sizes: Mapping[str, int]) -> dict[str, TensorType]:
    """Types of the graph inputs with every dimension a number.

    The first symbolic dimension of an input counts as the batch and becomes 1; others take `sizes` by name, or DEFAULT_DIM.

    Raises:
        QConvertError: M010 where the rank of an input is unknown.
    """
    found: dict[str, TensorType] = {}
    for name in graph.feeds:
        declared = graph.type_of(name)
        if declared.shape is None:
            raise fail("M010", f"the rank of input `{name}` is unknown", None, "re-export the model with input shapes")
        dims = tuple(_bind(dim, n, sizes) for n, dim in enumerate(declared.shape))
        found[name] = TensorType(declared.dtype, dims)
    return found


def _bind(dim: Dim, position: int, sizes: Mapping[str, int]) -> int:
    if isinstance(dim, int):
        return max(dim, 1)
    if dim is not None and dim in sizes:
        return sizes[dim]
    return 1 if position == 0 else DEFAULT_DIM


def concrete_shapes(graph: Graph, sizes: Mapping[str, int], feed: Feed | None = None) -> Shapes:
    """Shapes of all tensors for one run with inputs of the assumed sizes.

    Inference comes first; where it leaves a shape open, the model runs once on made-up inputs and shows its shapes; what even
    that leaves open is taken from a real sample. Tensors whose shape cannot be found are missing in the result.

    Args:
        sizes: numbers for symbolic dimensions by name.
        feed: a real sample.
    """
    inputs = assumed_inputs(graph, sizes)
    types = infer_types(graph, inputs)
    shapes: Shapes = {}
    for name in graph.values():
        shape = types.type_of(name).shape
        if _known(shape):
            shapes[name] = shape
    for values in (synthetic_feed(inputs), feed):
        missing = [name for name in graph.values() if name not in shapes]
        if missing and values is not None:
            shapes |= _traced(graph, missing, values)
    return shapes


def _known(shape: tuple[Dim, ...] | None) -> TypeGuard[tuple[int, ...]]:
    return shape is not None and all(isinstance(d, int) for d in shape)


def synthetic_feed(inputs: Mapping[str, TensorType]) -> dict[str, Array]:
    """Ones of the given types; strings become empty strings."""
    return {
        name: np.full(t.shape, "", dtype=object) if t.dtype == "string" else np.ones(_ints(t), dtype=np.dtype(t.dtype or "float32"))
        for name, t in inputs.items()
    }  # fmt: skip


def _ints(t: TensorType) -> tuple[int, ...]:
    return tuple(d for d in t.shape or () if isinstance(d, int))


def _traced(graph: Graph, names: list[str], feed: Feed) -> Shapes:
    try:
        return {name: array.shape for name, array in observe(graph, names, feed).items()}
    except QConvertError:
        return {}  # made-up inputs need not suit the model; what is unknown stays float, with that reason


def observe(graph: Graph, names: list[str], feed: Feed) -> dict[str, Array]:
    """Values of the named tensors in one run without optimizations."""
    extra = tuple(name for name in names if name not in graph.outputs)
    with opened(graph.with_(outputs=(*graph.outputs, *extra)), Options(optimize=False)) as session:
        return {name: value for name, value in session.run(feed).items() if isinstance(value, np.ndarray)}
