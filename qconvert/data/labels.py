"""Labels: in the sample files, in a table of file and label, or as class folders; class names become their numbers."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import Diagnostic, QConvertError, fail
from .settings import DatasetSettings
from .source import Source

HEADERS = ("file", "files", "filename", "file_name", "path", "image", "name", "sample", "id")
CLASSES_FILE = "classes.txt"


@dataclass(frozen=True)
class PartFiles:
    """The files of one part: its name ("calibration"), its folder, its sources."""

    part: str
    folder: Path
    sources: Sequence[Source]


@dataclass(frozen=True)
class Labels:
    """Where the label of a row is.

    Attributes:
        own: whether the files hold labels themselves.
        table: label by the name of a file or a row.
        numbers: number of each class name.
    """

    own: bool = False
    table: Mapping[str, Any] = field(default_factory=dict)
    numbers: Mapping[str, int] = field(default_factory=dict)

    def of(self, name: str, row_id: str, own: Any) -> Any | None:
        """Label of a row; None if there is none."""
        value = own if self.own else self.table.get(row_id, self.table.get(name))
        return self.numbers.get(value) if isinstance(value, str) else value

    def __bool__(self) -> bool:
        return self.own or bool(self.table)


def number(text: str) -> int | float | str:
    """A cell as a number, or as it is if it is none."""
    text = text.strip()
    for kind in () if "_" in text else (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def find_labels(
    folder: Path, parts: Sequence[PartFiles], settings: DatasetSettings, base_dir: Path
) -> tuple[list[Labels], tuple[str, ...]]:
    """Find the labels of each part, in this order: in the files, in a table, from class folders.

    Returns:
        one `Labels` a part (false where it has none) and the class names in the order of their numbers, () if unknown.

    Raises:
        QConvertError: D003 (table unreadable), D009 (labels asked for but missing, incomplete or of unknown classes).
    """
    listed = _class_list([folder, *(p.folder for p in parts)])
    classes = listed or _folder_classes(parts, settings.labels == "folders")
    if settings.labels == "none":
        return [Labels() for _ in parts], classes
    tables = [_table(folder, part, settings, base_dir) for part in parts]
    found = [_part_labels(part, table, listed, classes, settings) for part, table in zip(parts, tables, strict=True)]
    names = {v for labels in found for v in labels.table.values() if isinstance(v, str)}
    names |= {n for p, labels in zip(parts, found, strict=True) if labels.own for s in p.sources for n in s.label_names}
    order = listed or tuple(sorted(names))
    unknown = sorted(names - set(order))
    if unknown:
        hint = f"`{CLASSES_FILE}` needs one line for every class"
        raise fail("D009", f"classes that {CLASSES_FILE} does not list: {', '.join(unknown[:5])}", folder, hint)
    numbers = {name: i for i, name in enumerate(order)}
    mistakes = _demanded(found, parts, settings)
    if mistakes:
        raise QConvertError(mistakes)
    return [Labels(x.own, x.table, numbers) for x in found], listed or tuple(sorted(names)) or classes


def _class_list(folders: Sequence[Path]) -> tuple[str, ...]:
    for path in (f / CLASSES_FILE for f in folders):
        if path.is_file():
            try:
                lines = path.read_text(encoding="utf-8-sig").splitlines()
            except (OSError, UnicodeDecodeError) as error:
                raise fail("D003", f"cannot be read: {error}", path, "one class name a line in UTF-8") from error
            return tuple(line.strip() for line in lines if line.strip())
    return ()


def _folder_classes(parts: Sequence[PartFiles], asked: bool) -> tuple[str, ...]:
    names = sorted({s.name.split("/")[0] for p in parts if _nested(p) for s in p.sources})
    return tuple(names) if len(names) > 1 or asked else ()


def _nested(part: PartFiles) -> bool:
    return all("/" in s.name for s in part.sources)


def _part_labels(
    part: PartFiles,
    table: Mapping[str, str] | None,
    listed: tuple[str, ...],
    classes: tuple[str, ...],
    settings: DatasetSettings,
) -> Labels:
    own = [s for s in part.sources if s.labelled]
    if own and settings.labels != "folders" and not (settings.labels or "").endswith(".csv"):
        missing = [s.name for s in part.sources if not s.labelled]
        if missing:
            raise _incomplete(missing, len(part.sources), part, "label all files, or set `dataset.labels: none`")
        return Labels(own=True)
    if table is not None:
        return Labels(table=_numeric(table))
    if settings.labels in (None, "folders") and _nested(part) and (listed or classes):
        folders = {s.name: s.name.split("/")[0] for s in part.sources}
        if settings.labels == "folders" or not listed or set(folders.values()) & set(listed):
            return Labels(table=folders)
    return Labels()


def _demanded(found: Sequence[Labels], parts: Sequence[PartFiles], settings: DatasetSettings) -> list[Diagnostic]:
    """Labels that the recipe names must be there for the part that is measured."""
    if settings.labels in (None, "none") or found[-1]:
        return []
    what = {"folders": "class folders"}.get(settings.labels or "", f"labels from `{settings.labels}`")
    hint = "mend `dataset.labels` in the recipe, or leave it out to look for labels"
    return [Diagnostic("D009", f"the {parts[-1].part} part has no {what}", str(parts[-1].folder), hint)]


def _table(folder: Path, part: PartFiles, settings: DatasetSettings, base_dir: Path) -> dict[str, str] | None:
    """Label text by source name, for a part with a table; None without one, or one that names no file of the part."""
    named = settings.labels if settings.labels and settings.labels.endswith(".csv") else None
    if named is None and settings.labels is not None:
        return None
    places = dict.fromkeys([part.folder, folder, part.folder.parent, *([base_dir] if named else [])])
    path = next((p / (named or "labels.csv") for p in places if (p / (named or "labels.csv")).is_file()), None)
    if path is None:
        return None
    cells = _read_table(path)
    found = _look_up(cells, part)
    if not found and path.parent == part.folder and path.parent != folder:
        example = next(iter(cells), "nothing")
        hint = "the first column is the file's name relative to the folder"
        raise fail("D009", f"no sample is called like a row of the table; it has {example}", path, hint)
    missing = [s.name for s in part.sources if s.name not in found and not _rows_named(s, found)]
    if found and missing:
        raise _incomplete(missing, len(part.sources), part, f"add them to {path.name}, or set `dataset.labels: none`")
    return found or None


def _rows_named(source: Source, found: Mapping[str, str]) -> bool:
    return source.numbered and all(source.row_id(i) in found for i in range(source.rows))


def _look_up(cells: Mapping[str, str], part: PartFiles) -> dict[str, str]:
    prefix = part.folder.resolve().name
    bare = [s.name.rsplit("/", 1)[-1] for s in part.sources]
    unique = len(set(bare)) == len(bare)
    found = {}
    for source, base in zip(part.sources, bare, strict=True):
        ids = [source.row_id(i) for i in range(source.rows)] if source.numbered else []
        for name in (source.name, *ids):
            short = base + name[len(source.name) :]
            keys = [name, f"{prefix}/{name}", *([short, f"{prefix}/{short}"] if unique else [])]
            value = next((cells[k] for k in keys if k in cells), None)
            if value is not None:
                found[name] = value
    return found


def _read_table(path: Path) -> dict[str, str]:
    """File and label columns of a table; without a header the first two.

    Raises:
        QConvertError: D003 (unreadable), D009 (a row without label, two labels for one file).
    """
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            lines = [[c.strip() for c in cells] for cells in csv.reader(file) if any(c.strip() for c in cells)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise fail("D003", f"cannot be read: {error}", path, "two columns in UTF-8: file,label") from error
    head = [c.lower() for c in lines[0]] if lines else []
    key, value = 0, 1
    if head and head[0] in HEADERS:
        value = next((head.index(n) for n in ("label", "labels", "class", "target") if n in head), 1)
        lines = lines[1:]
    found: dict[str, str] = {}
    for n, cells in enumerate(lines, 1):
        if len(cells) <= value or not cells[value]:
            raise fail("D009", f"no label in row {n}: {','.join(cells)}", path, "two columns: file,label")
        name = cells[key].replace("\\", "/").removeprefix("./")
        if found.setdefault(name, cells[value]) != cells[value]:
            raise fail("D009", f"two labels for `{name}`: {found[name]} and {cells[value]}", path, "keep one")
    return found


def _numeric(table: Mapping[str, str]) -> dict[str, Any]:
    numbers = {key: number(value) for key, value in table.items()}
    names = any(isinstance(v, str) for v in numbers.values())
    return dict(table) if names else numbers


def _incomplete(missing: Iterable[str], total: int, part: PartFiles, hint: str) -> QConvertError:
    names = list(missing)
    shown = ", ".join(names[:3]) + (" and more" if len(names) > 3 else "")
    return fail("D009", f"no label for {len(names)} of {total} files: {shown}", part.folder, hint)
