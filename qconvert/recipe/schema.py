"""The recipe's JSON Schema, from the same types that check it."""

from __future__ import annotations

from typing import Any, get_args

from pydantic.json_schema import models_json_schema

from ..data.settings import Settings
from .types import Recipe
from .vocabulary import FUNCTION, SCHEMA_MARK, Kind, Vocabulary

_KINDS: tuple[Kind, ...] = get_args(Kind)


def schema(vocabulary: Vocabulary) -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of recipe files, for editors."""
    models: dict[type[Settings], None] = {Recipe: None, **dict.fromkeys(vocabulary.algorithms.values())}
    refs, combined = models_json_schema([(model, "validation") for model in models])
    definitions: dict[str, Any] = combined["$defs"]
    recipe = definitions.pop(refs[Recipe, "validation"]["$ref"].rpartition("/")[2])
    settings = {name: refs[model, "validation"] for name, model in vocabulary.algorithms.items()}
    recipe["properties"]["algorithms"] = _algorithms(recipe["properties"]["algorithms"], settings)
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **recipe,
        "title": "qconvert recipe",
        "$defs": definitions,
    }
    filled: dict[str, Any] = _filled(head, vocabulary)
    return filled


def _algorithms(field: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """The field with each algorithm's own settings in place of any mapping."""
    one = {
        "type": "object",
        "properties": {name: {"anyOf": [ref, {"type": "null"}]} for name, ref in settings.items()},
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
    }
    item = {"anyOf": [{"type": "string", SCHEMA_MARK: ["algorithms", False]}, one]}
    members = [{**member, "items": item} if member.get("type") == "array" else member for member in field["anyOf"]]
    return {**field, "anyOf": members}


def _filled(part: Any, vocabulary: Vocabulary) -> Any:
    """The schema with the vocabulary's names in place of marks and placeholders, and without titles that only repeat keys."""
    if isinstance(part, list):
        return [_filled(p, vocabulary) for p in part]
    if isinstance(part, str):
        return _described(part, vocabulary)
    if not isinstance(part, dict):
        return part
    mark = part.get(SCHEMA_MARK)
    if mark:
        rest = {
            key: _filled(value, vocabulary) for key, value in part.items() if key not in (SCHEMA_MARK, "type", "title")
        }
        return {**_names(vocabulary.names(mark[0]), functions=mark[1]), **rest}
    return {
        key: _filled(value, vocabulary)
        for key, value in part.items()
        if key != "title" or not isinstance(value, str) or "$schema" in part
    }


def _names(names: tuple[str, ...], functions: bool) -> dict[str, Any]:
    one_of: dict[str, Any] = {"type": "string", "enum": list(names)}
    return {"anyOf": [one_of, {"type": "string", "pattern": FUNCTION}]} if functions else one_of


def _described(text: str, vocabulary: Vocabulary) -> str:
    for kind in _KINDS:
        text = text.replace(f"{{{kind}}}", ", ".join(vocabulary.names(kind)) or "(none)")
    return text
