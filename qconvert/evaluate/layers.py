"""Error of every quantized tensor in the artefact against the same tensor of the FP32 model.

Tensors can only be compared where both models show them, and showing a tensor changes how the runtime executes a model: an
integer kernel whose output is also wanted in float is not fused. So the artefact runs with all Q/DQ fusion off, as a float
simulation of what its Q/DQ pairs say (integer operators such as MatMulInteger run as they are). Its rounding can differ from
that of the fused integer kernels by a step of the last bit here and there. The FP32 model runs optimized.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from math import prod
from typing import TypeVar

from ..data import Sample
from ..graph import Array, Graph
from ..runtime import Feed, Options, is_large, opened
from .fidelity import Total
from .model import Layer

CHUNK = 512  # tensors that are exposed at the same time
_SIMULATED = (("session.disable_quant_qdq", "1"),)
UNKNOWN_BYTES = 4_000_000  # assumed for a tensor whose shape is not known
Shapes = Mapping[str, tuple[int, ...]]
T = TypeVar("T", bound=Total)


def dequantized_values(artefact: Graph, tensors: Iterable[str]) -> dict[str, str]:
    """The value in the artefact that holds the quantized form of each tensor, as float.

    A tensor that a DequantizeLinear writes is that form itself; of any other it is the output of the Q/DQ pair that reads it.
    Tensors without either are left out.
    """
    found = {tensor: _dequantized(artefact, tensor) for tensor in tensors}
    return {tensor: value for tensor, value in found.items() if value is not None}


def _dequantized(artefact: Graph, tensor: str) -> str | None:
    producer = artefact.producer.get(tensor)
    if producer is not None and producer.op == "DequantizeLinear":
        return tensor
    for quantize in artefact.consumers_of(tensor):
        if quantize.op == "QuantizeLinear" and quantize.input(0) == tensor:
            users = artefact.consumers_of(quantize.output)
            return next((n.output for n in users if n.op == "DequantizeLinear" and n.input(0) == quantize.output), None)
    return None


def layer_errors(
    graph: Graph,
    artefact: Graph,
    values: Mapping[str, str],
    samples: Iterable[Sample],
    *,
    shapes: Shapes | None = None,
    count: int = 16,
    threads: int = 1,
    budget: int = 512_000_000,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Layer, ...]:
    """SQNR of each quantized tensor over some samples.

    Args:
        graph: the canonical FP32 model.
        artefact: the same model in Q/DQ form.
        values: name of each tensor in `graph` to that of its dequantized form in `artefact` (see `dequantized_values`).
        samples: read again for every chunk of tensors; the first `count` are used.
        shapes: concrete shapes, to keep to the budget where the graph's own are symbolic.
        budget: bytes of the tensors that are exposed at the same time.
        progress: called with (tensors done, tensors in all).

    Returns:
        One layer a tensor, in graph order; `op` and `node` are those of its producer, "" for graph inputs.

    Raises:
        QConvertError: M009 where one of the models does not run, and the errors of the data.
    """
    totals = layer_totals(
        graph, artefact, values, samples, Total, shapes=shapes, count=count, threads=threads, budget=budget, progress=progress
    )  # fmt: skip
    return tuple(_layer(graph, name, totals) for name in totals)


def layer_totals(
    graph: Graph,
    artefact: Graph,
    values: Mapping[str, str],
    samples: Iterable[Sample],
    total: Callable[[], T],
    *,
    shapes: Shapes | None = None,
    count: int = 16,
    threads: int = 1,
    budget: int = 512_000_000,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, T]:
    """The deviations of each quantized tensor in graph order, added up in values that `total` makes; else as `layer_errors`."""
    totals: dict[str, T] = {}
    order = [name for name in graph.values() if name in values]
    for chunk in _chunks(order, [_bytes(graph, name, shapes or {}) for name in order], budget):
        found = {name: total() for name in chunk}
        _compare(graph, artefact, values, found, islice(samples, count), threads)
        totals.update(found)
        if progress is not None:
            progress(len(totals), len(order))
    return totals


def _layer(graph: Graph, tensor: str, totals: Mapping[str, Total]) -> Layer:
    producer = graph.producer.get(tensor)
    name, op = ("", "") if producer is None else (producer.name, producer.op)
    return Layer(tensor=tensor, node=name, op=op, sqnr_db=totals[tensor].sqnr_db, before=_before(graph, tensor, totals))


def _before(graph: Graph, tensor: str, measured: Collection[str]) -> tuple[str, ...]:
    """The nearest measured tensors upstream."""
    found: dict[str, None] = {}
    waiting, seen = [tensor], {tensor}
    while waiting:
        producer = graph.producer.get(waiting.pop())
        for name in producer.reads if producer is not None else ():
            if name in seen:
                continue
            seen.add(name)
            if name in measured:
                found[name] = None
            else:
                waiting.append(name)
    return tuple(found)


def _bytes(graph: Graph, name: str, shapes: Shapes) -> int:
    declared = graph.type_of(name).shape
    shape = shapes.get(name) or declared
    if shape is None or not all(isinstance(d, int) for d in shape):
        return UNKNOWN_BYTES
    return 4 * prod(d for d in shape if isinstance(d, int))


def _chunks(names: Sequence[str], sizes: Sequence[int], budget: int) -> Iterator[list[str]]:
    """Neighbours together, at most CHUNK of them and within the budget (a single one may exceed it)."""
    chunk: list[str] = []
    used = 0
    for name, size in zip(names, sizes, strict=True):
        if chunk and (len(chunk) == CHUNK or used + 2 * size > budget):
            yield chunk
            chunk, used = [], 0
        chunk.append(name)
        used += 2 * size
    if chunk:
        yield chunk


def _compare(
    graph: Graph,
    artefact: Graph,
    values: Mapping[str, str],
    totals: Mapping[str, Total],
    samples: Iterable[Sample],
    threads: int,
) -> None:
    with ExitStack() as stack:
        before = stack.enter_context(_exposed(graph, totals, Options(threads=threads)))
        # With optimizations the runtime would unfold all weights of a large model at load.
        simulated = Options(not is_large(artefact), threads, _SIMULATED)
        after = stack.enter_context(_exposed(artefact, [values[name] for name in totals], simulated))
        for sample in samples:
            reference, found = before(sample.feed), after(sample.feed)
            for name, total in totals.items():
                total.add(reference[name], found[values[name]])


@contextmanager
def _exposed(graph: Graph, names: Iterable[str], options: Options) -> Iterator[Callable[[Feed], Mapping[str, Array]]]:
    """A function from inputs to the values of some tensors, which may be inputs themselves."""
    wanted = tuple(dict.fromkeys(name for name in names if name not in graph.feeds))
    if not wanted:
        yield lambda feed: feed
        return
    with opened(graph.with_(outputs=wanted), options) as session:
        yield lambda feed: {**feed, **session.run(feed)}
