"""Any number of models side by side on one dataset: scores, fidelity, size and times."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from .. import __version__
from ..data import Dataset, Samples, open_dataset
from ..data.samples import choose
from ..errors import Diagnostic, QConvertError, Severity, fail
from ..evaluate import Emulation, Evaluated, GateResult, Latency, evaluate_all, measure_latencies
from ..evaluate.conditions import MEASURED, Condition, judge_conditions, parse_conditions
from ..graph import Graph
from ..recipe import Recipe
from ..report.evaluation import EvaluatedModel, Evaluation, EvaluationData, short_names
from ..report.record import Problem
from ..runtime import Feed, Runnable, assumed_inputs, host_name, synthetic_feed
from ..runtime.emulator import Core
from ..runtime.timing import Run
from .drafting.data import raw_images
from .events import Listener, Stages, silent
from .measuring.emulation import EMULATED_SAMPLES, cores_named, on_cores
from .measuring.pictures import with_pictures
from .models.fitting import Fitted, fitted
from .models.runners import Runner, open_runner


@dataclass(frozen=True)
class EvaluationRequest:
    """What to evaluate.

    Attributes:
        models: ONNX or .tflite files.
        reference: number of the model that the others are compared with.
        recipe: whose `dataset` and `evaluation` are used; base_dir: where its paths start.
        conditions: see `evaluate.conditions`.
        on: cores, or groups of them, on which the models are run under emulation too.
    """

    models: tuple[Path, ...]
    recipe: Recipe
    reference: int = 0
    data: Path | None = None
    base_dir: Path = Path(".")
    threads: int = 1
    conditions: tuple[str, ...] = ()
    on: tuple[str, ...] = ()


def evaluate_models(request: EvaluationRequest, listener: Listener = silent) -> Evaluation:
    """Open the models, run them on the samples, time them interleaved.

    A failed condition is no exception: `status` says so.

    Raises:
        QConvertError: whatever is wrong with models, data or conditions.
    """
    conditions, stages = parse_conditions(request.conditions, MEASURED), Stages(listener)
    cores = cores_named(request.on)
    with ExitStack() as stack:
        runners = []
        for path in request.models:
            runners.append(open_runner(path, request.threads))
            stack.callback(runners[-1].close)
        reference = runners[request.reference]
        samples, data = _samples(request, reference, stages)
        feed = next(iter(samples)).feed if samples is not None else made_up(reference)
        models = _fit(runners, reference, feed, stages)
        scores = _scores(request, models, samples, stages)
        times, untimed = _times(request, models, feed, stages)
        feeds = [feed] if samples is None else [sample.feed for sample in islice(samples, EMULATED_SAMPLES)]
        elsewhere = [_elsewhere(runner, reference, cores, feeds, stages) for runner in runners]
    names = [str(path) for path in request.models]
    found = tuple(
        _model(
            n,
            name,
            runners[n],
            scores.get(name),
            times.get(name),
            untimed.get(name, ""),
            samples,
            request,
            elsewhere[n],
        )
        for n, name in enumerate(_keys(names))
    )
    gates = _judge(request, found, conditions, stages)
    return Evaluation(
        tool_version=__version__,
        status="done" if all(gate.passed for gate in gates) else "gates failed",
        reference=request.reference,
        models=found,
        data=data,
        gates=gates,
        diagnostics=tuple(Problem.of(d) for d in stages.diagnostics),
        host=f"{host_name()}, {platform.system()} {platform.machine()}",
    )


def _keys(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{n}:{name}" for n, name in enumerate(names))


def _samples(
    request: EvaluationRequest, reference: Runner, stages: Stages
) -> tuple[Samples | None, EvaluationData | None]:
    if request.data is None:
        return None, None
    with stages.stage("data"):
        settings = request.recipe.dataset
        dataset = open_dataset(request.data, dict(reference.inputs), settings, request.base_dir)
        samples = judging(dataset, settings.evaluation_samples, settings.seed)
    notes = (d for d in dataset.diagnostics if d.code != "D100" or dataset.evaluation is not None)
    stages.note(*notes, *raw_images(dataset, settings))
    info = EvaluationData(
        folder=str(request.data), samples=len(samples), labelled=samples.has_labels, digest=samples.digest()
    )
    return samples, info


def judging(dataset: Dataset, count: int | None, seed: int) -> Samples:
    """The samples to judge by: the evaluation part, or, where a folder has no parts, all of it.

    Raises:
        QConvertError: D004 and others for samples that cannot be used.
    """
    if dataset.evaluation is not None:
        return dataset.evaluation
    whole = dataset.calibration
    total = sum(source.rows for source in whole.sources)
    found = replace(whole, part="evaluation", chosen=choose(total, count, seed, whole.batch, whole.unit))
    if mistakes := found.check():
        raise QConvertError(mistakes)
    return found


def made_up(runner: Runner) -> Feed:
    """Ones of the inputs' types, open dimensions as `plan` assumes them."""
    graph = Graph((), tuple(runner.inputs), (), {}, dict(runner.inputs))
    return synthetic_feed(assumed_inputs(graph, {}))


def _fit(runners: Sequence[Runner], reference: Runner, feed: Feed, stages: Stages) -> dict[str, Runner | Fitted]:
    keys = _keys([str(r.path) for r in runners])
    models: dict[str, Runner | Fitted] = {}
    mistakes: list[Diagnostic] = []
    for key, runner in zip(keys, runners, strict=True):
        if runner is reference:
            models[key] = runner
            continue
        try:
            models[key], notes = fitted(runner, reference, feed)
            stages.note(*notes)
        except QConvertError as error:
            mistakes.extend(error.diagnostics)
    if mistakes:
        raise QConvertError(mistakes)
    return models


