"""The main job: a model, a recipe and a dataset to a proven result and its report. The order of the stages is written here."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..data import Dataset, open_dataset
from ..errors import Diagnostic, Severity, fail
from ..evaluate import (
    Baseline,
    Comparison,
    GateResult,
    Measurements,
    judge,
    judge_limits,
    judge_regression,
    model_files,
)
from ..graph import rename_data
from ..plan import Kind, Plan
from ..recipe import Gates, Recipe, Source, dump
from ..report import FORMATS
from ..report.record import OutputInfo, RunRecord
from ..runtime import Feed, Options, opened
from ..verify import Readback, findings
from .baseline import baseline_path, check_baseline, comparable, read_baseline
from .cache import Cache
from .dataless import refuse_without_data
from .details import with_details
from .doubts import raw_images
from .drafts import drafted
from .effects import refuse_unproved
from .events import Listener, Stages, silent
from .forms import Form, Proved, form_of
from .given import write_tables
from .half import range_notes, ranges_of
from .holdout import with_holdout
from .measure import Made, measure, raise_errors
from .planning import Planned, make_plan, target_of
from .record import data_info, make_record, model_info, problem
from .reports import stage_reports, stale_reports
from .sparsity import note as sparsity_note
from .sparsity import sparsity_of
from .staging import Destination, destination, guarded, publish, sha256, staged, write_text
from .statistics import PROOF_SAMPLES, Statistics, statistics

_SAME_DB = 50.0  # a rewrite only reorders float32 arithmetic: 90 dB and more in practice


@dataclass(frozen=True)
class Request:
    """What to convert.

    Attributes:
        output: file or folder (see `staging.destination`).
        data: dataset folder; None where the plan needs no data.
        source: places of the recipe's keys, for messages.
        base_dir: folder of the recipe, where its paths start.
        evaluate: measure accuracy and latency.
        threads: of the calibration and evaluation sessions.
        reports: folder of the reports; None for that of the output.
        recipe_files: files of the recipe, those that it extends included.
        hold_out: without an evaluation part, judge by the samples that calibration leaves out.
        judged: limits that were judged before, on the same result; they count as gates.
        update_baseline: the run becomes the baseline of `gates.against` if its other gates hold, instead of being judged by it.
        cache: results of earlier runs, and of the other targets of this one.
    """

    model: Path
    output: Path
    recipe: Recipe
    data: Path | None = None
    source: Source | None = None
    base_dir: Path = Path(".")
    evaluate: bool = True
    threads: int = 1
    reports: Path | None = None
    recipe_files: tuple[Path, ...] = ()
    hold_out: bool = False
    judged: tuple[GateResult, ...] = ()
    update_baseline: bool = False
    cache: Cache | None = None

    @property
    def inputs(self) -> tuple[Path, ...]:
        """What no output may replace: the model, and the dataset with all that lies in it."""
        return (self.model,) if self.data is None else (self.model, self.data)

    @property
    def baseline(self) -> Path | None:
        """The file of the baseline, None without one."""
        return baseline_path(self.recipe, self.base_dir)


def convert(request: Request, listener: Listener = silent) -> RunRecord:
    """Convert a model, prove the result, write it, and return the record of the run.

    A failed gate is no exception: the record says so, and the model is kept as `<stem>.rejected<extension>`.

    Raises:
        QConvertError: whatever went wrong, with everything that was found.
    """
    stages, recipe = Stages(listener), request.recipe
    place = destination(request.output, target_of(recipe).artefact.extension, request.inputs, request.reports)
    refuse_unproved(recipe, request.data is not None and request.evaluate)
    check_baseline(request.baseline, place, request.update_baseline)
    with staged(place.folder), staged(place.report.parent):
        pass  # a folder that cannot be written to is found now, not after the calibration
    planned = make_plan(request.model, recipe, stages, request.source, None, request.data is not None, request.base_dir)
    dataset = open_data(request, planned, stages)
    baseline = _baseline(request, planned, dataset, stages)
    _check_rewrites(request, planned, dataset, stages)
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
        proved = _prove(form, planned, path, product, dataset, stages)
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
        final = _publish(record, recipe, files, (*proved.companions, *tables), place, folder)
    if request.update_baseline and request.baseline and final.status == "done":
        write_text(request.baseline, FORMATS["json"].render(final))
    return final


# --- data --------------------------------------------------------------------------------------------------------------


def open_data(request: Request, planned: Planned, stages: Stages) -> Dataset | None:
    """The request's dataset; None where there is none and none is needed.

    Raises:
        QConvertError: D001 and whatever is wrong with the data.
    """
    if request.data is None:
        refuse_without_data(planned, request.recipe, request.source)
        return None
    graph = planned.original
    with stages.stage("data"):
        dataset = open_dataset(
            request.data, {name: graph.type_of(name) for name in graph.feeds}, request.recipe.dataset, request.base_dir
        )
    stages.note(*dataset.diagnostics, *raw_images(dataset, request.recipe.dataset))
    return with_holdout(dataset, request.recipe.dataset.evaluation_samples) if request.hold_out else dataset


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


def _check_rewrites(request: Request, planned: Planned, dataset: Dataset | None, stages: Stages) -> None:
    """Prove that the runtime takes the model, and on calibration data that canonicalization changed nothing.

    Raises:
        QConvertError: M006, M009, V006.
    """
    with (
        stages.stage("check rewrites"),
        opened(planned.original, Options(optimize=False), where=request.model) as before,
    ):
        if dataset is None or not planned.canonical.applied:
            return
        compared = Comparison()
        with opened(planned.graph, Options(optimize=False)) as after:
            for sample in dataset.calibration.take(2):
                compared.add(before.run(sample.feed), after.run(sample.feed))
    found = compared.result("calibration").sqnr_db
    if found < _SAME_DB:
        rules = ", ".join(applied.rule for applied in planned.canonical.applied)
        raise fail(
            "V006",
            f"canonicalization changed the outputs: {found:.1f} dB",
            rules,
            "please report this model; `placement` and other settings cannot help",
        )


# --- calibration -------------------------------------------------------------------------------------------------------


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


# --- proof and measurement ---------------------------------------------------------------------------------------------


def _prove(form: Form, planned: Planned, path: Path, product: Any, dataset: Dataset | None, stages: Stages) -> Proved:
    """Load and run the file as the target names it, check its rules, and read back what really runs.

    Raises:
        QConvertError: V001 to V005, V007.
    """
    with stages.stage("prove"):
        proved = form.prove(path, product, planned, _feeds(dataset), floor_db(planned.plan))
        raise_errors(list(proved.findings))
    readback = proved.result.readback
    stages.note(*proved.findings, *(findings(readback) if readback else ()))
    stages.note(*_elsewhere(planned, readback))
    return proved


def _elsewhere(planned: Planned, readback: Readback | None) -> tuple[Diagnostic, ...]:
    """How what was proved here carries over to the target's own machines."""
    integer, mixed = planned.target.runtime.agreement
    if readback is None or not integer or platform.machine() in planned.target.runtime.hosts:
        return ()
    dynamic = any(p.kind is Kind.DYNAMIC for p in planned.plan.nodes.values())
    text = mixed if dynamic or readback.islands else integer
    return (Diagnostic("V103", text, None, None, Severity.NOTE),)


