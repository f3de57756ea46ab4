"""Bytes on disk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from ..graph import Graph, Mapped, load
from .model import Size


def bytes_of(files: Iterable[Path]) -> int:
    """Bytes of all files together, a file named twice counted once."""
    return sum(path.stat().st_size for path in {f.resolve() for f in files})


def measure_size(float_files: Iterable[Path], files: Iterable[Path]) -> Size:
    """Size of the FP32 model and of the result, each given by its files, external data included."""
    return Size(float_bytes=bytes_of(float_files), bytes=bytes_of(files))


def model_files(path: Path, graph: Graph | None = None) -> tuple[Path, ...]:
    """The files of a model: its own, and for `.onnx` those that hold its weights outside.

    Args:
        graph: the model as it was loaded from there, if it is at hand; otherwise it is read.
    """
    if graph is None and path.suffix.lower() == ".onnx":
        graph = load(path)
    return tuple(dict.fromkeys([path, *(_external(graph) if graph is not None else ())]))


def _external(graph: Graph) -> Iterator[Path]:
    for weight in graph.weights.values():
        if isinstance(weight, Mapped):
            yield weight.path
    for node in graph.nodes:
        for body in node.bodies:
            yield from _external(body)
