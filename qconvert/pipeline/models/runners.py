"""Models of any kind behind one face: how a file is opened, run and timed. To run models elsewhere, add a way to open them here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from ...emit.tflite import Binding
from ...errors import QConvertError, fail
from ...evaluate import bare, bytes_of, model_files
from ...graph import Array, TensorType, load
from ...runtime import Feed, Options, Session
from ...runtime.tflite import INSTALL, TITLES, Interpreter, available
from ...runtime.timing import Clock, Run
from ...verify.tflite_read import ReadFile, ReadTensor, read_tflite
from ...verify.tflite_run import decoded, encoded


class Runner(Protocol):
    """A loaded model.

    Attributes:
        runtime: what computes its values, in words; timed_in: what its times are taken in.
        inputs: types by name, in the file's order; quantized tensors of .tflite files count as float32.
        outputs: names in the file's order.
        path: the file.
        bytes: of the model on disk, external data included.
    """

    path: Path
    runtime: str
    timed_in: str
    inputs: Mapping[str, TensorType]
    outputs: tuple[str, ...]
    bytes: int

    def run(self, feed: Feed) -> dict[str, Array]:
        """Outputs by name; raises M009 or V002 where the runtime refuses."""

    def timer(self, feed: Feed) -> Run | None:
        """A run on these inputs that can be timed; None where a time on this host would mean nothing."""

    def close(self) -> None:
        """Let go of what it holds."""


class OnnxRunner:
    """An ONNX model in onnxruntime on this host."""

    def __init__(self, path: Path, threads: int) -> None:
        graph = load(path)
        self.path, self.runtime, self.timed_in = path, "onnxruntime", "onnxruntime"
        self.inputs: Mapping[str, TensorType] = {name: graph.type_of(name) for name in graph.feeds}
        self.bytes = bytes_of(model_files(path, graph))
        self._session = Session(path, Options(threads=threads), where=path)
        self.outputs = self._session.outputs

    def run(self, feed: Feed) -> dict[str, Array]:
        """Outputs by name."""
        return self._session.run(feed)

    def timer(self, feed: Feed) -> Run:
        """The bare session."""
        self.run(feed)
        return bare(self._session, feed)

    def close(self) -> None:
        """Nothing to end: the session goes with its last reference."""


class TfliteRunner:
    """A .tflite file of any origin: values from the interpreter that counts, times from the kernels that this host would use."""

    def __init__(self, path: Path, threads: int) -> None:
        data = file_content(path)
        found = read_tflite(data, path)
        self.path, self.bytes, self._data, self._threads = path, len(data), data, threads
        self._inputs = {name: _binding(name, t) for name, t in _named(found.inputs).items()}
        self._outputs = {name: _binding(name, t) for name, t in _named(found.outputs).items()}
        self.inputs: Mapping[str, TensorType] = {name: TensorType(b.dtype, b.shape) for name, b in self._inputs.items()}
        self.outputs = tuple(self._outputs)
        self._interpreter = _loaded(data, found, path)
        self._fast: Interpreter | None = None
        self.runtime, self.timed_in = self._interpreter.title, TITLES["litert-fast"]

    def run(self, feed: Feed) -> dict[str, Array]:
        """Outputs by name, as floats where the file has codes."""
        codes = self._interpreter.run(self._encoded(feed))
        return {name: decoded(b, c) for (name, b), c in zip(self._outputs.items(), codes, strict=True)}

    def _encoded(self, feed: Feed) -> list[Array]:
        return [encoded(b, feed[name]) for name, b in self._inputs.items()]

    def timer(self, feed: Feed) -> Run | None:
        """LiteRT's optimized kernels: the reference kernels, in which values are computed, are no measure of speed."""
        if not available("litert-fast") or self._threads != 1:
            return None
        if self._fast is None:
            self._fast = Interpreter("litert-fast").load(self._data, len(self.outputs))
        self._fast.run(self._encoded(feed))
        return _Child(self._fast)

    def close(self) -> None:
        """End the child processes."""
        for interpreter in (self._interpreter, self._fast):
            if interpreter is not None:
                interpreter.close()


@dataclass(frozen=True)
class _Child:
    interpreter: Interpreter

    def seconds(self, times: int, clock: Clock) -> float:
        """By the child's own clock."""
        return self.interpreter.seconds(times, clock)


RUNNERS: Mapping[str, Callable[[Path, int], Runner]] = {".onnx": OnnxRunner, ".tflite": TfliteRunner}


def open_runner(path: Path, threads: int = 1) -> Runner:
    """Open a model by what its name ends with; names that tell nothing are taken for ONNX.

    Raises:
        QConvertError: M0xx for a file that cannot be read or loaded, T001 where a .tflite interpreter is missing.
    """
    return RUNNERS.get(path.suffix.lower(), OnnxRunner)(path, threads)


def file_content(path: Path) -> bytes:
    """The bytes of a model file.

    Raises:
        QConvertError: M001 where it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise fail("M001", f"the model cannot be read: {error.strerror}", path, "check the path") from error


def _named(tensors: Sequence[ReadTensor]) -> dict[str, ReadTensor]:
    """By name, or by number where names are missing or stand twice."""
    names = [t.name for t in tensors]
    unique = len(set(names)) == len(names) and all(names)
    return {t.name if unique else f"#{n}": t for n, t in enumerate(tensors)}


def _binding(name: str, tensor: ReadTensor) -> Binding:
    scale = float(tensor.scale[0]) if tensor.scale.size and tensor.dtype != "float32" else 0.0
    dtype = "float32" if scale else tensor.dtype
    zero = int(tensor.zero_point[0]) if tensor.zero_point.size else 0
    axes = tuple(range(len(tensor.shape)))
    return Binding(name, dtype, tensor.shape, axes, tensor.shape, tensor.dtype, scale, zero)


def _loaded(data: bytes, found: ReadFile, path: Path) -> Interpreter:
    """The file in TFLM, or in LiteRT where TFLM has no kernel for it."""
    engines = [engine for engine in ("tflm", "litert") if available(engine)]
    if not engines:
        raise fail("T001", "a .tflite file needs an interpreter, and none is installed", path, INSTALL)
    refused: list[QConvertError] = []
    for engine in engines:
        interpreter = Interpreter(engine)
        try:
            interpreter.load(data, len(found.outputs))
            interpreter.run([np.zeros(t.shape, np.dtype(t.dtype)) for t in found.inputs])
            return interpreter
        except QConvertError as error:
            interpreter.close()
            refused.append(error)
    raise refused[-1]
