"""Writes the reference pages under `docs/reference/` from the tables and types of the code: `python docs/reference.py`.

A test compares what stands there with what this would write.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from qconvert.errors import CODES, EXIT_CODES, EXIT_MEANINGS
from qconvert.pipeline.words import vocabulary
from qconvert.recipe import schema
from qconvert.targets import TARGETS
from qconvert.targets.kernels import Kernel, Kernels, Limit

FOLDER = Path(__file__).parent / "reference"
_HEAD = "<!-- written by docs/reference.py; do not edit -->\n\n"


def pages() -> Mapping[str, str]:
    """File name to content of every page."""
    found = {"targets.md": targets(), "recipe.md": recipe(), "codes.md": codes()}
    return {name: _HEAD + "\n".join(lines) + "\n" for name, lines in found.items()}


# --- targets -------------------------------------------------------------------------------------------------------------


def targets() -> Iterator[str]:
    """Which operators become integers where, and under which conditions."""
    yield "# Targets and operators"
    yield ""
    yield "An operator becomes integer where its target has a kernel, the call meets the kernel's limits, and it gains by the cost model."
    yield "`integer` has ranges that are known before, `dynamic` measures them at run time. `qconvert plan MODEL -t TARGET` says for every node"
    yield "what it becomes and why."
    yield ""
    ops = {kernel.op for target in TARGETS.values() for kernel in (*target.kernels.integer, *target.kernels.dynamic)}
    yield from _table(
        ("operator", *TARGETS),
        [(f"`{op}`", *(_ways(target.kernels, op) for target in TARGETS.values())) for op in sorted(ops)],
    )
    for name, target in TARGETS.items():
        yield f"## {name}"
        yield ""
        yield f"{target.title}. Activations {target.formats.activation}, weights {target.formats.weight}, {'per channel' if target.formats.per_channel else 'per tensor'}."
        yield ""
        yield from _table(("operator", "limits", "source"), [_kernel(k) for k in target.kernels.integer])
        if target.kernels.dynamic:
            yield "With ranges measured at run time (`mode: dynamic`):"
            yield ""
            yield from _table(("operator", "limits", "source"), [_kernel(k) for k in target.kernels.dynamic])


def _ways(kernels: Kernels, op: str) -> str:
    """How a target computes an operator in integers."""
    ways = {"integer": kernels.of(op), "dynamic": kernels.measuring(op)}
    return ", ".join(way for way, rows in ways.items() if rows)


def _kernel(kernel: Kernel) -> tuple[str, str, str]:
    return f"`{kernel.op}`", ", ".join(map(_limit, kernel.limits)), kernel.source


def _limit(limit: Limit) -> str:
    value = "/".join(map(str, limit.value)) if isinstance(limit.value, tuple) else str(limit.value or "")
    return f"{limit.name} {value}".strip()


# --- recipes -------------------------------------------------------------------------------------------------------------


def recipe() -> Iterator[str]:
    """Every key with its type, default and meaning."""
    found = schema(vocabulary())
    yield "# Recipe keys"
    yield ""
    yield "`qconvert recipe schema` prints the same as JSON Schema; `qconvert recipe init MODEL` writes a commented recipe."
    yield ""
    yield from _keys(found, found["$defs"])
    for name in sorted(found["$defs"]):
        part = found["$defs"][name]
        if part.get("properties"):
            yield f"## {name}"
            yield ""
            yield from _text(part.get("description", ""))
            yield from _keys(part, found["$defs"])


def _keys(part: Mapping[str, Any], definitions: Mapping[str, Any]) -> Iterator[str]:
    rows = [
        (f"`{key}`", _kind(field), _default(field), field.get("description", ""))
        for key, field in part["properties"].items()
    ]
    yield from _table(("key", "type", "default", "meaning"), rows)


def _kind(field: Mapping[str, Any]) -> str:
    """The type of a field in words."""
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    for key in ("anyOf", "oneOf", "allOf"):
        if key in field:
            return " or ".join(dict.fromkeys(_kind(each) for each in field[key] if each.get("type") != "null"))
    if field.get("type") == "array":
        return f"list of {_kind(field['items'])}" if field.get("items") else "list"
    if field.get("type") == "object":
        more = field.get("additionalProperties")
        return f"mapping to {_kind(more)}" if isinstance(more, dict) else "mapping"
    return str(field.get("type", "anything"))


def _default(field: Mapping[str, Any]) -> str:
    value = field.get("default")
    return (
        ""
        if value in (None, [], {}) or isinstance(value, dict)
        else f"`{str(value).lower() if isinstance(value, bool) else value}`"
    )


# --- codes ---------------------------------------------------------------------------------------------------------------


def codes() -> Iterator[str]:
    """Exit codes, and every diagnostic with its explanation."""
    yield "# Exit codes and diagnostics"
    yield ""
    yield from _table(("exit code", "meaning"), [(str(code), text) for code, text in EXIT_MEANINGS.items()])
    yield "Codes from 100 on are warnings and notes and never change the exit code. `qconvert explain CODE` prints one of these."
    yield ""
    for code, meaning in CODES.items():
        level = "" if int(code[1:]) >= 100 or code[0] in "CP" else f", exit code {EXIT_CODES[code[0]]}"
        yield f"**{code}** {meaning.title}{level}: {meaning.explanation}"
        yield ""


# --- Markdown ------------------------------------------------------------------------------------------------------------


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield f"|{' --- |' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', chr(92) + '|').replace(chr(10), ' ') for cell in row)} |"
    yield ""


def _text(value: str) -> Iterator[str]:
    if value:
        yield " ".join(value.split("\n\n", maxsplit=1)[0].split())
        yield ""


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, content in pages().items():
        (FOLDER / name).write_text(content, encoding="utf-8")
        print(f"wrote {FOLDER / name}")