def _feeds(dataset: Dataset | None) -> list[Feed]:
    return [sample.feed for sample in islice(dataset.calibration, PROOF_SAMPLES)] if dataset is not None else []


def floor_db(plan: Plan) -> float:
    """Output SQNR below which something must be broken: 8 bits give about 40 dB a layer, and noise adds up over layers.

    Thirty dB are left for unfortunate ranges and for the chance of a few samples. Each bit less costs 6 dB.
    """
    layers = sum(1 for p in plan.nodes.values() if p.macs and p.kind is not Kind.FLOAT)
    bits = min((w.format.bits for w in plan.weights.values() if w.format.bits < 7), default=8)
    floor = 10.0 - 10.0 * np.log10(max(layers, 1))
    return float(max(0.0, floor) if bits == 8 else floor - 6.0 * (8 - bits))


def _judge(
    gates: Gates, baseline: Baseline | None, measured: Measurements, share: float | None
) -> tuple[tuple[GateResult, ...], tuple[Diagnostic, ...]]:
    """The limits against FP32, and those against the baseline."""
    results, failures = judge(gates.absolute, measured, share)
    if baseline is None or gates.regression is None:
        return results, failures
    more, worse = judge_regression(gates.regression, baseline, measured, share)
    return (*results, *more), (*failures, *worse)


# --- publication -------------------------------------------------------------------------------------------------------


def _older(files: Sequence[Path]) -> Diagnostic:
    text = f"files of an earlier run stay as they were: {', '.join(f.name for f in files)}"
    hint = "this report is about the rejected model; delete them if they must not be deployed any more"
    return Diagnostic("G102", text, str(files[0].parent), hint, Severity.NOTE)


def _publish(
    record: RunRecord, recipe: Recipe, files: list[Path], companions: tuple[Path, ...], place: Destination, folder: Path
) -> RunRecord:
    """Name the outputs, write the reports beside them, and rename everything into place, the model last."""
    accepted = record.status == "done"
    older = (
        []
        if accepted
        else [f for f in (place.artefact, *map(place.artefact.with_name, (c.name for c in companions))) if f.exists()]
    )
    if older:
        record = record.model_copy(update={"diagnostics": (*record.diagnostics, problem(_older(older)))})
    extra = list(companions) if accepted else []
    model = place.artefact if accepted else place.rejected
    names = [f.name for f in (*files[1:], *extra)]
    if not accepted and names:  # weights beside the model must not replace those of an older result
        names = [f"{model.name}.data"]
        rename_data(files[0], names[0])
    files = [*files, *extra]
    targets = [model, *map(model.with_name, names)]
    outputs = tuple(
        OutputInfo(path=str(t), bytes=f.stat().st_size, sha256=sha256(f)) for f, t in zip(files, targets, strict=True)
    )
    final = record.model_copy(update={"outputs": outputs})
    stale = [place.rejected, place.rejected.with_name(place.rejected.name + ".data")] if accepted else []
    with staged(place.report.parent) as beside:  # which may be on another file system
        with guarded(beside):
            reports = stage_reports(final, recipe.report, place, beside)
        publish(
            [*zip(files[1:], targets[1:], strict=True), *reports, (files[0], model)],
            [*stale, *stale_reports(reports, place)],
        )
    return final
