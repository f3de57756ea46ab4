"""A conversion that leaves word of what it read and wrote: for `--if-changed`, and as a depfile for make and ninja."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from ..data.userfunc import function_file
from ..errors import fail
from ..evaluate import model_files
from ..report import FORMATS, RunRecord
from .convert import convert
from .events import Listener, silent
from .recording.publication import place_of
from .request import Request
from .storage.fresh import UNWRITABLE, Tracking, depfile, files_below, started, write_state
from .storage.staging import check_file, guarded, write_text

if TYPE_CHECKING:
    from .several import Converted


@dataclass(frozen=True, slots=True)
class _Done:
    """What a run left: whether all went well, what a depfile names as its target, the files, and the JSON report."""

    good: bool
    target: str
    files: tuple[Path, ...]
    report: Path


def tracked(request: Request, tracking: Tracking, listener: Listener = silent) -> RunRecord:
    """Convert; a run whose gates fail leaves neither state nor depfile.

    Raises:
        QConvertError: whatever went wrong.
    """

    def run() -> tuple[RunRecord, _Done]:
        record, (report, *others) = convert(request, listener), _reports(request)
        files = (*(Path(o.path) for o in record.outputs), report, *others)
        return record, _Done(record.status == "done", record.outputs[0].path, files, report)

    return _tracked([request], tracking, run)


def tracked_several(
    requests: Sequence[Request], output: Path, reports: Path | None, tracking: Tracking, listener: Listener = silent
) -> Converted:
    """As `tracked` for several targets; the depfile's target is the combined report.

    Raises:
        QConvertError: where the combined report cannot be written, or an input of `tracking` cannot be read.
    """

    from .several import convert_several

    def run() -> tuple[Converted, _Done]:
        found = convert_several(requests, output, reports, listener)
        made = (Path(o.path) for record in found.records for o in record.outputs)
        ended = {record.target for record in found.records}
        own = (path for request in requests if request.recipe.target in ended for path in _reports(request))
        files = (*made, *own, *found.reports)
        return found, _Done(found.record.status == "done", str(found.reports[0]), files, found.reports[0])

    return _tracked(requests, tracking, run)


T = TypeVar("T")


def _tracked(requests: Sequence[Request], tracking: Tracking, run: Callable[[], tuple[T, _Done]]) -> T:
    if tracking.state is None and tracking.depfile is None:
        return run()[0]
    if tracking.depfile is not None:
        check_file(tracking.depfile, requests[0].inputs)
    found = [_dependencies(request) for request in requests]
    files = dict.fromkeys(path for each in found for path in each.files)
    folders = dict.fromkeys(path for each in found for path in each.folders)
    depends = _Dependencies(tuple(files), tuple(folders)).all() if tracking.depfile is not None else ()
    begun = started(tracking.key, files, folders, depends)
    result, done = run()
    if done.good and tracking.depfile is not None:
        write_text(tracking.depfile, depfile(done.target, depends))
    if tracking.state is not None:
        state = begun.done(done.files, done.report, done.target) if done.good else None
        if state is not None:
            write_state(tracking.state, state)
        else:
            with guarded(tracking.state):
                tracking.state.unlink(missing_ok=True)
    return result


def _reports(request: Request) -> Iterator[Path]:
    """The reports of a run, the JSON one first, and the baseline where it is written."""
    place = place_of(request)
    yield from (place.report_as(FORMATS[name].extension) for name in dict.fromkeys(("json", *request.recipe.report)))
    if request.update_baseline and request.baseline is not None:
        yield request.baseline


# --- what is read --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Dependencies:
    """What the result of a request depends on.

    Attributes:
        files: model, external data, recipes, functions, tables of labels, baseline.
        folders: of which every file counts.
    """

    files: tuple[Path, ...]
    folders: tuple[Path, ...]

    def all(self) -> tuple[str, ...]:
        """Every file, and every folder, whose time of change tells of files that come and go.

        Raises:
            QConvertError: O001 for a name that no depfile can hold.
        """
        below = [path for folder in self.folders for path in files_below(folder)]
        places = [Path(root) for folder in self.folders for root in {folder, *(p.parent for p in below)}]
        names = [str(path) for path in dict.fromkeys((*self.files, *below, *sorted(places)))]
        broken = next((name for name in names if UNWRITABLE.search(name)), None)
        if broken is not None:
            text = "a depfile cannot name it: it has a line break or a semicolon, or ends with a backslash"
            raise fail("O001", text, repr(broken), "rename the file, or leave out `--depfile`")
        return tuple(names)


def _dependencies(request: Request) -> _Dependencies:
    """Everything that a request reads; the model is opened to find its external data.

    Raises:
        QConvertError: M0xx where it cannot be.
    """
    files = (*_model(request.model), *request.recipe_files, *_named(request))
    return _Dependencies(tuple(dict.fromkeys(files)), () if request.data is None else (request.data,))


def _model(model: Path) -> Iterator[Path]:
    """The model and its external data, written as the model is."""
    folder = model.parent.resolve()
    for path in model_files(model):
        yield model.parent / path.relative_to(folder) if path.is_relative_to(folder) else path


def _named(request: Request) -> Iterator[Path]:
    """Files that the recipe names, and labels beside the dataset folder."""
    recipe, base = request.recipe, request.base_dir
    metrics = recipe.evaluation.metric
    specs = (recipe.dataset.prepare, *((metrics,) if isinstance(metrics, str) else metrics or ()))
    yield from (function_file(spec, base) for spec in specs if spec and ".py:" in spec)
    labels = recipe.dataset.labels or "labels.csv"
    places = [base / labels] if recipe.dataset.labels else []
    places += [request.data.parent / labels] if request.data else []
    yield from (path for path in places if path.suffix == ".csv" and path.is_file())
    if request.baseline is not None and not request.update_baseline:
        yield request.baseline
