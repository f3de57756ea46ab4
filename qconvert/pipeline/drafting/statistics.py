"""The statistics of one pass over the calibration data, as a value that can be kept and shared between targets."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np

from ...calibrate import Sketch, Sketcher, collect, watchable
from ...calibrate.sketch import BUCKETS
from ...data import Dataset, Watch
from ...errors import Diagnostic, Severity
from ...graph import Array, Graph, serialize
from ...report.record import Convergence
from ...runtime import host_name
from ..events import Stages
from ..storage.cache import Cache, cache_key

PROOF_SAMPLES = 8  # of a proof, and of a pass where nothing is collected


@dataclass(frozen=True, eq=False)
class Statistics:
    """What a pass over the data found.

    Attributes:
        sketches: by tensor.
        steps: numbers of samples after which the widths were noted; widths: [steps, tensors].
        notes: doubts about the data.
    """

    sketches: Mapping[str, Sketch]
    steps: tuple[int, ...] = ()
    widths: Array | None = None
    notes: tuple[Diagnostic, ...] = ()

    def of(self, names: Iterable[str]) -> Statistics:
        """The same for some tensors only."""
        place = {name: at for at, name in enumerate(self.sketches)}
        chosen = list(names)
        widths = None if self.widths is None else self.widths[:, [place[name] for name in chosen]]
        return Statistics({name: self.sketches[name] for name in chosen}, self.steps, widths, self.notes)

    @cached_property
    def convergence(self) -> tuple[Convergence, ...]:
        """Mean share of the final width after some samples, of tensors that have a width."""
        if self.widths is None or not len(self.widths):
            return ()
        wide = np.isfinite(self.widths[-1]) & (self.widths[-1] > 0)
        if not wide.any():
            return ()
        shares = (self.widths[:, wide] / self.widths[-1, wide]).mean(axis=1)
        return tuple(Convergence(samples=n, share=float(share)) for n, share in zip(self.steps, shares, strict=True))


def statistics(
    graph: Graph, taps: Sequence[str], dataset: Dataset, stages: Stages, threads: int, cache: Cache | None
) -> Statistics:
    """The statistics of some tensors on the calibration part.

    With a cache, everything that any target could ask of this graph is collected at once, and found again later.

    Raises:
        QConvertError: M009 where the model does not run, and the errors of the data.
    """
    if not taps:
        watch = Watch()
        for _ in watch(dataset.calibration.take(PROOF_SAMPLES)):
            pass
        return Statistics({}, notes=watch.judge())
    with stages.stage("calibrate") as progress:
        if cache is None:
            return _collected(graph, taps, dataset, threads, progress)
        names = tuple(dict.fromkeys([*watchable(graph), *taps]))
        key = cache_key("statistics", graph_digest(graph), names, dataset.calibration.digest(), threads, host_name())
        found = _read(cache.get(key))
        if found is None:
            found = _collected(graph, names, dataset, threads, progress)
            cache.put(key, _written(found))
        else:
            stages.note(_taken(len(taps)))
        stages.note(*cache.notes())
        return found.of(taps)


def _taken(count: int) -> Diagnostic:
    text = f"statistics of {count} tensors were at hand, the calibration data was not run again"
    return Diagnostic("O101", text, None, None, Severity.NOTE)


def _collected(
    graph: Graph, names: Sequence[str], dataset: Dataset, threads: int, progress: Callable[[int, int], None]
) -> Statistics:
    watch, total = Watch(), len(dataset.calibration)
    sketchers = {name: Sketcher() for name in names}
    widths: dict[int, list[float]] = {}

    def done(count: int) -> None:
        if count & (count - 1) == 0 or count == total:
            widths[count] = [sketcher.width for sketcher in sketchers.values()]
        progress(count, total)

    collect(graph, watch(dataset.calibration), {n: (s,) for n, s in sketchers.items()}, threads, done)
    found = {name: sketcher.result() for name, sketcher in sketchers.items()}
    return Statistics(found, tuple(widths), np.array(list(widths.values())), watch.judge())


def graph_digest(graph: Graph) -> str:
    """SHA-256 of everything that decides what a graph computes."""
    total = hashlib.sha256(serialize(graph.with_(weights={}, metadata={})))
    for name, weight in sorted(graph.weights.items()):
        array = weight.numpy()
        total.update(f"\n{name} {array.dtype} {array.shape}\n".encode())
        total.update(np.ascontiguousarray(array).tobytes())
    return total.hexdigest()


# --- as bytes ------------------------------------------------------------------------------------------------------------


def _written(found: Statistics) -> bytes:
    filled = [np.flatnonzero(sketch.counts) for sketch in found.sketches.values()]
    counts = [sketch.counts[at] for sketch, at in zip(found.sketches.values(), filled, strict=True)]
    head = {"names": list(found.sketches), "steps": found.steps, "notes": [asdict(note) for note in found.notes]}
    file = io.BytesIO()
    np.savez_compressed(
        file,
        head=np.frombuffer(json.dumps(head).encode(), np.uint8),
        lows=np.array([sketch.low for sketch in found.sketches.values()]),
        highs=np.array([sketch.high for sketch in found.sketches.values()]),
        sizes=np.array([sketch.size for sketch in found.sketches.values()], np.int64),
        ends=np.cumsum([len(at) for at in filled]),
        buckets=np.concatenate(filled),
        counts=np.concatenate(counts),
        levels=np.concatenate([_levels(sketch) for sketch in found.sketches.values()]),
        level_ends=np.cumsum([len(_levels(sketch)) for sketch in found.sketches.values()]),
        widths=found.widths if found.widths is not None else np.zeros((0, 0)),
    )
    return file.getvalue()


def _levels(sketch: Sketch) -> Array:
    return np.zeros(0, np.float32) if sketch.levels is None else sketch.levels


def _read(content: bytes | None) -> Statistics | None:
    if content is None:
        return None
    with np.load(io.BytesIO(content), allow_pickle=False) as file:
        stored = {name: file[name] for name in file.files}
    head = json.loads(stored["head"].tobytes())
    ends = stored["ends"][:-1]
    rows = zip(
        head["names"],
        stored["lows"].tolist(),
        stored["highs"].tolist(),
        stored["sizes"].tolist(),
        np.split(stored["buckets"], ends),
        np.split(stored["counts"], ends),
        np.split(stored["levels"], stored["level_ends"][:-1]),
        strict=True,
    )
    sketches = {
        name: Sketch(low, high, size, _dense(at, counts), levels if levels.size else None)
        for name, low, high, size, at, counts, levels in rows
    }
    notes = tuple(Diagnostic(**{**note, "severity": Severity(note["severity"])}) for note in head["notes"])
    return Statistics(sketches, tuple(head["steps"]), stored["widths"], notes)


def _dense(buckets: Array, counts: Array) -> Array:
    found = np.zeros(BUCKETS, np.int64)
    found[buckets] = counts
    return found
