"""The Python face: the same as the command line, typed."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .errors import fail
from .pipeline.asked import Asked
from .pipeline.comparison import ComparisonRequest
from .pipeline.comparison import compare as _compare
from .pipeline.convert import convert as _convert
from .pipeline.evaluation import EvaluationRequest, reference_number
from .pipeline.evaluation import evaluate_models as _evaluate_models
from .pipeline.events import Event, silent
from .pipeline.resolve import dataset_recipe, request_of, requests_of
from .pipeline.several import convert_several
from .recipe import Recipe
from .report import RunRecord
from .report.comparison import Comparison
from .report.evaluation import Evaluation
from .report.targets import TargetsRecord

PathLike = str | os.PathLike[str]


def convert(
    model: PathLike,
    output: PathLike,
    *,
    data: PathLike | None = None,
    recipe: PathLike | Recipe | None = None,
    target: str | None = None,
    changes: Mapping[str, Any] | None = None,
    evaluate: bool = True,
    threads: int = 1,
    report_dir: PathLike | None = None,
    update_baseline: bool = False,
    cache: PathLike | None = None,
    listener: Callable[[Event], None] = silent,
) -> RunRecord:
    """Convert an FP32 ONNX model, prove the result and write it with its report.

    Args:
        model: the ONNX file.
        output: `.onnx` file or folder; what ends with a slash is a folder.
        data: dataset folder; needed unless every range is measured at run time.
        recipe: YAML file or a Recipe; without one the preset of `target`.
        target: name of the target, overrides the recipe's.
        changes: dotted recipe keys to values, such as {"dataset.samples": 64}; paths in them start in the working directory.
        evaluate: measure accuracy and latency.
        threads: of calibration and evaluation.
        report_dir: folder of the reports; by default beside the output. `changes={"report": ["html"]}` adds formats.
        update_baseline: write the report to `gates.against` of the recipe instead of judging by it.
        cache: folder in which statistics and FP32 outputs are kept for later runs.
        listener: receives the progress.

    Returns:
        The record of the run; `status` is "gates failed" where a gate of the recipe does not hold.

    Raises:
        QConvertError: with every diagnostic; `exit_code` is that of the command line.
    """
    asked = Asked(
        Path(model),
        output,
        _path(data),
        _recipe(recipe),
        targets=() if target is None else (target,),
        changes=changes or {},
        evaluate=evaluate,
        threads=threads,
        reports=_path(report_dir),
        update_baseline=update_baseline,
        cache=_path(cache),
    )
    return _convert(request_of(asked)[0], listener)


def convert_targets(
    model: PathLike,
    output: PathLike,
    targets: Sequence[str] = (),
    *,
    data: PathLike | None = None,
    recipe: PathLike | Recipe | None = None,
    changes: Mapping[str, Any] | None = None,
    evaluate: bool = True,
    threads: int = 1,
    report_dir: PathLike | None = None,
    cache: PathLike | None = None,
    listener: Callable[[Event], None] = silent,
) -> TargetsRecord:
    """Convert a model for several targets with one pass over the data; one that fails leaves the others alone.

    Args:
        output: folder that receives a folder for each target, and the combined report.
        targets: names; without any those that the recipe lists.

    Returns:
        The targets side by side; `exit_code` is the highest of theirs, and a failed one has its errors in `problems`.

    Raises:
        QConvertError: where no run can begin at all: mistakes in the recipe or in the choice of the output.
    """
    asked = Asked(
        Path(model),
        output,
        _path(data),
        _recipe(recipe),
        targets=targets,
        changes=changes or {},
        evaluate=evaluate,
        threads=threads,
        reports=_path(report_dir),
        cache=_path(cache),
    )
    requests, _, several = requests_of(asked)
    if not several:
        raise fail("R011", "fewer than two targets were named", None, "give more, or use `qconvert.convert`")
    return convert_several(requests, asked.place, asked.reports, listener).record


def evaluate_models(
    models: Sequence[PathLike],
    *,
    data: PathLike | None = None,
    recipe: PathLike | Recipe | None = None,
    reference: PathLike | None = None,
    changes: Mapping[str, Any] | None = None,
    fail_on: Sequence[str] = (),
    on: Sequence[str] = (),
    threads: int = 1,
    listener: Callable[[Event], None] = silent,
) -> Evaluation:
    """Score and time models side by side.

    Args:
        models: ONNX or .tflite files.
        data: dataset folder; without one only sizes and times are compared.
        recipe: YAML file or a Recipe, whose `dataset` and `evaluation` are used.
        reference: the one of the models that the others are compared with; the first by default.
        changes: dotted recipe keys to values; paths in them start in the working directory.
        fail_on: conditions such as "sqnr<30"; `status` is "gates failed" where one is true.
        on: cores such as "arm" on which the models are run under emulation too.
        threads: of the sessions.
        listener: receives the progress.

    Raises:
        QConvertError: with every diagnostic.
    """
    paths = tuple(Path(model) for model in models)
    chosen = dataset_recipe(_recipe(recipe), changes or {})
    number = reference_number(paths, _path(reference))
    asked = EvaluationRequest(
        paths, chosen.recipe, number, _path(data), chosen.base, threads, tuple(fail_on), tuple(on)
    )
    return _evaluate_models(asked, listener)


def compare_models(
    a: PathLike,
    b: PathLike,
    *,
    data: PathLike | None = None,
    recipe: PathLike | Recipe | None = None,
    changes: Mapping[str, Any] | None = None,
    fail_on: Sequence[str] = (),
    threads: int = 1,
    listener: Callable[[Event], None] = silent,
) -> Comparison:
    """What differs between two models, or between the records of two runs (`.report.json`).

    Args:
        data: dataset folder, for outputs and layers of models.
        recipe: YAML file or a Recipe, whose `dataset` and `evaluation` are used.
        changes: dotted recipe keys to values; paths in them start in the working directory.
        fail_on: conditions such as "placement"; `status` is "gates failed" where one is true.
        threads: of the sessions.
        listener: receives the progress.

    Raises:
        QConvertError: with every diagnostic.
    """
    chosen = dataset_recipe(_recipe(recipe), changes or {})
    asked = ComparisonRequest(Path(a), Path(b), chosen.recipe, _path(data), chosen.base, threads, tuple(fail_on))
    return _compare(asked, listener)


def _path(given: PathLike | None) -> Path | None:
    return None if given is None else Path(given)


def _recipe(given: PathLike | Recipe | None) -> Path | Recipe | None:
    return given if given is None or isinstance(given, Recipe) else Path(given)
