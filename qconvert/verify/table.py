"""The tables of the checks; names of the package, which loads them when somebody asks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ..errors import Diagnostic
from ..graph import Graph, infer_types
from ..targets.model import Target
from .fusion import Forecast, forecast
from .onnxruntime_lint import check_onnxruntime
from .tensorrt import check_tensorrt
from .tflite import check_tflite


def _check_tensorrt(graph: Graph) -> tuple[Diagnostic, ...]:
    """The validator, which wants a model to be in 16-bit floats as a whole where any of its weights is."""
    types = {graph.type_of(name).dtype for name in graph.weights}
    return check_tensorrt(graph, next((name for name in ("float16", "bfloat16") if name in types), "float32"))


CHECKS: dict[str, Callable[[Graph], tuple[Diagnostic, ...]]] = {
    "onnxruntime-x86": partial(check_onnxruntime, arch="x86"),
    "onnxruntime-arm": partial(check_onnxruntime, arch="arm"),
    "tensorrt": _check_tensorrt,
}

# What a runtime that is not at hand is expected to build, by the same names.
FORECASTS: dict[str, Callable[[Graph], Forecast]] = {"tensorrt": forecast}

# Checks of files that are no ONNX graphs, by the same names.
FILE_CHECKS: dict[str, Callable[[bytes], tuple[Diagnostic, ...]]] = {"tflite": check_tflite}


def check(graph: Graph, target: Target) -> tuple[Diagnostic, ...]:
    """Findings of every static check that the target names, on the graph as it was loaded."""
    typed = infer_types(graph)
    return tuple(finding for name in target.runtime.checks for finding in CHECKS[name](typed))
