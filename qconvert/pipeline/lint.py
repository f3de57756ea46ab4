"""Lints a quantized model of any origin against a target."""

from __future__ import annotations

from pathlib import Path

from ..errors import Diagnostic, fail
from ..graph import infer_types, load
from ..targets import TARGETS
from ..verify import check, check_loads


def lint(model: Path, target_name: str) -> tuple[Diagnostic, ...]:
    """All findings: the target's static rules, and whether its sessions load the file.

    Raises:
        QConvertError: R010 for an unknown target, M0xx where the file cannot be read.
    """
    target = TARGETS.get(target_name)
    if target is None:
        raise fail("R010", f"unknown target: {target_name}", None, f"targets are {', '.join(TARGETS)}")
    return (*check(infer_types(load(model)), target), *check_loads(model, target))
