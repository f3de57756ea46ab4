"""Large graphs run piece by piece, where the runtime would otherwise hold all of their weights in float at once.

Without its optimizations onnxruntime dequantizes every weight before it computes anything, as nothing in the graph tells it to
wait. A piece is a stretch of the graph whose weights fit into memory; it is opened, run and closed before the next one.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path

from ..graph import Array, Edit, Graph, Node, TensorType, infer_types, referenced
from .session import DATA_FOLDER, Feed, Options, Session

PIECE = 128_000_000  # bytes of the float form of the weights of one piece; one that is larger is a piece of its own


@dataclass(frozen=True, eq=False)
class _Piece:
    graph: Graph
    last: frozenset[str]  # values that nobody reads any more


class Pieces(Session):
    """A graph behind the face of a session."""

    def __init__(self, graph: Graph, options: Options, code: str, where: object) -> None:
        typed = Edit(infer_types(graph)).graph()  # without what no output needs
        self._options, self._code, self._where = replace(options, prepack=False), code, where
        self._pieces = tuple(_cut(typed))
        self.inputs = {name: str(graph.type_of(name)) for name in graph.feeds}
        self.outputs = graph.outputs

    def run(self, feed: Feed, outputs: Sequence[str] | None = None, code: str = "M009") -> dict[str, Array]:
        """Run one batch and return the outputs by name.

        Raises:
            QConvertError: with the runtime's message.
        """
        values = dict(feed)
        for piece in self._pieces:
            values.update(self._one(piece.graph, {name: values[name] for name in piece.graph.feeds}, code))
            for name in piece.last:
                values.pop(name, None)
        return {name: values[name] for name in (self.outputs if outputs is None else outputs)}

    def _one(self, graph: Graph, feed: Feed, code: str) -> dict[str, Array]:
        with tempfile.TemporaryDirectory(prefix="qconvert-") as folder:
            content, root = referenced(graph, Path(folder) / "weights.data")
            config = (*self._options.config, (DATA_FOLDER, str(root)))
            session = Session(content, replace(self._options, config=config), self._code, self._where)
            # Results lie in the session's memory, all of which would live as long as one of them.
            return {name: copy(value) for name, value in session.run(feed, code=code).items()}


def _cut(graph: Graph) -> Iterator[_Piece]:
    """Pieces in the order of the graph, each with what it needs of the ones before."""
    groups = list(_groups(graph))
    last = {name: n for n, group in enumerate(groups) for node in group for name in node.reads}
    kept = {*graph.outputs}
    for n, group in enumerate(groups):
        made = {out for node in group for out in node.outputs if out}
        read = dict.fromkeys(name for node in group for name in node.reads if name not in made)
        weights = {name: graph.weights[name] for name in read if name in graph.weights}
        inputs = tuple(name for name in read if name not in weights)
        outputs = tuple(name for name in made if name in kept or last.get(name, -1) > n)
        types = {**graph.types, **{name: _known(graph.type_of(name)) for name in (*inputs, *outputs)}}
        piece = graph.with_(nodes=tuple(group), inputs=inputs, outputs=outputs, weights=weights, types=types)
        yield _Piece(piece, frozenset(name for name in inputs if last[name] == n and name not in kept))


def _groups(graph: Graph) -> Iterator[list[Node]]:
    group: list[Node] = []
    held = 0
    for node in graph.nodes:
        size = sum(4 * graph.weights[name].size for name in node.inputs if name in graph.weights)
        if group and held + size > PIECE:
            yield group
            group, held = [], 0
        group.append(node)
        held += size
    if group:
        yield group


def _known(kind: TensorType) -> TensorType:
    return TensorType(kind.dtype or "float32", kind.shape)
