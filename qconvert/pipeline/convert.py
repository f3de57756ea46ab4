"""The main job: a model, a recipe and a dataset to a proven result and its report. The order of the stages is written here."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import numpy as np

from .. import __version__
from ..calibrate import Sketch, Sketcher, collect
from ..data import Dataset, Samples, Watch, open_dataset
from ..errors import Diagnostic, QConvertError, Severity, fail
from ..evaluate import (
    Comparison,
    Latency,
    Layer,
    Measurements,
    dequantized_values,
    evaluate,
    judge,
    layer_errors,
    measure_latency,
    measure_size,
    model_files,
)
from ..graph import Graph, save
from ..plan import Plan
from ..recipe import Recipe, Source, dump
from ..report.record import OutputInfo, RunRecord
from ..runtime import Feed, Options, Session, opened
from ..verify import check, findings, prove, read_back
from .accuracy import best_draft, emitted
from .events import Listener, Stages, silent
from .planning import Planned, make_plan, target_of
from .record import Result, make_record
from .staging import Destination, destination, publish, sha256, staged
from .words import vocabulary

PROOF_SAMPLES = 8
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
    """

    model: Path
    output: Path
    recipe: Recipe
    data: Path | None = None
    source: Source | None = None
    base_dir: Path = Path(".")
    evaluate: bool = True
    threads: int = 1


def convert(request: Request, listener: Listener = silent) -> RunRecord:
    """Convert a model, prove the result, write it, and return the record of the run.

    A failed gate is no exception: the record says so, and the model is kept as `<stem>.rejected<extension>`.

    Raises:
        QConvertError: whatever went wrong, with everything that was found.
    """
    stages, recipe = Stages(listener), request.recipe
    inputs = (request.model,) if request.data is None else (request.model, request.data)
    place = destination(request.output, target_of(recipe).extension, inputs)
    with staged(place.folder):
        pass  # a folder that cannot be written to is found now, not after the calibration
    planned = make_plan(request.model, recipe, stages, request.source, None)
    dataset = _open_data(request, planned, stages)
    _check_rewrites(request, planned, dataset, stages)
    sketches = _calibrate(request, planned, dataset, stages)
    draft, steps = best_draft(planned, dataset, sketches, recipe, vocabulary(), stages, request.threads)
    with stages.stage("emit"):
        artefact = emitted(draft, planned, recipe)
        artefact = artefact.with_(metadata={**artefact.metadata, **_provenance(request, planned, dataset)})
    with staged(place.folder) as folder:
        path = folder / place.artefact.name
        with stages.stage("write") as progress:
            files = save(artefact, path, progress)
        result = replace(_prove(request, planned, path, artefact, dataset, stages), algorithms=steps)
        measured = _measure(request, planned, path, artefact, dataset, stages)
        share = result.readback.integer_macs if result.readback else planned.plan.prediction.integer_share
        gates, failures = judge(recipe.gates, measured, share)
        stages.note(*failures)
        record = make_record(request.recipe, planned, dataset, draft.activations, result, measured, gates, stages, request.model, request.data)
        return _publish(record, files, place, folder)


# --- data --------------------------------------------------------------------------------------------------------------


def _open_data(request: Request, planned: Planned, stages: Stages) -> Dataset | None:
    if request.data is None:
        if planned.plan.taps:
            raise fail("D001", f"this plan has {len(planned.plan.taps)} tensors whose ranges come from data, and no dataset was given", None, "give a folder with `-d`, or use `mode: dynamic`")
        return None
    graph = planned.original
    with stages.stage("data"):
        dataset = open_dataset(request.data, {name: graph.type_of(name) for name in graph.feeds}, request.recipe.dataset, request.base_dir)
    stages.note(*dataset.diagnostics)
    return dataset


