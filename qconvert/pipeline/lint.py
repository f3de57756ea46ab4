"""Lints a quantized model of any origin against a target."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from ..emit.emulate import emulated
from ..emit.tflite.schema import IDENTIFIER
from ..errors import Diagnostic, QConvertError, Severity, fail
from ..graph import load, serialize
from ..lift import is_quantized
from ..recipe.types import HALVES
from ..targets import TARGETS, Target
from ..verify import FILE_CHECKS, check, check_loads
from ..verify.tflite_read import read_tflite
from .models.runners import file_content
from .planning import target_named


def lint(model: Path, target_name: str) -> tuple[Diagnostic, ...]:
    """All findings: the target's static rules, and whether its sessions load the file.

    Raises:
        QConvertError: R010 for an unknown target, M0xx where the file cannot be read or is in another format than the target's.
    """
    target = target_named(target_name)
    _right_format(model, target)
    if any(name in FILE_CHECKS for name in target.runtime.checks):
        data = file_content(model)
        read_tflite(data, model)  # a damaged file is named
        return tuple(finding for name in target.runtime.checks for finding in FILE_CHECKS[name](data))
    graph = load(model)
    runs = graph if target.runtime.at_hand else emulated(graph)
    found = (*check(graph, target), *check_loads(model if runs is graph else serialize(runs), target))
    if any(map(is_quantized, graph.nodes)) or any(w.dtype in HALVES for w in graph.weights.values()):
        return found
    return (
        *found,
        Diagnostic("C113", "nothing in this model is quantized", str(model), "convert it first", Severity.WARNING),
    )


def _right_format(model: Path, target: Target) -> None:
    """Refuse an ONNX model where the target runs .tflite files, and the other way round; by content, not by name."""
    found = ".tflite" if _is_tflite(model) else ".onnx"
    if found == target.artefact.extension or (found == ".onnx" and not _loads(model)):
        return
    first, *others = (name for name, other in TARGETS.items() if other.artefact.extension == found)
    text = f"{'an ONNX model' if found == '.onnx' else 'a .tflite file'}, and {target.name} runs {target.artefact.extension} files"
    hint = f"check it with `-t {first}`" + (f" (or {', '.join(others)})" if others else "")
    raise fail("M002", text, model, f"{hint}, or convert the FP32 model with `-t {target.name}`")


def _is_tflite(model: Path) -> bool:
    with suppress(OSError), model.open("rb") as file:
        return file.read(8)[4:] == IDENTIFIER
    return False


def _loads(model: Path) -> bool:
    with suppress(QConvertError):
        load(model)
        return True
    return False
