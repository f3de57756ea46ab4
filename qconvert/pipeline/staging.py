"""Outputs are written to the side and renamed into place together; inputs are never written to."""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..errors import QConvertError, fail

ARTEFACTS = (".onnx", ".tflite")
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@dataclass(frozen=True, slots=True)
class Destination:
    """Where the results go.

    Attributes:
        folder: made if missing; stem and extension: of the artefact.
    """

    folder: Path
    stem: str
    extension: str

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
        return self.folder / f"{self.stem}.report.json"


def destination(output: Path, extension: str, inputs: tuple[Path, ...]) -> Destination:
    """Where `-o` points to: a file if it ends in .onnx or .tflite, else a folder that receives `model<extension>`.

    Raises:
        QConvertError: O003 if the result would replace an input or lie in the dataset, O001 if a file is in the way, R009 if
            the file's extension is not the target's.
    """
    if output.suffix in ARTEFACTS:
        if output.suffix != extension:
            raise fail("R009", f"this target writes {extension} files", output, f"name the output `{output.stem}{extension}`")
        found = Destination(output.parent, output.stem, extension)
    else:
        found = Destination(output, "model", extension)
    if found.artefact.is_dir():
        raise fail("O001", "a folder of this name exists", found.artefact, "choose another output name")
    for path in inputs:
        _keep_apart(found.artefact.resolve(), path)
    return found


def _keep_apart(artefact: Path, path: Path) -> None:
    if artefact == path.resolve():
        raise fail("O003", "the output is the input model", path, "choose another output path")
    if path.is_dir() and artefact.is_relative_to(path.resolve()):
        raise fail("O003", "the output lies inside the dataset folder", artefact, "choose an output path outside of it")


@contextmanager
def staged(folder: Path) -> Iterator[Path]:
    """A private folder beside the results; whatever is left in it afterwards is removed.

    Raises:
        QConvertError: O001 or O002 where the file system refuses.
    """
    with guarded(folder):
        folder.mkdir(parents=True, exist_ok=True)
        holder = tempfile.TemporaryDirectory(prefix=".qconvert-", dir=folder)
    with holder as name, guarded(folder):
        yield Path(name)


@contextmanager
def guarded(where: Path) -> Iterator[None]:
    """Turn failures of the file system into one clear error."""
    try:
        yield
    except OSError as error:
        raise output_error(error, where) from error


def output_error(error: OSError, where: Path) -> QConvertError:
    """O002 for a full disk, O001 for anything else."""
    if error.errno in _NO_SPACE:
        return fail("O002", f"no space left to write the result: {error.strerror}", where, "free some space, or choose another output folder")
    return fail("O001", f"the result cannot be written: {error.strerror or error}", where, "check the path and its permissions")


def publish(files: list[tuple[Path, Path]]) -> None:
    """Rename staged files into place, the last one last; each rename replaces an older file in one step.

    Raises:
        QConvertError: O001 or O002.
    """
    for source, target in files:
        with guarded(target):
            _flush(source)
            os.replace(source, target)


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def sha256(path: Path) -> str:
    """Digest of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