def _scores(
    request: EvaluationRequest, models: Mapping[str, Runnable], samples: Samples | None, stages: Stages
) -> dict[str, Evaluated]:
    if samples is None:
        return {}
    reference = list(models.values())[request.reference]
    with stages.stage("evaluate") as progress:
        found = evaluate_all(
            reference, models, samples, request.recipe.evaluation.metric, request.base_dir, progress=progress
        )
    for each in found.values():
        stages.note(*(_softened(d) for d in each.diagnostics))
    return found


def _softened(found: Diagnostic) -> Diagnostic:
    """Models are only looked at here: one that is not finite is worth a warning, and the other figures."""
    return replace(found, severity=Severity.WARNING) if found.severity is Severity.ERROR else found


def _times(
    request: EvaluationRequest, models: Mapping[str, Runner | Fitted], feed: Feed, stages: Stages
) -> tuple[dict[str, Latency], dict[str, str]]:
    """Latencies, and why some models have none."""
    if not request.recipe.evaluation.latency:
        return {}, {}
    with stages.stage("latency"):
        timers = {key: model.timer(feed) for key, model in models.items()}
        why = {
            key: "its interpreter here has no kernels that tell about speed" for key, t in timers.items() if t is None
        }
        runs: dict[str, Run] = {key: timer for key, timer in timers.items() if timer is not None}
        reference = list(models)[request.reference]
        if reference not in runs:
            return {}, {**why, **dict.fromkeys(runs, "the reference was not timed")}
        rounds = request.recipe.evaluation.rounds
        return measure_latencies(runs, reference, threads=request.threads, rounds=rounds), why


def _model(
    number: int,
    key: str,
    runner: Runner,
    scored: Evaluated | None,
    latency: Latency | None,
    untimed: str,
    samples: Samples | None,
    request: EvaluationRequest,
    emulated: tuple[Emulation, ...],
) -> EvaluatedModel:
    itself = number == request.reference
    shown = None
    if scored is not None and samples is not None and not itself:
        shown = with_pictures(scored.examples, samples, scored.candidates)
    return EvaluatedModel(
        name=str(request.models[number]),
        runtime=runner.runtime,
        bytes=runner.bytes,
        fidelity=scored.fidelity if scored and not itself else None,
        metrics=scored.metrics if scored else (),
        latency=latency,
        timed_in=runner.timed_in if latency else "",
        untimed=untimed,
        examples=shown,
        emulated=emulated,
    )


def _elsewhere(
    runner: Runner, reference: Runner, cores: Sequence[Core], feeds: Sequence[Feed], stages: Stages
) -> tuple[Emulation, ...]:
    """The model on other cores; only what onnxruntime runs on the reference's own inputs."""
    if not cores or runner is reference:
        return ()
    alike = dict(runner.inputs).keys() == dict(reference.inputs).keys() and runner.outputs == reference.outputs
    if runner.runtime != "onnxruntime" or reference.runtime != runner.runtime or not alike:
        text = "not emulated: the names of its inputs or outputs, or its runtime, are not those of the reference"
        stages.note(Diagnostic("V104", text, str(runner.path), severity=Severity.WARNING))
        return ()
    return on_cores(cores, reference.path, runner.path, runner, feeds, stages)


def _judge(
    request: EvaluationRequest, models: Sequence[EvaluatedModel], conditions: Sequence[Condition], stages: Stages
) -> tuple[GateResult, ...]:
    """Every condition on every model but the reference, and on that where it stands alone."""
    gates: list[GateResult] = []
    names = short_names([m.name for m in models])
    for number, subject in _judged(models, request.reference):
        values = figures_of(subject, models[request.reference])
        for gate, failure in judge_conditions(conditions, MEASURED, values, f"`{names[number]}`"):
            gates.append(gate)
            stages.note(*((failure,) if failure else ()))
    return tuple(gates)


def _judged(models: Sequence[EvaluatedModel], reference: int) -> Iterator[tuple[int, EvaluatedModel]]:
    return ((n, m) for n, m in enumerate(models) if n != reference or len(models) == 1)


def figures_of(model: EvaluatedModel, reference: EvaluatedModel) -> dict[str, float | None]:
    """What conditions can speak of, None where it was not measured."""
    close, latency, first = model.fidelity, model.latency, next(iter(model.metrics), None)
    return {
        **{m.name: m.value for m in model.metrics},
        "metric": first.value if first else None,
        "metric_drop": max((m.drop for m in model.metrics), default=None),
        "sqnr": close.sqnr_db if close else None,
        "cosine": close.cosine if close else None,
        "agreement": close.agreement if close else None,
        "size": float(model.bytes),
        "size_ratio": reference.bytes / model.bytes if model.bytes else None,
        "latency": latency.ms if latency else None,
        "speedup": latency.ratio if latency else None,
    }


def reference_number(models: Sequence[Path], reference: Path | None) -> int:
    """Which of the models is the reference: the first, or the one named.

    Raises:
        QConvertError: R011 where it is not among them.
    """
    if reference is None:
        return 0
    if reference not in models:
        names = ", ".join(map(str, models))
        raise fail("R011", f"the reference is not one of the models: {reference}", None, f"one of {names}")
    return list(models).index(reference)
