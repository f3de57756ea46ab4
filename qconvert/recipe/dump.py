"""A recipe as canonical YAML."""

from __future__ import annotations

from typing import Any

import yaml

from .parse import needs_quotes
from .types import Recipe


def dump(recipe: Recipe) -> str:
    """The effective recipe: its target, and every key that differs from the default, in the order of the schema.

    Reading the text again gives an equal recipe. `extends` is left out, for what it brought is already inside.
    """
    said = recipe.model_dump(mode="json", exclude_defaults=True, exclude={"extends"})
    order = ["target", *(name for name in said if name != "target")]
    said["target"] = recipe.target
    return to_yaml({name: said[name] for name in order})


def to_yaml(value: Any, flow: bool = False) -> str:
    """A plain value as YAML that `parse` reads back as the same value."""
    text: str = yaml.dump(
        value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10**6, default_flow_style=flow
    )
    return text


def scalar(value: Any) -> str:
    """A text or number as one line of YAML, quoted where it must be."""
    return to_yaml([value], flow=True).strip()[1:-1]


class _Dumper(yaml.SafeDumper):
    """The safe dumper without anchors, with quotes around text that would not be read back as itself."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: _Dumper, value: str) -> yaml.ScalarNode:
    style = "'" if needs_quotes(value) else None if value.isprintable() else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)
