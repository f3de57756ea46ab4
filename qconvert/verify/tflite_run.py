"""Runs an artefact like a session of the FP32 model: named arrays in, named arrays out, whatever layout and scales the file has."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Self

import numpy as np

from ..emit.tflite import Artefact, Binding
from ..graph import Array
from ..runtime import Feed
from ..runtime.tflite import ARENA, Interpreter


class TfliteSession:
    """A .tflite file behind the names, types and axes of its ONNX model."""

    def __init__(
        self,
        artefact: Artefact,
        engine: str = "tflm",
        arena: int = ARENA,
        preserve: bool = False,
        interpreter: Interpreter | None = None,
    ) -> None:
        """Load a file; an `interpreter` that is given is used and left open."""
        self.artefact = artefact
        self.outputs = tuple(b.name for b in artefact.outputs)
        self._own = interpreter is None
        self.interpreter = interpreter or Interpreter(engine)
        try:
            self.interpreter.load(artefact.data, len(self.outputs), arena, preserve)
        except BaseException:
            self.close()
            raise

    def run(self, feed: Feed, outputs: Sequence[str] | None = None) -> dict[str, Array]:
        """Run one sample.

        Raises:
            QConvertError: V002 with the failing kernel's message.
        """
        found = self.codes(feed)
        return {
            b.name: decoded(b, codes)
            for b, codes in zip(self.artefact.outputs, found, strict=True)
            if outputs is None or b.name in outputs
        }

    def codes(self, feed: Feed) -> list[Array]:
        """The outputs as the file has them."""
        return self.interpreter.run([encoded(b, feed[b.name]) for b in self.artefact.inputs])

    def close(self) -> None:
        """End the interpreter."""
        if self._own:
            self.interpreter.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def encoded(binding: Binding, array: Array) -> Array:
    """An input of the ONNX model as the file takes it."""
    moved = np.asarray(array).reshape(binding.shape).transpose(binding.order).reshape(binding.stored)
    if not binding.scale:
        return np.ascontiguousarray(moved, dtype=binding.stored_dtype)
    info = np.iinfo(binding.stored_dtype)
    codes = np.rint(moved / np.float32(binding.scale)) + binding.zero_point
    return np.ascontiguousarray(np.clip(codes, info.min, info.max), dtype=binding.stored_dtype)


def decoded(binding: Binding, codes: Array) -> Array:
    """An output of the file as the ONNX model gives it."""
    values = codes if not binding.scale else (codes.astype(np.float32) - binding.zero_point) * np.float32(binding.scale)
    stored = tuple(binding.shape[o] for o in binding.order)
    back = np.argsort(binding.order)
    return np.ascontiguousarray(values.reshape(stored).transpose(back), dtype=binding.dtype)
