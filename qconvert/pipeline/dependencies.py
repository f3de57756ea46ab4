"""The files that a conversion reads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..data.userfunc import function_file
from ..errors import fail
from ..evaluate import model_files
from .convert import Request
from .fresh import UNWRITABLE, files_below


@dataclass(frozen=True)
class Dependencies:
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


def dependencies(request: Request) -> Dependencies:
    """Everything that a request reads; the model is opened to find its external data.

    Raises:
        QConvertError: M0xx where it cannot be.
    """
    files = (*_model(request.model), *request.recipe_files, *_named(request))
    return Dependencies(tuple(dict.fromkeys(files)), () if request.data is None else (request.data,))


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
