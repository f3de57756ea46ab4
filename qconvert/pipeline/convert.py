"""The main job: a model, a recipe and a dataset to a proven result and its report. The order of the stages is written here."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from .. import __version__
from ..data import Dataset
from ..errors import Diagnostic, QConvertError
from ..evaluate import Baseline, GateResult, Measurements, judge, judge_limits, judge_regression, model_files
from ..recipe import Gates, dump
from ..report import FORMATS
from ..report.record import RunRecord
from .drafting.data import first_feeds, open_data
from .drafting.drafts import drafted
from .drafting.forms import form_of
from .drafting.half import range_notes, ranges_of
from .drafting.statistics import Statistics, statistics
from .events import Listener, Stages, silent
from .measuring.measure import Made, measure
from .measuring.proof import check_rewrites, prove
from .planning import Planned, load_model, make_plan
from .planning.dataless import refuse_without_data
from .planning.effects import refuse_unproved
from .planning.given import write_tables
from .recording.baseline import check_baseline, comparable, read_baseline
from .recording.details import with_details
from .recording.publication import place_of, publish_run
from .recording.record import data_info, make_record, model_info
from .recording.sparsity import note as sparsity_note
from .recording.sparsity import sparsity_of
from .request import Request
from .storage.staging import guarded, sha256, staged, write_text


def convert(request: Request, listener: Listener = silent) -> RunRecord:
    """Convert a model, prove the result, write it, and return the record of the run.

    A failed gate is no exception: the record says so, and the model is kept as `<stem>.rejected<extension>`.

    Raises:
        QConvertError: whatever went wrong, with everything that was found.
    """
    stages, recipe = Stages(listener), request.recipe
    place = place_of(request)
    refuse_unproved(recipe, request.data is not None and request.evaluate)
    check_baseline(request.baseline, place, request.update_baseline)
    with staged(place.folder), staged(place.report.parent):
        pass  # a folder that cannot be written to is found now, not after the calibration
    planned, dataset = _planned(request, stages)
    baseline = _baseline(request, planned, dataset, stages)
    check_rewrites(request, planned, dataset, stages)
    found = _calibrate(request, planned, dataset, stages)
    made = drafted(
        planned, dataset, found.sketches, recipe, request.source, stages, request.threads, cache=request.cache
    )
    planned, draft, steps = made.planned, made.draft, made.steps
    halves = ranges_of(planned, found.sketches, recipe)
    stages.note(*range_notes(halves, planned, recipe, bool(found.sketches)))
    sparse = sparsity_of(draft, steps, planned.target)
    stages.note(*((sparsity_note(sparse),) if sparse else ()))
    form = form_of(planned, recipe)
    with stages.stage("emit"):
        product = form.emit(draft, planned, recipe, _provenance(request, planned, dataset))
    with staged(place.folder) as folder:
        path = folder / place.artefact.name
        with stages.stage("write") as progress, guarded(path):
            files = form.write(product, path, planned, progress)
        product = form.written(product, path, planned)
        proved = prove(form, planned, path, product, dataset, stages)
        result = replace(proved.result, algorithms=steps)
        measured = measure(request, planned, path, Made(form, product, draft), dataset, stages)
        share = result.readback.integer_macs if result.readback else planned.plan.prediction.integer_share
        gates, failures = _judge(recipe.gates, baseline, measured, share)
        needs, size = result.device, measured.size
        memory, beyond = judge_limits(recipe.limits, needs.recommended if needs else None, size.bytes if size else None)
        stages.note(*failures, *beyond)
        record = make_record(
            request.recipe,
            planned,
            dataset,
            draft.activations,
            result,
            measured,
            (*gates, *memory, *request.judged),
            stages,
            request.model,
            request.data,
        )
        record = with_details(record, draft, found).model_copy(update={"sparsity": sparse, "half_ranges": halves})
        tables = write_tables(recipe, draft, path)
        final = publish_run(record, recipe, files, (*proved.companions, *tables), place, folder)
    if request.update_baseline and request.baseline and final.status == "done":
        write_text(request.baseline, FORMATS["json"].render(final))
    return final


def _planned(request: Request, stages: Stages) -> tuple[Planned, Dataset | None]:
    """The model's plan and the data.

    Raises:
        QConvertError: what is wrong with the model, or with what is asked of it, before what is wrong with the data.
    """
    model, recipe = load_model(request.model, request.recipe, stages, request.base_dir), request.recipe
    try:
        dataset = open_data(request, model.graph, stages)
        samples = first_feeds(dataset)
    except QConvertError:
        make_plan(model, recipe, stages, request.source)
        raise
    planned = make_plan(model, recipe, stages, request.source, samples, dataset is not None)
    if dataset is None:
        refuse_without_data(planned, recipe, request.source)
    return planned, dataset


def _baseline(request: Request, planned: Planned, dataset: Dataset | None, stages: Stages) -> Baseline | None:
    """The run by which this one is judged, None without one.

    Raises:
        QConvertError: R014.
    """
    path = request.baseline
    if path is None or request.update_baseline:
        return None
    found = read_baseline(path, planned.target.name)
    model, data = model_info(request.model, planned.lifted.source), data_info(dataset, request.data)
    stages.note(*comparable(found, model, data, path))
    return found.baseline(path.name)


def _calibrate(request: Request, planned: Planned, dataset: Dataset | None, stages: Stages) -> Statistics:
    if dataset is None:
        return Statistics({})
    found = statistics(planned.graph, planned.plan.observed, dataset, stages, request.threads, request.cache)
    stages.note(*found.notes)
    return found


def _provenance(request: Request, planned: Planned, dataset: Dataset | None) -> dict[str, str]:
    """Where the artefact comes from; no time and no path, so that equal inputs give equal bytes."""
    found = {
        "qconvert.version": __version__,
        "qconvert.model_sha256": sha256(*model_files(request.model, planned.lifted.source)),
        "qconvert.recipe_sha256": hashlib.sha256(dump(request.recipe).encode()).hexdigest(),
        "qconvert.target": request.recipe.target,
    }
    return found if dataset is None else {**found, "qconvert.data_sha256": dataset.calibration.digest()}


def _judge(
    gates: Gates, baseline: Baseline | None, measured: Measurements, share: float | None
) -> tuple[tuple[GateResult, ...], tuple[Diagnostic, ...]]:
    """The limits against FP32, and those against the baseline."""
    results, failures = judge(gates.absolute, measured, share)
    if baseline is None or gates.regression is None:
        return results, failures
    more, worse = judge_regression(gates.regression, baseline, measured, share)
    return (*results, *more), (*failures, *worse)