def _check_rewrites(request: Request, planned: Planned, dataset: Dataset | None, stages: Stages) -> None:
    """Prove on calibration data that canonicalization changed nothing.

    Raises:
        QConvertError: V006.
    """
    if dataset is None or not planned.canonical.applied:
        return
    with stages.stage("check rewrites"), opened(planned.original, Options(optimize=False), where=request.model) as before, opened(planned.graph, Options(optimize=False)) as after:
        compared = Comparison()
        for sample in dataset.calibration.take(2):
            compared.add(before.run(sample.feed), after.run(sample.feed))
    found = compared.result("calibration").sqnr_db
    if found < _SAME_DB:
        rules = ", ".join(applied.rule for applied in planned.canonical.applied)
        raise fail("V006", f"canonicalization changed the outputs: {found:.1f} dB", rules, "please report this model; `placement` and other settings cannot help")


# --- calibration -------------------------------------------------------------------------------------------------------


def _calibrate(request: Request, planned: Planned, dataset: Dataset | None, stages: Stages) -> Mapping[str, Sketch]:
    if dataset is None:
        return {}
    observers = {name: (Sketcher(),) for name in planned.plan.taps}
    watch = Watch()
    if observers:
        with stages.stage("calibrate") as progress:
            total = len(dataset.calibration)
            collect(planned.graph, watch(dataset.calibration), observers, request.threads, lambda done: progress(done, total))
    else:
        for _ in watch(dataset.calibration.take(PROOF_SAMPLES)):
            pass
    stages.note(*watch.judge())
    return {name: watching[0].result() for name, watching in observers.items()}


def _provenance(request: Request, planned: Planned, dataset: Dataset | None) -> dict[str, str]:
    """Where the artefact comes from; no time and no path, so that equal inputs give equal bytes."""
    found = {
        "qconvert.version": __version__,
        "qconvert.model_sha256": sha256(*model_files(request.model, planned.original)),
        "qconvert.recipe_sha256": hashlib.sha256(dump(request.recipe).encode()).hexdigest(),
        "qconvert.target": request.recipe.target,
    }
    return found if dataset is None else {**found, "qconvert.data_sha256": dataset.calibration.digest()}


# --- proof and measurement ---------------------------------------------------------------------------------------------


def _prove(request: Request, planned: Planned, path: Path, artefact: Graph, dataset: Dataset | None, stages: Stages) -> Result:
    """Load and run the file as the target names it, check its rules, and read back what really runs.

    Raises:
        QConvertError: V001 to V005, V007.
    """
    target = planned.target
    feeds = _feeds(dataset)
    with stages.stage("prove"):
        proofs, found = prove(planned.original, path, target, feeds, _floor_db(planned.plan))
        lint = check(artefact, target)
        _raise_errors([*found, *_as_failures(lint)])
        readback = read_back(path, planned.graph, planned.plan) if target.deployed_here else None
    stages.note(*found, *(d for d in lint if d.severity is not Severity.ERROR), *(findings(readback) if readback else ()))
    return Result(proofs, readback)


def _feeds(dataset: Dataset | None) -> list[Feed]:
    return [sample.feed for sample in islice(dataset.calibration, PROOF_SAMPLES)] if dataset is not None else []


def _floor_db(plan: Plan) -> float:
    """Output SQNR below which something must be broken: 8 bits give about 40 dB a layer, and noise adds up over layers.

    Twenty dB are left for unfortunate ranges.
    """
    layers = sum(1 for p in plan.nodes.values() if p.macs and p.kind.value in ("integer", "dynamic"))
    return float(max(0.0, 20.0 - 10.0 * np.log10(max(layers, 1))))


def _as_failures(lint: tuple[Diagnostic, ...]) -> list[Diagnostic]:
    return [Diagnostic("V007", f"{d.message} [{d.code}]", d.where, d.hint) for d in lint if d.severity is Severity.ERROR]


def _raise_errors(found: list[Diagnostic]) -> None:
    errors = [d for d in found if d.severity is Severity.ERROR]
    if errors:
        raise QConvertError(errors)


