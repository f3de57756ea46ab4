"""Findings of `check` as SARIF 2.1.0, for code scanning and editors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from .. import __version__
from ..errors import CODES, Diagnostic
from .words import clean

SCHEMA = "https://json.schemastore.org/sarif-2.1.0.json"


def to_sarif(findings: Sequence[Diagnostic], model: PurePath, target: str) -> str:
    """One run with a result for each finding; findings name nodes and tensors, which become logical locations."""
    codes = list(dict.fromkeys(found.code for found in findings))
    driver = {
        "name": "qconvert",
        "semanticVersion": __version__,
        "informationUri": "https://github.com/qconvert/qconvert",
        "rules": [_rule(code) for code in codes],
    }
    run = {
        "tool": {"driver": driver},
        "properties": {"target": target},
        "results": [_result(found, codes.index(found.code), model) for found in findings],
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, ensure_ascii=False, indent=1) + "\n"


def _rule(code: str) -> dict[str, Any]:
    row = CODES.get(code)
    title, explanation = (row.title, row.explanation) if row else (code, code)
    return {
        "id": code,
        "shortDescription": {"text": title},
        "fullDescription": {"text": explanation},
        "help": {"text": explanation},
    }


def _result(found: Diagnostic, index: int, model: PurePath) -> dict[str, Any]:
    hint = f"\nhint: {found.hint}" if found.hint else ""
    place: dict[str, Any] = {"physicalLocation": {"artifactLocation": {"uri": _uri(model)}, "region": {"startLine": 1}}}
    if found.where:
        place["logicalLocations"] = [{"fullyQualifiedName": clean(found.where)}]
    return {
        "ruleId": found.code,
        "ruleIndex": index,
        "level": found.severity.value,
        "message": {"text": clean(found.message + hint)},
        "locations": [place],
    }


def _uri(path: PurePath) -> str:
    """The path as a relative reference where it is relative, else as a file address."""
    encoded = quote(path.as_posix().encode("utf-8", "surrogateescape"))
    return f"file://{encoded}" if path.is_absolute() else encoded
