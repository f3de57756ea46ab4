"""Outputs of the FP32 model that a cache keeps, found again by the content of the inputs."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np

from ...data import Samples
from ...evaluate import model_files
from ...graph import Graph
from ...runtime import Feed, Options, Session, host_name
from .cache import Cache, cache_key
from .staging import sha256

MOST_BYTES = 256_000_000  # of the outputs of one model on one dataset; larger ones are computed each time


class Remembered:
    """A session that runs only what the cache does not know."""

    def __init__(self, start: Callable[[], Session], cache: Cache, key: str) -> None:
        self._start, self._cache, self._key = start, cache, key
        self._known = _read(cache.get(key))
        self._new, self._room = False, MOST_BYTES

    @cached_property
    def _session(self) -> Session:
        return self._start()

    def run(self, feed: Feed) -> dict[str, Any]:
        """The outputs of one batch by name.

        Raises:
            QConvertError: M009.
        """
        name = _digest(feed)
        if name in self._known:
            return dict(self._known[name])
        outputs = self._session.run(feed)
        self._new = True
        self._room -= sum(value.nbytes if _plain(value) else MOST_BYTES + 1 for value in outputs.values())
        if self._room >= 0:
            self._known[name] = outputs
        return outputs

    def keep(self) -> None:
        """Write what was computed, where all of it fits."""
        if self._new and self._room >= 0:
            self._cache.put(self._key, _written(self._known))
            self._new = False


def float_outputs(model: Path, graph: Graph, samples: Samples, threads: int, cache: Cache) -> Remembered:
    """The FP32 model, with what a cache knows of its outputs on some samples.

    Args:
        graph: the model as it was loaded.
    """
    start = partial(Session, model, Options(threads=threads), where=model)
    content = sha256(*model_files(model, graph))
    return Remembered(start, cache, cache_key("outputs", content, samples.digest(), threads, host_name()))


def _plain(value: object) -> bool:
    return isinstance(value, np.ndarray) and value.dtype.kind in "fiub"


def _digest(feed: Feed) -> str:
    total = hashlib.sha256()
    for name, array in sorted(feed.items()):
        total.update(f"{name} {array.dtype} {array.shape}\n".encode())
        total.update(
            repr(array.tolist()).encode() if array.dtype.kind == "O" else np.ascontiguousarray(array).tobytes()
        )
    return total.hexdigest()


def _written(known: dict[str, dict[str, Any]]) -> bytes:
    file = io.BytesIO()
    np.savez(file, allow_pickle=False, **{f"{key} {name}": a for key, row in known.items() for name, a in row.items()})
    return file.getvalue()


def _read(content: bytes | None) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    if content is not None:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            for entry in file.files:
                key, _, name = entry.partition(" ")
                found.setdefault(key, {})[name] = file[entry]
    return found
