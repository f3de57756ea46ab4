"""Which folders are the parts of a dataset, which files in them are samples, and of what kind."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import Diagnostic, Severity, fail
from .settings import DatasetSettings
from .source import Item

CALIBRATION = ("calib", "calibration", "train")
EVALUATION = ("eval", "evaluation", "val", "validation", "test")
SUFFIXES = {
    ".png": "images", ".jpg": "images", ".jpeg": "images", ".bmp": "images", ".gif": "images", ".tif": "images", ".tiff": "images",
    ".webp": "images", ".ppm": "images", ".pgm": "images", ".npy": "arrays", ".npz": "arrays", ".csv": "table", ".jsonl": "table",
    ".wav": "audio",
}  # fmt: skip
COMPANIONS = re.compile(
    r"(labels\.csv|classes\.txt|annotations\.json|readme.*|licen[sc]e.*|thumbs\.db|desktop\.ini|output_\d+\.pb)", re.I
)
INPUT_PB = re.compile(r"input_\d+\.pb")


@dataclass(frozen=True)
class Parts:
    """The folders of a dataset; `evaluation` is None where there is no separate part."""

    calibration: Path
    evaluation: Path | None
    notes: tuple[Diagnostic, ...] = ()


@dataclass(frozen=True)
class Found:
    """The samples of one part, sorted by name, and the names of files that are none."""

    kind: str
    items: tuple[Item, ...]
    skipped: tuple[str, ...] = ()


def find_parts(folder: Path, settings: DatasetSettings) -> Parts:
    """Find the calibration and the evaluation part.

    Sub-folders with the usual names are the parts. A lone `train` beside other folders of samples is a class of
    vehicles and the like, not a part.

    Raises:
        QConvertError: D001 (no such folder), D011 (a part is missing).
    """
    if not folder.is_dir():
        what = "not a folder" if folder.exists() else "no such folder"
        hint = "give the folder that holds the file" if folder.exists() else "check the path"
        raise fail("D001", f"{what}: {folder}", hint=hint)
    subfolders = {
        p.name.lower(): folder / p.name for p in sorted(os.scandir(folder), key=lambda p: p.name) if p.is_dir()
    }
    usual = [_usual(subfolders, names) for names in (CALIBRATION, EVALUATION)]
    calibration = _named(folder, settings.calibration, "calibration") or usual[0]
    evaluation = _named(folder, settings.evaluation, "evaluation") or usual[1]
    chosen = settings.calibration is not None or settings.evaluation is not None
    others = [] if chosen or usual == [None, None] else _others(folder, usual)
    if calibration is None:
        return _whole(folder, evaluation, explicit=settings.evaluation is not None)
    siblings = any((folder / name).is_dir() for name in others)
    if evaluation is None and siblings and calibration.name.lower() == "train":
        text = f"`{calibration.name}` is taken for a class folder, as others stand beside it"
        return Parts(folder, None, (_note(text, folder, f"`calibration: {calibration.name}` if it is a part"),))
    if evaluation is not None and evaluation.resolve() == calibration.resolve():
        if settings.evaluation is not None:
            raise fail("D011", f"both parts are the same folder: {calibration}", hint="name two different folders")
        evaluation = None
    return Parts(calibration, evaluation, skipped_note(tuple(others), folder, "outside the parts"))


def find_items(part: Path, settings: DatasetSettings, exclude: Path | None = None) -> Found:
    """List the samples of a part in sorted order.

    Args:
        exclude: a folder that belongs to the other part.

    Raises:
        QConvertError: D002 (no samples), D008 (mixed kinds).
    """
    by_kind: dict[str, list[Item]] = {}
    skipped = []
    for path, name in _walk(part, exclude):
        if _is_companion(path, settings):
            continue
        kind = "protobuf" if INPUT_PB.fullmatch(path.name) else SUFFIXES.get(path.suffix.lower())
        if kind is None:
            skipped.append(name)
        else:
            by_kind.setdefault(kind, []).append(Item(path, name))
    if "protobuf" in by_kind:
        by_kind["protobuf"] = _folders(by_kind["protobuf"], part)
    kind = _pick(by_kind, part, settings)
    if not kind and settings.prepare and skipped:
        return Found("prepared", tuple(Item(part / name, name) for name in skipped))
    if not by_kind.get(kind):
        raise _nothing(part, settings, skipped or [i.name for items in by_kind.values() for i in items])
    rest = [i.name for other, items in by_kind.items() if other != kind for i in items]
    return Found(kind, tuple(by_kind[kind]), tuple(sorted(skipped + rest)))


def skipped_note(names: tuple[str, ...], where: Path, why: str = "not samples") -> tuple[Diagnostic, ...]:
    """One note for all files that are no samples; none if there are none."""
    if not names:
        return ()
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return (_note(f"skipped, {why}: {', '.join(names[:3])}{more}", where),)


def _note(message: str, where: Path, hint: str | None = None) -> Diagnostic:
    return Diagnostic("D105", message, str(where), hint, Severity.NOTE)


def _named(folder: Path, name: str | None, part: str) -> Path | None:
    if name is None:
        return None
    path = folder / name
    if not path.is_dir():
        raise fail("D011", f"the {part} part is not there: {path}", hint=f"mend `dataset.{part}` in the recipe")
    return path


def _usual(subfolders: Mapping[str, Path], names: tuple[str, ...]) -> Path | None:
    return next((subfolders[name] for name in names if name in subfolders), None)


def _whole(folder: Path, evaluation: Path | None, explicit: bool) -> Parts:
    if evaluation is None or (explicit and _holds_samples(folder, evaluation)):
        return Parts(folder, evaluation)
    hint = f"put calibration samples into `{folder / 'calib'}`, or name their folder with `dataset.calibration`"
    raise fail("D011", f"the calibration part is missing, only `{evaluation.name}` is there", folder, hint)


def _others(folder: Path, used: Sequence[Path | None]) -> list[str]:
    """Names beside the parts that hold samples too."""
    rest = [p for p in sorted(folder.iterdir()) if p not in used and not p.name.startswith(".")]
    return [p.name for p in rest if (p.is_dir() and _holds_samples(p)) or (p.is_file() and _is_sample(p))]


def _is_sample(path: Path) -> bool:
    known = path.suffix.lower() in SUFFIXES or INPUT_PB.fullmatch(path.name)
    return bool(known) and not COMPANIONS.fullmatch(path.name)


def _holds_samples(folder: Path, exclude: Path | None = None) -> bool:
    return any(_is_sample(path) for path, _ in _walk(folder, exclude))


def _walk(part: Path, exclude: Path | None = None) -> Iterator[tuple[Path, str]]:
    """Files under `part` with their relative names in sorted order; hidden ones and link cycles are left out."""
    seen = {exclude.resolve()} if exclude else set()
    names = []
    for root, folders, files in os.walk(part, followlinks=True):
        place = Path(root).resolve()
        if place in seen:
            folders.clear()
            continue
        seen.add(place)
        folders[:] = [f for f in folders if not f.startswith((".", "__MACOSX", "__pycache__"))]
        inner = Path(root).relative_to(part).as_posix()
        names += [f if inner == "." else f"{inner}/{f}" for f in files if not f.startswith(".")]
    for name in sorted(names):
        yield part / name, name


def _is_companion(path: Path, settings: DatasetSettings) -> bool:
    labels = settings.labels or ""
    return bool(COMPANIONS.fullmatch(path.name)) or (labels.endswith(".csv") and path.name == Path(labels).name)


def _folders(items: list[Item], part: Path) -> list[Item]:
    folders = {i.path.parent: None for i in items}
    named = [Item(f, f.relative_to(part).as_posix() if f != part else f.resolve().name) for f in folders]
    return sorted(named, key=lambda i: _natural(i.name))


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(t), "") if t.isdigit() else (-1, t) for t in re.split(r"(\d+)", name)]


def _pick(by_kind: dict[str, list[Item]], part: Path, settings: DatasetSettings) -> str:
    if settings.kind != "auto":
        return settings.kind
    if len(by_kind) > 1:
        listed = [f"{kind} ({len(items)}, such as {items[0].name})" for kind, items in sorted(by_kind.items())]
        hint = f"point at one sub-folder, or set `dataset.kind: {max(by_kind, key=lambda k: len(by_kind[k]))}`"
        if "table" in by_kind:
            hint += "; a table of labels is called `labels.csv` or named by `dataset.labels`"
        raise fail("D008", f"mixed kinds of samples: {', '.join(listed)}", part, hint)
    return next(iter(by_kind), "")


def _nothing(part: Path, settings: DatasetSettings, names: list[str]) -> Exception:
    wanted = "samples" if settings.kind == "auto" else f"samples of kind {settings.kind}"
    came = f", only {', '.join(names[:3])}{' and more' if len(names) > 3 else ''}" if names else ""
    hint = "images, .npy, .npz, .csv, .jsonl, .wav and ONNX test_data_set_N folders are read"
    return fail("D002", f"no {wanted} in the folder{came}", part, hint)
