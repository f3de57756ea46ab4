"""The reports of a run as files: staged with the other outputs, and made anew from a saved record."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ...errors import fail
from ...report import FORMATS, RunRecord
from ...report.record import SCHEMA_VERSION
from ..storage.staging import Destination, guarded, keep_apart, publish, staged

_ENDING = ".report.json"


def stage_reports(record: RunRecord, names: Iterable[str], place: Destination, folder: Path) -> list[tuple[Path, Path]]:
    """Write the reports into a private folder; the JSON report is always among them.

    Returns:
        Each file with its final place.
    """
    found = []
    for name in dict.fromkeys(("json", *names)):
        final = place.report_as(FORMATS[name].extension)
        (folder / final.name).write_text(FORMATS[name].render(record), encoding="utf-8")
        found.append((folder / final.name, final))
    return found


def stale_reports(written: Iterable[tuple[Path, Path]], place: Destination) -> list[Path]:
    """Reports that an earlier run may have left and this one does not write."""
    fresh = {final for _, final in written}
    return [path for path in (place.report_as(row.extension) for row in FORMATS.values()) if path not in fresh]


def load_record(path: Path, code: str, hint: str) -> dict[str, Any]:
    """The JSON of a record of this schema version.

    Raises:
        QConvertError: `code` where the file cannot be read, is no JSON object, or has another version.
    """
    try:
        content = json.loads(path.read_bytes())
    except OSError as error:
        raise fail(code, f"the record cannot be read: {error.strerror or error}", path, hint) from error
    except ValueError as error:
        raise fail(code, f"not a run record: {error}", path, hint) from error
    if not isinstance(content, dict) or "schema_version" not in content:
        raise fail(code, "not a run record", path, hint)
    if "targets" in content:
        text = "this is the comparison of several targets, each of which has a report of its own"
        raise fail(code, text, path, f"name one of them, such as `{path.parent / 'TARGET' / 'model.report.json'}`")
    version, tool = content["schema_version"], content.get("tool_version", "unknown")
    if version != SCHEMA_VERSION:
        text = f"the record has schema version {version} (of qconvert {tool}), this qconvert reads {SCHEMA_VERSION}"
        raise fail(code, text, path, hint)
    return content


def first_mistake(error: ValidationError) -> str:
    """The first thing that is wrong with a record, with its place."""
    first = error.errors()[0]
    place = ".".join(str(step) for step in first["loc"])
    return f"{place + ': ' if place else ''}{first['msg']}"


def read_record(path: Path) -> RunRecord:
    """A saved run record.

    Raises:
        QConvertError: R013 where the file is none.
    """
    hint = f"`qconvert convert` writes one as `<output>{_ENDING}`"
    content = load_record(path, "R013", hint)
    try:
        return RunRecord.model_validate(content)
    except ValidationError as error:
        text = f"not a run record of this version: {first_mistake(error)}"
        raise fail("R013", text, path, hint) from error


def rerender(path: Path, names: Sequence[str], folder: Path | None) -> tuple[Path, ...]:
    """Make reports from a saved record, beside it or in a folder.

    Raises:
        QConvertError: R013 (the record), R011 (unknown format), O001 or O002 (writing).
    """
    unknown = [name for name in names if name not in FORMATS]
    if unknown:
        raise fail("R011", f"unknown report format: {', '.join(unknown)}", None, f"formats are {', '.join(FORMATS)}")
    record, stem = read_record(path), path.name.removesuffix(_ENDING).removesuffix(".json")
    place = Destination(folder or path.parent, stem, ".onnx")
    with staged(place.folder) as private, guarded(place.folder):
        files = [
            pair
            for pair in stage_reports(record, names, place, private)
            if pair[1].resolve() != path.resolve() and ("json" in names or pair[1].suffix != ".json")
        ]
        publish(files)
    return tuple(final for _, final in files)


def write_reports(texts: Mapping[str, str], folder: Path | None, inputs: Iterable[Path]) -> tuple[Path, ...]:
    """Write files by name into a folder, all in one step; the current folder where none is named.

    Raises:
        QConvertError: O001, O002, and O003 where a file would replace an input or lie in the dataset.
    """
    if not texts:
        return ()
    place = folder or Path(".")
    inputs = tuple(inputs)
    for file, path in ((place / name, path) for name in texts for path in inputs):
        keep_apart(file.resolve(), path)
    with staged(place) as private, guarded(place):
        for name, text in texts.items():
            (private / name).write_text(text, encoding="utf-8")
        publish([(private / name, place / name) for name in texts])
    return tuple(place / name for name in texts)
