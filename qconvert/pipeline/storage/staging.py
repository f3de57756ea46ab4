"""Outputs are written to the side and renamed into place together; inputs are never written to."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import signal
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ...errors import QConvertError, fail

ARTEFACTS = (".onnx", ".tflite")
_ENDING = re.compile(r"\.[A-Za-z]{2,}")  # of a file; folders end in `.int8`, `.v1`, `.d` and such
_PIECE = 1 << 20
NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(frozen=True, slots=True)
class Destination:
    """Where the results go.

    Attributes:
        folder: made if missing; stem and extension: of the artefact.
        reports: folder of the reports; None for the same one.
    """

    folder: Path
    stem: str
    extension: str
    reports: Path | None = None

    @property
    def artefact(self) -> Path:
        """The model file."""
        return self.folder / f"{self.stem}{self.extension}"

    @property
    def rejected(self) -> Path:
        """The model file after a failed gate."""
        return self.folder / f"{self.stem}.rejected{self.extension}"

    @property
    def report(self) -> Path:
        """The JSON report."""
        return self.report_as(".json")

    def report_as(self, extension: str) -> Path:
        """A report in another format."""
        return (self.reports or self.folder) / f"{self.stem}.report{extension}"


def destination(output: Path, extension: str, inputs: tuple[Path, ...], reports: Path | None = None) -> Destination:
    """Where `-o` points to: a file if it ends in .onnx or .tflite, else a folder that receives `model<extension>`.

    Raises:
        QConvertError: O003 if the result would replace an input or lie in the dataset, O001 if a file is in the way, R009 if
            the file's extension is not the target's, or is that of no model.
    """
    if output.suffix in ARTEFACTS:
        if output.suffix != extension:
            raise fail(
                "R009", f"this target writes {extension} files", output, f"name the output `{output.stem}{extension}`"
            )
        found = Destination(output.parent, output.stem, extension, reports)
    else:
        _no_other_file(output, extension)
        found = Destination(output, "model", extension, reports)
    with guarded(output):
        _nothing_in_the_way((found.artefact, found.rejected, found.report), (found.folder, reports or found.folder))
    for path in inputs:
        for file in (found.artefact, found.rejected, found.report):
            keep_apart(file.resolve(), path)
    return found


def _no_other_file(output: Path, extension: str) -> None:
    """Refuse what looks like the name of a file of another kind; a folder that exists may have any name.

    Raises:
        QConvertError: R009.
    """
    if _ENDING.fullmatch(output.suffix) and not output.exists():
        text = f"the name ends in {output.suffix}, this target writes {extension} files"
        other = f"`{output.with_suffix('')}` for a folder"
        raise fail("R009", text, output, f"name the output `{output.with_suffix(extension).name}`, or {other}")


def check_output(output: Path) -> None:
    """Refuse a file where a folder is needed.

    Raises:
        QConvertError: R009.
    """
    if output.suffix in ARTEFACTS or (_ENDING.fullmatch(output.suffix) and not output.exists()):
        text = "several targets need a folder for their results"
        raise fail("R009", text, output, f"`-o {output.with_suffix('')}` receives a folder for each target")


def check_file(file: Path, inputs: Iterable[Path]) -> None:
    """Refuse a further file of a run before anything is computed.

    Raises:
        QConvertError: O001 or O002 where it cannot be written, O003 where it would replace an input or lie in the dataset.
    """
    with guarded(file):
        _nothing_in_the_way((file,), (file.parent,))
    for path in inputs:
        keep_apart(file.resolve(), path)
    with staged(file.parent):
        pass


def _nothing_in_the_way(files: Sequence[Path], places: Sequence[Path]) -> None:
    for file in files:
        if file.is_dir():
            raise fail("O001", "a folder of this name exists", file, "choose another output name")
    for folder in (path for each in places for path in (each, *each.parents)):
        if folder.exists() and not folder.is_dir():
            raise fail("O001", "a file is in the way, where a folder is needed", folder, "choose another output path")


def keep_apart(file: Path, path: Path) -> None:
    """Refuse an output that would replace an input or lie in a dataset folder.

    Raises:
        QConvertError: O003.
    """
    if file == path.resolve():
        raise fail("O003", "the output would replace the input model", path, "choose another output path")
    if path.is_dir() and file.is_relative_to(path.resolve()):
        raise fail("O003", "the output lies inside the dataset folder", file, "choose an output path outside of it")


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """A private folder beside the results; whatever is left in it afterwards is removed, and so are folders made in vain.

    Raises:
        QConvertError: O001 or O002 where the file system refuses.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        with guarded(folder):
            folder.mkdir(parents=True, exist_ok=True)
            holder = tempfile.TemporaryDirectory(prefix=".qconvert-", dir=folder)
        with holder as name:
            yield Path(name)
    finally:
        for path in made:
            with suppress(OSError):  # not empty: it has the results
                path.rmdir()


@contextmanager
def guarded(where: Path) -> Iterator[None]:
    """Turn failures of the file system into one clear error."""
    try:
        yield
    except OSError as error:
        raise output_error(error, where) from error


def output_error(error: OSError, where: object) -> QConvertError:
    """O002 for a full disk, O001 for anything else."""
    if error.errno in NO_SPACE:
        return fail(
            "O002",
            f"no space left to write the result: {error.strerror}",
            where,
            "free some space, or choose another output folder",
        )
    return fail(
        "O001", f"the result cannot be written: {error.strerror or error}", where, "check the path and its permissions"
    )


def publish(files: Sequence[tuple[Path, Path]], stale: Sequence[Path] = ()) -> None:
    """Rename staged files into place, the last one last; each rename replaces an older file in one step.

    Args:
        files: staged file and its final place.
        stale: results of earlier runs that are no longer true; removed where they exist.

    Raises:
        QConvertError: O001 or O002.
    """
    for source, target in files:
        with guarded(target):
            _flush(source)
    with _undisturbed():
        for source, target in files:
            with guarded(target):
                os.replace(source, target)
        for path in stale:
            with guarded(path):
                path.unlink(missing_ok=True)


def write_text(path: Path, text: str, inputs: Iterable[Path] = ()) -> None:
    """Write one file in one step.

    Raises:
        QConvertError: O001, O002, and O003 where it would replace an input or lie in the dataset.
    """
    for given in inputs:
        keep_apart(path.resolve(), given)
    with staged(path.parent) as folder:
        (folder / path.name).write_text(text, encoding="utf-8")
        publish([(folder / path.name, path)])


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Hold back Ctrl-C and SIGTERM until all files are in place; other threads than the main one never receive them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    held: list[int] = []
    before = {
        number: signal.signal(number, lambda caught, frame: held.append(caught))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if held:
        signal.raise_signal(held[0])


def sha256(*paths: Path) -> str:
    """Digest of files one after the other, read in pieces."""
    found = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                found.update(piece)
    return found.hexdigest()
