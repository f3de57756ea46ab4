"""From a folder to a dataset: parts, files, rows, choice, checks, labels, in that order; mistakes are gathered."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import Diagnostic, QConvertError, Severity, fail
from .arrays import open_arrays
from .audio import audio_notes, open_wav
from .check import gather
from .folder import Found, Parts, find_items, find_parts, skipped_note
from .images import open_image
from .inputs import Wanted, describe
from .labels import PartFiles, find_labels
from .prepared import open_prepared
from .protobuf import open_protobuf
from .samples import Samples, choose, unit_of
from .settings import DatasetSettings
from .source import Item, Source
from .table import open_table
from .userfunc import function_file, load_function

if TYPE_CHECKING:
    from ..graph import TensorType

Opener = Callable[[Item, Wanted], Source]

LOADERS: dict[str, Opener] = {
    "images": open_image,
    "arrays": open_arrays,
    "protobuf": open_protobuf,
    "table": open_table,
    "audio": open_wav,
}
DEFAULTS = DatasetSettings()


@dataclass(frozen=True)
class Dataset:
    """The two parts of a dataset.

    Attributes:
        evaluation: None if the folder has no separate part.
        diagnostics: notes and warnings.
        classes: class names in the order of their numbers, () if they are unknown.
    """

    calibration: Samples
    evaluation: Samples | None
    diagnostics: tuple[Diagnostic, ...] = ()
    classes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Part:
    name: str
    folder: Path
    found: Found
    sources: tuple[Source, ...]


def open_dataset(
    folder: Path,
    inputs: Mapping[str, TensorType],
    settings: DatasetSettings = DEFAULTS,
    base_dir: Path = Path("."),
) -> Dataset:
    """Open a dataset folder for a model.

    Reads headers (tables and ONNX test data as a whole), chooses the rows and checks them against the inputs. Image
    and audio data, and values (NaN, casts that depend on them), are checked while iterating.

    Args:
        inputs: the model's inputs in graph order.
        base_dir: folder of the recipe, where paths to Python files start.

    Raises:
        QConvertError: all mistakes that were found; R005, R009, R012, D001 to D006, D008 to D011.
    """
    folder = Path(folder)
    wanted = describe(inputs, settings)
    parts = find_parts(folder, settings)
    opened = _open_parts(folder, parts, wanted, settings, base_dir)
    files = [PartFiles(p.name, p.folder, p.sources) for p in opened]
    text = _preprocessing(settings, wanted, base_dir)
    mistakes: list[Diagnostic] = []
    samples = []
    for part in opened:
        samples.append(_choose(part, settings, wanted, text))
        mistakes += samples[-1].check()
    if mistakes:
        raise gather(mistakes)
    labels, classes = find_labels(folder, files, settings, base_dir)
    done = [Samples(s.part, s.sources, s.chosen, s.batch, x, text) for s, x in zip(samples, labels, strict=True)]
    notes = [*parts.notes, *(n for p, s in zip(opened, done, strict=True) for n in _notes(p, s, settings))]
    return Dataset(done[0], done[1] if len(done) > 1 else None, tuple(dict.fromkeys(notes)), classes)


def _open_parts(
    folder: Path, parts: Parts, wanted: Wanted, settings: DatasetSettings, base_dir: Path
) -> tuple[_Part, ...]:
    calibration = find_items(parts.calibration, settings, parts.evaluation)
    folders = [("calibration", parts.calibration, calibration)]
    if parts.evaluation is not None:
        inside = parts.calibration if parts.calibration.resolve() != folder.resolve() else None
        folders.append(("evaluation", parts.evaluation, find_items(parts.evaluation, settings, inside)))
    prepare = _prepare(settings, base_dir)
    mistakes: list[Diagnostic] = []
    opened = []
    for name, path, found in folders:
        _check_settings(found.kind, settings)
        sources = []
        for item in found.items:
            try:
                sources.append((prepare or LOADERS[found.kind])(item, wanted))
            except QConvertError as error:
                mistakes.extend(error.diagnostics)
        opened.append(_Part(name, path, found, tuple(s for s in sources if s.rows)))
    if mistakes:
        raise gather(mistakes)
    return tuple(opened)


def _prepare(settings: DatasetSettings, base_dir: Path) -> Opener | None:
    if settings.prepare is None:
        return None
    function = load_function(settings.prepare, base_dir)
    return partial(open_prepared, function=function, spec=settings.prepare)


def _check_settings(kind: str, settings: DatasetSettings) -> None:
    """Raise R009 for image settings that would silently do nothing."""
    if kind == "images" and settings.prepare is None:
        return
    blocks = [settings.preprocess, *(i.preprocess for i in settings.inputs.values() if i.preprocess)]
    for key in ("resize", "crop", "color"):
        if any(getattr(block, key) is not None for block in blocks):
            what = f"the dataset holds {kind}" if settings.prepare is None else "`prepare` replaces it"
            raise fail("R009", f"`{key}` applies to image files, {what}", f"dataset.preprocess.{key}", "leave it out")


def _choose(part: _Part, settings: DatasetSettings, wanted: Wanted, text: str) -> Samples:
    total = sum(s.rows for s in part.sources)
    if not total:
        raise fail("D002", "the files hold no rows", part.folder, "put samples into them")
    if total < wanted.batch:
        hint = "add samples, or export the model with a free batch size"
        text = f"the model's batch is fixed at {wanted.batch}, only {total} rows are there"
        raise fail("D004", text, part.folder, hint)
    chosen = choose(
        total, _asked(part.name, settings), settings.seed, wanted.batch, unit_of(part.sources, wanted.batch)
    )
    return Samples(part.name, part.sources, chosen, wanted.batch, preprocessing=text)


def _asked(part: str, settings: DatasetSettings) -> int | None:
    return settings.samples if part == "calibration" else settings.evaluation_samples


def _notes(part: _Part, samples: Samples, settings: DatasetSettings) -> Sequence[Diagnostic]:
    total, asked = sum(s.rows for s in part.sources), _asked(part.name, settings)
    found = [*skipped_note(part.found.skipped, part.folder)]
    found += [note for source in part.sources for note in source.notes]
    if part.found.kind == "audio" and settings.prepare is None:
        found += audio_notes(part.sources)
    if asked is not None and total < asked:
        found.append(_note("D100", f"{asked} {part.name} samples asked, {total} there", part.folder))
    tail = total % samples.batch
    if tail and len(samples.chosen) == total - tail:
        text = f"the last {tail} of {total} rows are left out, the model's batch is fixed at {samples.batch}"
        found.append(_note("D100", text, part.folder))
    return found


def _note(code: str, message: str, where: Path) -> Diagnostic:
    return Diagnostic(code, message, str(where), severity=Severity.NOTE)


def _preprocessing(settings: DatasetSettings, wanted: Wanted, base_dir: Path) -> str:
    """Everything that decides how a file becomes arrays, as canonical text."""
    result: dict[str, object] = {
        i.name: [
            i.dtype,
            None if i.shape is None else [str(d) for d in i.shape],
            i.array,
            i.pre.model_dump(mode="json"),
        ]
        for i in wanted.inputs
    }
    if settings.prepare is not None:
        result["prepare"] = function_file(settings.prepare, base_dir).read_text(encoding="utf-8", errors="replace")
    return json.dumps([result, settings.prepare], sort_keys=True)
