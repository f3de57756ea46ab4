"""Results that later runs can take over, by the hash of everything that they depend on.

A folder of files that are written aside and renamed into place, so that runs in parallel never see half of one; each carries
the hash of its content, and one that does not match is told, removed and made again. Beyond the limit of the size, the files
that were not used for longest go.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from ... import __version__
from ...errors import Diagnostic, Severity, fail
from .staging import guarded
from .versions import COMPUTES, installed

LIMIT = 2 << 30  # bytes
_LAYOUT = 1  # of the folder and of the entries
_TAG = "Signature: 8a477f597d28d172789f06886806bc55\n# This folder is a cache of qconvert; see https://bford.info/cachedir/\n"
_LOW = 0.9  # of the limit is left after older files have gone
_NEW = ".new-"
_ABANDONED = 3600.0  # seconds after which nobody is still writing a file


class Cache(Protocol):
    """Where results are kept."""

    def get(self, key: str) -> bytes | None:
        """The content under a key, None if there is none that is whole."""

    def put(self, key: str, content: bytes) -> None:
        """Keep a content."""

    def notes(self) -> tuple[Diagnostic, ...]:
        """What went wrong since the last call, as O100; nothing of it stops a run."""


def cache_key(kind: str, *parts: object) -> str:
    """The name of a result: hash of its kind, of what it depends on, and of the versions of what computes it."""
    versions = [_LAYOUT, __version__, *installed(COMPUTES).items()]
    return hashlib.sha256(json.dumps([kind, versions, [str(part) for part in parts]]).encode()).hexdigest()


@dataclass
class Memory:
    """A cache for as long as the process lives; beyond the limit in bytes what was not used for longest goes."""

    limit: int = LIMIT // 2
    entries: dict[str, bytes] = field(default_factory=dict)

    def get(self, key: str) -> bytes | None:
        """The content under a key."""
        content = self.entries.pop(key, None)
        if content is not None:
            self.entries[key] = content  # behind all others
        return content

    def put(self, key: str, content: bytes) -> None:
        """Keep a content."""
        self.entries.pop(key, None)
        self.entries[key] = content
        held = sum(map(len, self.entries.values()))
        while held > self.limit:
            held -= len(self.entries.pop(next(iter(self.entries))))

    def notes(self) -> tuple[Diagnostic, ...]:
        """Nothing can go wrong."""
        return ()


@dataclass(frozen=True, slots=True)
class Usage:
    """How full a cache is."""

    entries: int
    bytes: int


class Folder:
    """A cache on disk."""

    def __init__(self, root: Path, limit: int = LIMIT) -> None:
        self.root, self.limit = root, limit
        self._notes: list[Diagnostic] = []

    def get(self, key: str) -> bytes | None:
        """The content under a key, None if there is none that is whole; a use keeps it from being removed."""
        path = self._path(key)
        try:
            stored = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            self._say(f"an entry of the cache cannot be read: {error.strerror or error}", path)
            return None
        digest, content = stored[:64], stored[64:]
        if hashlib.sha256(content).hexdigest().encode() != digest:
            self._say("an entry of the cache is damaged; it is made again", path)
            with suppress(OSError):
                path.unlink()
            return None
        with suppress(OSError):
            os.utime(path)
        return content

    def put(self, key: str, content: bytes) -> None:
        """Keep a content; a cache that cannot be written to is only worth a note."""
        path = self._path(key)
        try:
            self._prepare(path.parent)
            handle, name = tempfile.mkstemp(prefix=_NEW, dir=path.parent)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(hashlib.sha256(content).hexdigest().encode())
                    file.write(content)
                os.replace(name, path)
            finally:
                with suppress(OSError):
                    os.unlink(name)
            self._evict()
        except OSError as error:
            self._say(f"the cache cannot be written to: {error.strerror or error}", self.root)

    def notes(self) -> tuple[Diagnostic, ...]:
        """What went wrong since the last call."""
        found, self._notes = tuple(self._notes), []
        return found

    def usage(self) -> Usage:
        """How full it is."""
        sizes = [size for _, size, _ in self._entries()]
        return Usage(len(sizes), sum(sizes))

    def clear(self) -> Usage:
        """Remove every entry, and nothing else that may lie there.

        Returns:
            What was removed.

        Raises:
            QConvertError: O001.
        """
        count = total = 0
        for _, size, path in list(self._entries()):
            with guarded(path):
                path.unlink(missing_ok=True)
            count, total = count + 1, total + size
        return Usage(count, total)

    def _path(self, key: str) -> Path:
        return self.root / f"v{_LAYOUT}" / key[:2] / key

    def _prepare(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        tag = self.root / "CACHEDIR.TAG"
        if not tag.exists():
            tag.write_text(_TAG, encoding="utf-8")

    def _entries(self) -> Iterator[tuple[float, int, Path]]:
        """Time of the last use, bytes and path of every entry, and of what interrupted runs left half-written."""
        for path in self.root.glob("v[0-9]*/[0-9a-f][0-9a-f]/*"):
            with suppress(OSError):
                found = path.stat()
                if not path.name.startswith(_NEW) or found.st_mtime < time.time() - _ABANDONED:
                    yield found.st_mtime, found.st_size, path

    def _evict(self) -> None:
        entries = sorted(self._entries())
        total = sum(size for _, size, _ in entries)
        if total <= self.limit:
            return
        for _, size, path in entries[:-1]:  # what was just written stays
            if total <= self.limit * _LOW:
                return
            with suppress(OSError):
                path.unlink()
            total -= size

    def _say(self, text: str, where: Path) -> None:
        self._notes.append(Diagnostic("O100", text, str(where), None, Severity.NOTE))


def cache_limit(text: str | None = None) -> int:
    """The limit of the size in bytes, from a text such as `500M` or the variable QCONVERT_CACHE_LIMIT.

    Raises:
        QConvertError: R011.
    """
    text = os.environ.get("QCONVERT_CACHE_LIMIT", "") if text is None else text
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?([kMGT]?)", text.strip())
    if text and found is None:
        raise fail("R011", f"not a size: {text}", "QCONVERT_CACHE_LIMIT", "for instance `500M` or `4G`")
    return LIMIT if found is None else int(float(found[1]) * 1024 ** " kMGT".index(found[2] or " "))


def open_cache(folder: Path | None, limit: int = LIMIT) -> Folder:
    """The cache in a folder.

    Raises:
        QConvertError: R011 where none is named, O001 where it is a file.
    """
    if folder is None:
        raise fail("R011", "no cache is named", None, "add `--cache DIR`, or set QCONVERT_CACHE")
    if folder.exists() and not folder.is_dir():
        raise fail("O001", "the cache is a file, where a folder is needed", folder, "choose another folder")
    return Folder(folder, limit)
