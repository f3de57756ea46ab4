"""Whether a run would only repeat an earlier one: what it read and wrote, kept beside its report.

As in a build tool, files are compared by their hashes, and size and time of change spare the reading of those that nobody
touched. A file that was changed within moments of being recorded is read again, since its time of change may not tell. This
module loads nothing but the standard library, so that a run with nothing to do ends at once.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ... import __version__
from .staging import ARTEFACTS, write_text
from .versions import COMPUTES, INTERPRETERS, installed

FORMAT = 1
_MOMENT = 2_000_000_000  # ns; coarser than the clock of any file system in use


@dataclass(frozen=True, slots=True)
class Seen:
    """A file as it was when it was recorded.

    Attributes:
        size, changed: bytes and time of the last change in ns, -1 where there is no such file.
        sha256: of its content, "" before it was read.
    """

    path: str
    size: int
    changed: int
    sha256: str = ""

    def same(self, recorded: int) -> bool:
        """Whether the file still has the content that was recorded.

        Args:
            recorded: when the file was looked at, in ns.
        """
        now = look(self.path)
        if now.size != self.size:
            return False
        if now.changed == self.changed and self.changed < recorded - _MOMENT:
            return True
        return self.size < 0 or now.read().sha256 == self.sha256

    def read(self) -> Seen:
        """The same with the hash of its content."""
        if self.size < 0:
            return self
        with open(self.path, "rb") as file:
            return replace(self, sha256=hashlib.file_digest(file, "sha256").hexdigest())


def look(path: str | Path) -> Seen:
    """A file as it is now, unread."""
    try:
        found = os.stat(path)
    except OSError:
        return Seen(str(path), -1, -1)
    return Seen(str(path), found.st_size, found.st_mtime_ns)


@dataclass(frozen=True)
class Manifest:
    """What a run read and wrote.

    Attributes:
        key: options, and versions of what computes.
        recorded: when the inputs were looked at, in ns.
        inputs: files that were read; folders: and folders of which every file counts.
        outputs: files that were written; report: the JSON one among them; target: the model as the user wrote its path.
        depends: paths for a depfile, as the user wrote them.
    """

    key: str
    recorded: int
    inputs: tuple[Seen, ...]
    folders: Mapping[str, str]
    outputs: tuple[Seen, ...] = ()
    report: str = ""
    target: str = ""
    depends: tuple[str, ...] = ()

    def fresh(self, key: str) -> bool:
        """Whether a run with these options would read the same and find its outputs as they were written."""
        return (
            key == self.key
            and all(listing(folder) == names for folder, names in self.folders.items())
            and all(seen.same(self.recorded) for seen in (*self.inputs, *self.outputs))
        )

    def again(self) -> Manifest:
        """The same with the present times of change, so that files that were only touched need not be read next time."""
        now = time.time_ns()
        inputs, outputs = (
            tuple(replace(look(s.path), sha256=s.sha256) for s in some) for some in (self.inputs, self.outputs)
        )
        return replace(self, recorded=now, inputs=inputs, outputs=outputs)

    def recent(self, recorded: int) -> bool:
        """Whether any file was changed so shortly before being recorded that it is read each time."""
        return any(s.size >= 0 and s.changed >= recorded - _MOMENT for s in (*self.inputs, *self.outputs))

    def done(self, outputs: Sequence[Path], report: Path, target: str) -> Manifest | None:
        """The state after the run: inputs with hashes, and outputs; None where an input was changed in the meantime."""
        if any(look(seen.path) != seen for seen in self.inputs):
            return None
        inputs = tuple(seen.read() for seen in self.inputs)
        written = tuple(look(path.absolute()).read() for path in outputs)
        return replace(self, inputs=inputs, outputs=written, report=str(report.absolute()), target=target)


@dataclass(frozen=True, slots=True)
class Tracking:
    """What is written beside the results.

    Attributes:
        key: of options and versions (see `run_key`).
        state: file for the next `--if-changed`; depfile: for make and ninja; None for none.
    """

    key: str = ""
    state: Path | None = None
    depfile: Path | None = None


def started(key: str, files: Iterable[Path], folders: Iterable[Path], depends: Iterable[str]) -> Manifest:
    """The state at the beginning of a run.

    Args:
        files: that are read; folders: of which every file is.
    """
    now, below = time.time_ns(), [folder.absolute() for folder in folders]
    paths = [*(path.absolute() for path in files), *(path for folder in below for path in files_below(folder))]
    inputs = tuple(look(path) for path in dict.fromkeys(paths))
    return Manifest(key, now, inputs, {str(folder): listing(folder) for folder in below}, depends=tuple(depends))


def files_below(folder: str | Path) -> Iterator[Path]:
    """Every file in a folder and its sub-folders, sorted; hidden ones are left out, and no folder is entered twice."""
    seen: set[str] = set()
    for root, folders, files in os.walk(folder, followlinks=True):
        place = os.path.realpath(root)
        folders[:] = [] if place in seen else sorted(f for f in folders if not f.startswith((".", "__pycache__")))
        if place not in seen:
            yield from (Path(root, name) for name in sorted(files) if not name.startswith("."))
        seen.add(place)


def listing(folder: str | Path) -> str:
    """Hash of the names of all files in a folder."""
    names = "\n".join(os.path.relpath(path, folder) for path in files_below(folder))
    return hashlib.sha256(names.encode("utf-8", "surrogateescape")).hexdigest()


def run_key(options: Mapping[str, Any]) -> str:
    """One text for options and for the versions of everything that computes."""
    return json.dumps(
        [FORMAT, __version__, installed((*COMPUTES, *INTERPRETERS)), options], sort_keys=True, default=_absolute
    )


def _absolute(value: object) -> str:
    return os.path.abspath(value) if isinstance(value, Path) else str(value)


def state_path(output: Path, reports: Path | None, in_folder: bool = False) -> Path:
    """The file of the state, beside the JSON report.

    Args:
        in_folder: the output is a folder whatever its name.
    """
    if output.suffix in ARTEFACTS and not in_folder:
        return (reports or output.parent) / f"{output.stem}.state.json"
    return (reports or output) / "model.state.json"


def repeated(path: Path, key: str, dependencies: Path | None = None) -> Manifest | None:
    """The state of an earlier run that this one would only repeat; None where there is something to do.

    Args:
        path: of the state.
        dependencies: a depfile, which is written anew: ninja takes them away.

    Raises:
        QConvertError: O001 or O002.
    """
    state = read_state(path)
    if state is None or not state.fresh(key):
        return None
    now = state.again()
    if (now.inputs, now.outputs) != (state.inputs, state.outputs) or now.recent(state.recorded):
        write_state(path, now)
    if dependencies is not None:
        write_text(dependencies, depfile(state.target, state.depends))
    return state


def read_state(path: Path) -> Manifest | None:
    """The state of an earlier run; None without one that can be read."""
    try:
        content = json.loads(path.read_bytes())
        inputs, outputs = (tuple(Seen(**seen) for seen in content.pop(name)) for name in ("inputs", "outputs"))
        return Manifest(**{**content, "inputs": inputs, "outputs": outputs, "depends": tuple(content["depends"])})
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def write_state(path: Path, state: Manifest) -> None:
    """Write the state in one step.

    Raises:
        QConvertError: O001 or O002.
    """
    write_text(path, json.dumps(asdict(state), indent=1) + "\n")


def depfile(target: str, depends: Iterable[str]) -> str:
    """A rule in the syntax of make and ninja: the target needs these files.

    Each file gets an empty rule of its own as well, so that make goes on where one has been deleted; those whose names would
    make something else of such a rule go without.
    """
    names = [_escaped(name) for name in depends]
    rules = [f"{name}:" for name in names if not _SPECIAL.search(name)]
    return "\n".join([" \\\n ".join([f"{_escaped(target)}:", *names]), *rules]) + "\n"


_SPECIAL = re.compile("[&|=*?'\"<>`]")
UNWRITABLE = re.compile(r"[\n\r;]|\\$")  # no rule can name such a file


def _escaped(name: str) -> str:
    """A path as make reads it; a backslash counts as itself unless something special follows."""
    text = ""
    for at, letter in enumerate(name):
        if letter in " \t#:":
            text += "\\" * (at - len(name[:at].rstrip("\\")) + 1)
        text += "$$" if letter == "$" else letter
    return text