def _measure(request: Request, planned: Planned, path: Path, artefact: Graph, dataset: Dataset | None, stages: Stages) -> Measurements:
    recipe, size = request.recipe, measure_size(model_files(request.model), model_files(path))
    if dataset is None or not request.evaluate:
        return Measurements(size=size)
    samples = dataset.evaluation or dataset.calibration
    deployed = next(s for s in planned.target.sessions if s.deployed)
    options = Options(deployed.optimize, request.threads, deployed.config)
    with stages.stage("evaluate") as progress:
        float_session = Session(request.model, Options(threads=request.threads), where=request.model)
        evaluated = evaluate(float_session, Session(path, options, "V002", path), samples, recipe.evaluation.metric, request.base_dir, progress=progress)
    _raise_errors(list(evaluated.diagnostics))
    stages.note(*evaluated.diagnostics)
    return Measurements(
        fidelity=evaluated.fidelity,
        metrics=evaluated.metrics,
        size=size,
        latency=_latency(request, planned, path, samples, stages),
        layers=_layers(request, planned, artefact, samples, stages),
    )


def _latency(request: Request, planned: Planned, path: Path, samples: Samples, stages: Stages) -> Latency | None:
    settings, target = request.recipe.evaluation, planned.target
    if not settings.latency or not target.deployed_here:
        return None
    with stages.stage("latency"):
        options = Options(threads=settings.threads)
        feed = next(iter(samples)).feed
        found = measure_latency(Session(request.model, options), Session(path, options), feed, on_target=platform.machine() in target.hosts, threads=settings.threads, rounds=settings.rounds)
    if not found.on_target:
        stages.note(Diagnostic("V102", f"latency was measured on {found.host}, which is not the target", None, "run the file on the target", Severity.NOTE))
    if found.ratio < 1:
        stages.note(_slower(planned.plan, found.ratio))
    return found


def _slower(plan: Plan, ratio: float) -> Diagnostic:
    """The warning that names what loses and the rule that would leave it float."""
    losing = sorted((p.integer_ns - p.float_ns, name) for name, p in plan.nodes.items() if p.kind.value == "integer" and p.integer_ns > p.float_ns)[-3:]
    names = ", ".join(f'"{name}"' for _, name in reversed(losing))
    hint = f"rules: [{{match: {{name: [{names}]}}, set: {{keep: float}}}}]" if names else "keep the FP32 model for this host"
    return Diagnostic("V100", f"the result is slower than FP32 on this host: {ratio:.2f}x", None, hint, Severity.WARNING)


def _layers(request: Request, planned: Planned, artefact: Graph, samples: Samples, stages: Stages) -> tuple[Layer, ...]:
    if not request.recipe.evaluation.layers or not planned.plan.tensors:
        return ()
    with stages.stage("layers") as progress:
        values = dequantized_values(artefact, planned.plan.tensors)
        return layer_errors(planned.graph, artefact, values, samples, shapes=planned.plan.shapes, threads=request.threads, progress=progress)


# --- publication -------------------------------------------------------------------------------------------------------


def _publish(record: RunRecord, files: list[Path], place: Destination, folder: Path) -> RunRecord:
    """Name the outputs, write the report beside them, and rename everything into place, the model last."""
    accepted = record.status == "done"
    model = place.artefact if accepted else place.rejected
    targets = [model, *(model.with_name(f.name) for f in files[1:])]
    outputs = tuple(OutputInfo(path=str(t), bytes=f.stat().st_size, sha256=sha256(f)) for f, t in zip(files, targets, strict=True))
    final = record.model_copy(update={"outputs": outputs})
    report = folder / place.report.name
    report.write_text(final.model_dump_json(indent=1) + "\n", encoding="utf-8")
    stale = [place.rejected, place.rejected.with_name(place.rejected.name + ".data")] if accepted else []
    publish([*zip(files[1:], targets[1:], strict=True), (report, place.report), (files[0], model)], stale)
    return final
