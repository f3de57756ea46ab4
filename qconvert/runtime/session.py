"""Opening and running onnxruntime sessions; the only module that imports onnxruntime."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ..errors import QConvertError, fail
from ..graph import Array, Graph, Held, bytes_outside, load, serialize

# From 1.29 on, onnxruntime reports every session to its maker (names and hashes of graph and weights among it) unless this is
# set before it is imported. A converter of other people's models must not do that behind their back.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

Feed = Mapping[str, Array]
# "/path/to/file.cc:266 onnxruntime::Status onnxruntime::f(const T&, const std::map<K, V (*)(X)>&) const " inside of messages;
# parentheses may nest once.
_SOURCE_PLACE = r"\S+\.(?:cc|h|cpp|hpp):\d+ [^()\"]*?\((?:[^()]|\([^()]*\))*\)(?: const)?(?: \[with [^]]*\])? "
# Bytes of weights above which they stay mapped from files instead of being copied: of all, and of those that are not in memory.
LARGE, LARGE_OUTSIDE = 512_000_000, 256_000_000


_NO_COPIES = (("session.disable_prepacking", "1"),)
DATA_FOLDER = "session.model_external_initializers_file_folder_path"


@dataclass(frozen=True, slots=True)
class Options:
    """How a session is opened.

    Attributes:
        optimize: graph optimizations on or off.
        threads: of one operator; operators always run one after the other.
        config: session configuration entries.
        optimized_path: where the runtime saves the graph that it really executes.
        profile: prefix of a profile file; None for no profile.
        prepack: kernels may keep copies of weights in a layout of their own; None: unless the model is large.
    """

    optimize: bool = True
    threads: int = 1
    config: tuple[tuple[str, str], ...] = ()
    optimized_path: Path | None = None
    profile: str | None = None
    prepack: bool | None = None


class Runnable(Protocol):
    """Whatever takes the inputs of a model by name and gives its outputs by name."""

    def run(self, feed: Feed) -> dict[str, Array]:
        """Run one batch."""


class Session:
    """A loaded model. Errors of the runtime become one clear diagnostic."""

    def __init__(
        self, model: bytes | Path, options: Options | None = None, code: str = "M006", where: object = None
    ) -> None:
        import onnxruntime as ort

        self._where, options = where, options or Options()
        settings = ort.SessionOptions()
        settings.log_severity_level = 4
        settings.intra_op_num_threads = options.threads
        settings.inter_op_num_threads = 1
        level = ort.GraphOptimizationLevel
        settings.graph_optimization_level = level.ORT_ENABLE_ALL if options.optimize else level.ORT_DISABLE_ALL
        prepack = options.prepack if options.prepack is not None else not is_large_file(model)
        for key, value in (*options.config, *(() if prepack else _NO_COPIES)):
            settings.add_session_config_entry(key, value)
        if options.optimized_path is not None:
            settings.optimized_model_filepath = str(options.optimized_path)
        if options.profile is not None:
            settings.enable_profiling, settings.profile_file_prefix = True, options.profile
        try:
            self._session = self._opened(model, settings)
        except Exception as error:  # onnxruntime raises its own exception classes, all of them mean: not loadable
            raise load_error(error, code, where) from error
        self.inputs: dict[str, str] = {i.name: i.type for i in self._session.get_inputs()}
        self.outputs: tuple[str, ...] = tuple(o.name for o in self._session.get_outputs())

    @staticmethod
    def _opened(model: bytes | Path, settings: Any) -> Any:
        import onnxruntime as ort

        providers = ["CPUExecutionProvider"]
        if isinstance(model, bytes):
            return ort.InferenceSession(model, settings, providers=providers)
        try:
            return ort.InferenceSession(str(model), settings, providers=providers)
        except Exception as error:
            content = _mended(model, str(error))
            if content is None:
                raise
        settings.add_session_config_entry(DATA_FOLDER, str(model.parent))
        return ort.InferenceSession(content, settings, providers=providers)

    def run(self, feed: Feed, outputs: Sequence[str] | None = None, code: str = "M009") -> dict[str, Array]:
        """Run one batch and return the outputs by name.

        Raises:
            QConvertError: `code` with the runtime's message.
        """
        names = list(outputs) if outputs is not None else list(self.outputs)
        try:
            return dict(zip(names, self._session.run(names, dict(feed)), strict=True))
        except Exception as error:
            hint = "run the model by itself on the same inputs: the export or the sample is wrong where that fails too"
            raise fail(code, f"the model does not run: {reason(error)}", self._where, hint) from error

    def close(self) -> None:
        """Nothing to end: the session goes with its last reference."""

    def raw(self) -> Any:
        """The underlying session, for timing without our overhead."""
        return self._session

    def end_profile(self) -> Path:
        """Stop profiling and return the file."""
        return Path(self._session.end_profiling())


def _mended(model: Path, refusal: str) -> bytes | None:
    """A file that the runtime refuses for what does not matter to its results; None where that is not the reason.

    That is an IR version which is newer than its operators need, and nodes of the same name.
    """
    if "Unsupported model IR version" in refusal:
        ir_version = bytes((0x08, load(model).ir_version))  # of the messages' fields, the one that comes last counts
        return model.read_bytes() + ir_version
    if "two nodes with same node name" in refusal and not is_large_file(model):
        return serialize(load(model))
    return None


def is_large_file(model: bytes | Path) -> bool:
    """Whether sessions of a model leave its weights where they are."""
    if isinstance(model, bytes):
        return len(model) >= LARGE
    files = [file.stat().st_size for file in model.parent.iterdir() if file.is_file()] if model.is_file() else [0]
    return max(files) >= LARGE_OUTSIDE and (model.stat().st_size >= LARGE or bytes_outside(model) >= LARGE_OUTSIDE)


def is_large(graph: Graph) -> bool:
    """Whether sessions of a graph leave its weights where they are."""
    sizes = [(w.nbytes, isinstance(w, Held)) for w in graph.weights.values()]
    return sum(n for n, _ in sizes) >= LARGE or sum(n for n, held in sizes if not held) >= LARGE_OUTSIDE


def load_error(error: Exception, code: str, where: object) -> QConvertError:
    """A diagnostic for a model that the runtime refuses to load."""
    text = reason(error)
    hint = None
    if "is not a registered function/op" in text or "No Op registered" in text or "NOT_IMPLEMENTED" in str(error):
        hint = "onnxruntime has no kernel for this operator; replace it, or cut the model before it"
    elif "Unsupported model IR version" in text or "is under development" in text:
        hint = "this onnxruntime does not know the model's opset yet: export with an older one, or update onnxruntime"
    return fail(code, f"onnxruntime cannot load the model: {text}", where, hint)


def reason(error: Exception) -> str:
    """The part of a runtime message that tells something: without codes, source lines and addresses."""
    lines = [line for line in str(error).strip().splitlines() if line.strip()] or [type(error).__name__]
    text = re.sub(r"^\[ONNXRuntimeError\] : \d+ : \w+ : ", "", lines[0])
    text = re.sub(r"^Load model from .*? failed:", "", text)
    return re.sub(_SOURCE_PLACE, "", text).strip()[:500]
