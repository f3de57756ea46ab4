"""Sessions of graphs and files of any size."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from ..graph import Graph, load, referenced, serialize
from .pieces import Pieces
from .session import DATA_FOLDER, Options, Session, is_large, is_large_file


@contextmanager
def opened(graph: Graph, options: Options | None = None, code: str = "M006", where: object = None) -> Iterator[Session]:
    """A session of a graph.

    Weights of large graphs are mapped from where they lie or from a temporary file, and never copied; without optimizations
    such a graph runs piece by piece.
    """
    options = options or Options()
    if not is_large(graph):
        yield Session(serialize(graph), options, code, where)
    elif not options.optimize:
        yield Pieces(graph, options, code, where)
    else:
        with tempfile.TemporaryDirectory(prefix="qconvert-") as folder:
            content, root = referenced(graph, Path(folder) / "weights.data")
            config = (*options.config, (DATA_FOLDER, str(root)))
            prepack = False if options.prepack is None else options.prepack
            yield Session(content, replace(options, config=config, prepack=prepack), code, where)


def opened_file(model: bytes | Path, options: Options, code: str = "M006", where: object = None) -> Session:
    """A session of a model file; one that is large runs piece by piece where optimizations are off."""
    if isinstance(model, Path) and not options.optimize and is_large_file(model):
        return Pieces(load(model), options, code, where)
    return Session(model, options, code, where)
