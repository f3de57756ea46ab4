"""What is measured on a proven file: accuracy, size, latency by operator, and the error of every layer."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...data import Dataset, Samples
from ...errors import Diagnostic, Severity
from ...evaluate import (
    Latency,
    Layer,
    Measurements,
    Metric,
    Profile,
    dequantized_values,
    evaluate,
    layer_errors,
    measure_latency,
    measure_operators,
    measure_size,
    model_files,
)
from ...graph import Graph
from ...optimize import Draft
from ...plan import Plan
from ...report.rows import operator_rows
from ...runtime import Options, Runnable, Session, available_memory, is_large_file
from ..drafting.forms import Form
from ..events import Stages
from ..planning import Planned
from ..request import Request
from ..storage.cached_outputs import float_outputs
from .emulation import emulations
from .pictures import with_pictures
from .proof import raise_errors

_MEMORY_MARGIN = 1.25  # weights in the kernels' own layout, and activations
_SLOWER = 0.97  # closer to 1 is noise
_TOLD = 3  # kinds of operators, and layers, that a warning names
_GUESSING = 1.5  # times the accuracy of a coin with as many sides as there are classes
_LAYER_SAMPLES = 4  # errors by layer differ by 20 dB and more, a few samples show that


@dataclass(frozen=True, eq=False)
class Made:
    """A product with the form that knows how to run it and the draft that it was made from."""

    form: Form
    product: Any
    draft: Draft


def measure(
    request: Request, planned: Planned, path: Path, made: Made, dataset: Dataset | None, stages: Stages
) -> Measurements:
    """Accuracy on the evaluation part (the calibration part where there is none), size, latency, error by layer.

    Raises:
        QConvertError: V003 where the result is not finite, R012 and D009 for the task metric.
    """
    recipe, size = request.recipe, measure_size(model_files(request.model), model_files(path))
    if dataset is None or not request.evaluate:
        return Measurements(size=size)
    samples = dataset.evaluation or dataset.calibration
    runner = made.form.open(path, made.product, planned, request.threads)
    if runner is None:
        return Measurements(size=size)
    with closing(runner):
        with (
            stages.stage("evaluate") as progress,
            _float_model(request, planned, samples, stages) as float_session,
        ):
            evaluated = evaluate(
                float_session, runner, samples, recipe.evaluation.metric, request.base_dir, progress=progress
            )
        emulated = emulations(recipe, planned.target, request.model, path, runner, samples, stages)
    raise_errors(list(evaluated.diagnostics))
    stages.note(*evaluated.diagnostics, *_at_chance(evaluated.metrics, planned.original))
    latency = _latency(request, planned, path, samples, stages)
    return Measurements(
        fidelity=evaluated.fidelity,
        metrics=evaluated.metrics,
        size=size,
        latency=latency,
        layers=_layers(request, planned, made, samples, stages),
        profile=_profile(request, planned, path, samples, latency, stages),
        examples=with_pictures(evaluated.examples, samples, evaluated.candidates, dataset.classes),
        emulated=emulated,
    )


@contextmanager
def _float_model(request: Request, planned: Planned, samples: Samples, stages: Stages) -> Iterator[Runnable]:
    """The FP32 model, of which a cache keeps the outputs."""
    if request.cache is None:
        yield Session(request.model, Options(threads=request.threads), where=request.model)
        return
    found = float_outputs(request.model, planned.lifted.source, samples, request.threads, request.cache)
    yield found
    found.keep()
    stages.note(*request.cache.notes())


def _latency(request: Request, planned: Planned, path: Path, samples: Samples, stages: Stages) -> Latency | None:
    settings, target = request.recipe.evaluation, planned.target
    if not settings.latency or not target.runtime.at_hand:
        return None
    if (missing := _memory_missing(request.model, path)) is not None:
        stages.note(missing)
        return None
    with stages.stage("latency"):
        options = Options(threads=settings.threads, prepack=True)
        feed = next(iter(samples)).feed
        found = measure_latency(
            Session(request.model, options),
            Session(path, options),
            feed,
            on_target=platform.machine() in target.runtime.hosts,
            threads=settings.threads,
            rounds=settings.rounds,
        )
    if not found.on_target:
        stages.note(
            Diagnostic(
                "V102",
                f"latency was measured on {found.host}, which is not the target",
                None,
                "run the file on the target",
                Severity.NOTE,
            )
        )
    return found


def _memory_missing(before: Path, after: Path) -> Diagnostic | None:
    """Why two large models cannot be timed: as deployed, the runtime holds the weights of both in memory."""
    if not (is_large_file(before) or is_large_file(after)):
        return None
    wanted, found = sum(f.stat().st_size for m in (before, after) for f in model_files(m)), available_memory()
    if found is None or wanted * _MEMORY_MARGIN <= found:
        return None
    text = f"latency was not measured: both models together take {wanted / 1e9:.1f} GB in memory, {found / 1e9:.1f} GB are free"
    return Diagnostic("V108", text, None, "measure it on a machine with more memory", Severity.NOTE)


def _profile(
    request: Request, planned: Planned, path: Path, samples: Samples, latency: Latency | None, stages: Stages
) -> Profile | None:
    if latency is None:
        return None
    with stages.stage("profile"):
        options = Options(threads=request.recipe.evaluation.threads, prepack=True)
        found = measure_operators(request.model, path, options, next(iter(samples)).feed, latency)
    if latency.on_target and latency.ratio < _SLOWER and planned.plan.prediction.integer_macs:
        stages.note(_slower(planned.plan, latency.ratio, found))
    return found


def _slower(plan: Plan, ratio: float, profile: Profile) -> Diagnostic:
    """The warning that says where the time goes, and what would leave it float."""
    grown = sorted((row for row in operator_rows(profile) if row.us > row.float_us), key=lambda r: r.float_us - r.us)
    where = ", ".join(f"{row.family} {row.float_us / 1e3:.2f} -> {row.us / 1e3:.2f} ms" for row in grown[:_TOLD])
    losing = sorted(
        (p.integer_ns - p.float_ns, name)
        for name, p in plan.nodes.items()
        if p.kind.value == "integer" and p.integer_ns > p.float_ns
    )[-_TOLD:]
    names = ", ".join(f'"{name}"' for _, name in reversed(losing))
    return Diagnostic(
        "V100",
        f"the result is slower than FP32 on this host: {ratio:.2f}x" + (f"; longer take {where}" if where else ""),
        None,
        f"rules: [{{match: {{name: [{names}]}}, set: {{keep: float}}}}]"
        if names
        else "`qconvert tune --min-speedup 1` looks for what to leave float; else keep the FP32 model for this host",
        Severity.WARNING,
    )


def _layers(request: Request, planned: Planned, made: Made, samples: Samples, stages: Stages) -> tuple[Layer, ...]:
    if not request.recipe.evaluation.layers or not (planned.plan.tensors or planned.plan.watched):
        return ()
    with stages.stage("layers") as progress:
        artefact = made.form.graph(made.product, made.draft, planned, request.recipe)
        rounded = {name: name for name in planned.plan.watched if name in artefact.producer}
        values = {**rounded, **dequantized_values(artefact, planned.plan.tensors)}
        return layer_errors(
            made.draft.reference,
            artefact,
            values,
            samples,
            shapes=planned.plan.shapes,
            count=_LAYER_SAMPLES,
            threads=request.threads,
            progress=progress,
        )


def _at_chance(metrics: tuple[Metric, ...], graph: Graph) -> tuple[Diagnostic, ...]:
    """D107 where the FP32 model is not clearly better than guessing."""
    shape = graph.type_of(graph.outputs[0]).shape if graph.outputs else None
    classes = shape[-1] if shape else None
    found = next((m for m in metrics if m.name in ("top1", "accuracy")), None)
    if found is None or not isinstance(classes, int) or classes < 3 or found.float_value * classes >= _GUESSING:
        return ()
    text = f"the FP32 model has {found.name} {found.float_value:.1%} on {found.samples} samples of {classes} classes, which is chance"
    return (
        Diagnostic("D107", text, None, "check `dataset.preprocess` and the order of the classes", Severity.WARNING),
    )
