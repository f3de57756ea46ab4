"""Lints a quantized model of any origin against a target."""

from __future__ import annotations

from pathlib import Path

from ..errors import Diagnostic, fail
from ..graph import infer_types, load
from ..targets import TARGETS
from ..verify import FILE_CHECKS, check, check_loads


def lint(model: Path, target_name: str) -> tuple[Diagnostic, ...]:
    """All findings: the target's static rules, and whether its sessions load the file.

    Raises:
        QConvertError: R010 for an unknown target, M0xx where the file cannot be read.
    """
    target = TARGETS.get(target_name)
    if target is None:
        raise fail("R010", f"unknown target: {target_name}", None, f"targets are {', '.join(TARGETS)}")
    if any(name in FILE_CHECKS for name in target.checks):
        data = _content(model)
        return tuple(finding for name in target.checks for finding in FILE_CHECKS[name](data))
    return (*check(infer_types(load(model)), target), *check_loads(model, target))


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise fail("M001", f"the file cannot be read: {error.strerror}", path, "check the path") from error
