"""Lints a quantized model of any origin against a target."""

from __future__ import annotations

from pathlib import Path

from ..emit.emulate import emulated
from ..errors import Diagnostic, Severity
from ..graph import load, serialize
from ..lift import is_quantized
from ..recipe.types import HALVES
from ..verify import FILE_CHECKS, check, check_loads
from .planning import target_named
from .runners import file_content


def lint(model: Path, target_name: str) -> tuple[Diagnostic, ...]:
    """All findings: the target's static rules, and whether its sessions load the file.

    Raises:
        QConvertError: R010 for an unknown target, M0xx where the file cannot be read.
    """
    target = target_named(target_name)
    if any(name in FILE_CHECKS for name in target.checks):
        data = file_content(model)
        return tuple(finding for name in target.checks for finding in FILE_CHECKS[name](data))
    graph = load(model)
    runs = graph if target.deployed_here else emulated(graph)
    found = (*check(graph, target), *check_loads(model if runs is graph else serialize(runs), target))
    if any(map(is_quantized, graph.nodes)) or any(w.dtype in HALVES for w in graph.weights.values()):
        return found
    return (
        *found,
        Diagnostic("C113", "nothing in this model is quantized", str(model), "convert it first", Severity.WARNING),
    )
