"""The child process that holds a .tflite interpreter; run as a script, it imports nothing of qconvert.

Requests and answers are pickled dictionaries with their length in front, on the pipes that were standard input and output. What
the interpreter prints goes to a file, and comes back with the answer under "log".
"""

from __future__ import annotations

import os
import pickle
import struct
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any, BinaryIO


class _Tflm:
    def __init__(self, request: dict[str, Any]) -> None:
        from tflite_micro.python.tflite_micro import runtime

        config = (
            runtime.InterpreterConfig.kPreserveAllTensors
            if request["preserve"]
            else runtime.InterpreterConfig.kAllocationRecording
        )
        self._made = runtime.Interpreter.from_bytes(
            request["model"], arena_size=request["arena"], intrepreter_config=config
        )
        self._outputs = request["outputs"]

    def run(self, inputs: list[Any]) -> list[Any]:
        for n, array in enumerate(inputs):
            self._made.set_input(array, n)
        self._made.invoke()
        return [self._made.get_output(n) for n in range(self._outputs)]

    def tensors(self, numbers: list[int]) -> list[Any]:
        return [self._made.GetTensor(n, 0)["tensor_data"] for n in numbers]

    def allocations(self) -> None:
        self._made.print_allocations()

    def reset(self) -> None:
        self._made.reset()

    def seconds(self, times: int, clock: str) -> float:
        return _seconds(self._made.invoke, times, clock)


class _LiteRt:
    kernels: tuple[str, ...] = (
        "BUILTIN_REF",
        "BUILTIN_WITHOUT_DEFAULT_DELEGATES",  # a few operators (ELU) are not among the reference kernels
    )

    def __init__(self, request: dict[str, Any]) -> None:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        def made(kernels: Any) -> Any:
            return Interpreter(
                model_content=request["model"],
                experimental_op_resolver_type=kernels,
                experimental_preserve_all_tensors=request["preserve"],
                num_threads=1,
            )

        first, *rest = [getattr(OpResolverType, name) for name in self.kernels]
        try:
            self._made = made(first)
        except ValueError:
            if not rest:
                raise
            self._made = made(rest[0])
        self._made.allocate_tensors()
        self._inputs = [d["index"] for d in self._made.get_input_details()]
        self._outputs = [d["index"] for d in self._made.get_output_details()]

    def run(self, inputs: list[Any]) -> list[Any]:
        for number, array in zip(self._inputs, inputs, strict=True):
            self._made.set_tensor(number, array)
        self._made.invoke()
        return [self._made.get_tensor(n) for n in self._outputs]

    def tensors(self, numbers: list[int]) -> list[Any]:
        return [self._made.get_tensor(n) for n in numbers]

    def allocations(self) -> None:
        return

    def reset(self) -> None:
        self._made.reset_all_variables()

    def seconds(self, times: int, clock: str) -> float:
        return _seconds(self._made.invoke, times, clock)


class _LiteRtFast(_LiteRt):
    kernels = ("BUILTIN",)  # with XNNPACK


def _seconds(invoke: Callable[[], object], times: int, clock: str) -> float:
    now = time.thread_time if clock == "cpu" else time.perf_counter
    start = now()
    for _ in range(times):
        invoke()
    return now() - start


_ENGINES = {"tflm": _Tflm, "litert": _LiteRt, "litert-fast": _LiteRtFast}


def _serve(source: BinaryIO, sink: BinaryIO, log: BinaryIO) -> None:
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
    engine: Any = None
    while header := source.read(8):
        request = pickle.loads(source.read(struct.unpack("<Q", header)[0]))
        start = os.fstat(log.fileno()).st_size
        answer: dict[str, Any] = {}
        try:
            if request["do"] == "load":
                engine = _ENGINES[request["engine"]](request)
            else:
                answer["result"] = getattr(engine, request["do"])(*request["arguments"])
        except Exception as error:  # whatever the interpreter raises goes back as its text
            answer["error"] = f"{type(error).__name__}: {str(error)[:300]}"
        os.lseek(log.fileno(), start, os.SEEK_SET)
        answer["log"] = log.read().decode(errors="replace")
        os.lseek(log.fileno(), 0, os.SEEK_END)
        body = pickle.dumps(answer, protocol=5)
        sink.write(struct.pack("<Q", len(body)) + body)
        sink.flush()


if __name__ == "__main__":
    with tempfile.TemporaryFile() as printed:
        _serve(os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb"), printed)
    sys.exit(0)
