"""Interpreters of .tflite files, in child processes: a crash or a failed check there is an error here.

TensorFlow Lite Micro (`tflite-micro`) is the interpreter that counts; LiteRT's reference kernels (`ai-edge-litert`) are a second
witness. Both belong to the extra `qconvert[tflite]`.
"""

from __future__ import annotations

import pickle
import re
import struct
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ..errors import fail
from ..graph import Array
from .timing import Clock

ARENA = 64 << 20  # far more than any device has; what is really used is measured
_UNUSUAL = "mend the operator that it names, or please report a file that qconvert has written"
_PACKAGES = {"tflm": "tflite_micro", "litert": "ai_edge_litert", "litert-fast": "ai_edge_litert"}
TITLES = {
    "tflm": "TensorFlow Lite Micro",
    "litert": "LiteRT reference kernels",
    "litert-fast": "LiteRT optimized kernels",
}
INSTALL = "pip install 'qconvert[tflite]'"


def available(engine: str) -> bool:
    """Whether the interpreter ("tflm", "litert" or "litert-fast") is installed."""
    return find_spec(_PACKAGES[engine]) is not None


@dataclass(frozen=True, slots=True)
class Allocation:
    """Bytes of the tensor arena that a run used, as TFLM counts them on this host.

    Attributes:
        head: activations and scratch, planned; tail: structures that live as long as the interpreter, larger here than on a
            32-bit core.
    """

    total: int
    head: int
    tail: int


class Child:
    """A process for interpreters, which holds one loaded file at a time; close it, or use it as a context.

    It starts with the first request, and anew with the one after a crash.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, request: dict[str, Any]) -> dict[str, Any] | int:
        """The answer to a request; the exit status where the process ended instead."""
        process = self._process = self._process or _started()
        body = pickle.dumps(request, protocol=5)
        source, sink = process.stdout, process.stdin
        assert source is not None
        assert sink is not None
        try:
            sink.write(struct.pack("<Q", len(body)) + body)
            sink.flush()
            header = source.read(8)
            if header:
                return dict(pickle.loads(source.read(struct.unpack("<Q", header)[0])))
        except (OSError, EOFError, struct.error, pickle.UnpicklingError):  # it ended in the middle
            pass
        self.close()
        return process.returncode

    def close(self) -> None:
        """End the process."""
        if self._process is None:
            return
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(OSError):  # what was not yet sent to a process that has ended
                    stream.close()
        self._process.wait()
        self._process = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _started() -> subprocess.Popen[bytes]:
    script = Path(__file__).with_name("tflite_worker.py")
    return subprocess.Popen(
        [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )


class Interpreter:
    """An interpreter with one loaded file at a time; close it, or use it as a context."""

    def __init__(self, engine: str, child: Child | None = None) -> None:
        """Choose an engine; a `child` that is given is used and left open, and holds the file that was loaded last."""
        if not available(engine):
            raise fail("T001", f"{TITLES[engine]} is not installed", None, INSTALL)
        self.engine, self.title = engine, TITLES[engine]
        self._own = child is None
        self._child = child or Child()

    def load(self, model: bytes, outputs: int, arena: int = ARENA, preserve: bool = False) -> Self:
        """Put a file in the place of the one before.

        Args:
            outputs: how many the file has; arena: bytes to give it; preserve: keep every tensor readable after a run.

        Raises:
            QConvertError: V002 with what the failing kernel printed.
        """
        self._ask(
            {
                "do": "load",
                "engine": self.engine,
                "model": model,
                "outputs": outputs,
                "arena": arena,
                "preserve": preserve,
            }
        )
        return self

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """Outputs for inputs of exactly the file's types and shapes.

        Raises:
            QConvertError: V002 with what the failing kernel printed.
        """
        return list(self._ask({"do": "run", "arguments": (list(inputs),)})["result"])

    def tensors(self, numbers: Sequence[int]) -> list[Array]:
        """Tensors after a run; only where all are preserved."""
        return list(self._ask({"do": "tensors", "arguments": (list(numbers),)})["result"])

    def seconds(self, times: int, clock: Clock) -> float:
        """Time of so many further runs on the inputs of the last one, by the clock of the child process."""
        return float(self._ask({"do": "seconds", "arguments": (times, clock)})["result"])

    def reset(self) -> None:
        """Variables as they were at first."""
        self._ask({"do": "reset", "arguments": ()})

    def allocation(self) -> Allocation | None:
        """What the last run used; None for an interpreter that does not say."""
        log = self._ask({"do": "allocations", "arguments": ()})["log"]
        found = {part: int(size) for part, size in re.findall(r"Arena allocation (total|head|tail) (\d+) bytes", log)}
        return Allocation(**found) if len(found) == 3 else None

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        answer = self._child.ask(request)
        if isinstance(answer, int):
            raise fail("V002", f"{self.title} crashed (exit status {answer})", None, _UNUSUAL)
        if "error" in answer:
            raise fail(
                "V002", f"{self.title} refuses the file: {_cause(answer['log'], answer['error'])}", None, _UNUSUAL
            )
        return answer

    def close(self) -> None:
        """End the child process, if it is its own."""
        if self._own:
            self._child.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _cause(log: str, error: str) -> str:
    """What a kernel printed about itself, else the exception's text."""
    lines = [
        line.strip()
        for line in log.splitlines()
        if line.strip() and not line.startswith(("INFO:", "Number of resource"))
    ]
    return " | ".join(lines[:6])[:600] or error
