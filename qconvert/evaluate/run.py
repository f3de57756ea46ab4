"""One pass over the evaluation samples: fidelity and task metrics of results against the FP32 model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..data import Sample
from ..data.samples import Samples
from ..errors import Diagnostic, Severity, fail
from ..graph import Array
from ..runtime import Runnable
from .examples import Candidate, Watched
from .fidelity import Comparison
from .metrics import METRICS, Pair, default_metric
from .model import Examples, Fidelity, Metric
from .outputs import arrays, is_float, judged
from .userfunc import load_metric, user_metrics

EXAMPLES = 16  # labels that are looked at to find the default metric
Progress = Callable[[int, int], None]


class Evaluated(NamedTuple):
    """What one evaluation found."""

    fidelity: Fidelity
    metrics: tuple[Metric, ...]
    diagnostics: tuple[Diagnostic, ...]
    examples: Examples
    candidates: tuple[Candidate, ...]


def evaluate(
    float_session: Runnable,
    session: Runnable,
    samples: Samples,
    metrics: str | Sequence[str] | None,
    base_dir: Path,
    *,
    progress: Progress | None = None,
) -> Evaluated:
    """Run every sample once through both models; see `evaluate_all`."""
    return evaluate_all(float_session, {"result": session}, samples, metrics, base_dir, progress=progress)["result"]


def evaluate_all(
    reference: Runnable,
    others: Mapping[str, Runnable],
    samples: Samples,
    metrics: str | Sequence[str] | None,
    base_dir: Path,
    *,
    progress: Progress | None = None,
) -> dict[str, Evaluated]:
    """Run every sample once through each model; functions of the user take a pass of their own for each.

    Args:
        others: what is compared with the reference; the reference itself may be among them and is not run twice.
        metrics: keys of METRICS and `file.py:function`; None picks a metric by the labels, if there are any.
        base_dir: folder of the recipe, where paths of functions start.
        progress: called with (model runs done, model runs in all).

    Returns:
        For each of the others fidelity, metrics in the order asked for, and diagnostics: D103 (measured on calibration data),
        D009 as a note (labels without a fitting metric) and V003 as an error (the result is not finite where FP32 is).

    Raises:
        QConvertError: R012 (function of the user), D009 (labels do not fit to a metric), M009 (a model does not run), M013
            (NaN from the reference), and the errors of the data.
    """
    names = list(dict.fromkeys([metrics] if isinstance(metrics, str) else metrics or ()))
    functions = {name: load_metric(name, base_dir) for name in names if name not in METRICS}
    built_in, runs = [name for name in names if name in METRICS], 1 + sum(s is not reference for s in others.values())
    passes = {key: _Pass(samples, built_in, metrics is None) for key in others}
    tick = _ticker(progress, runs * len(samples) * (1 + len(functions)))
    for sample in samples:
        expected = reference.run(sample.feed)
        tick()
        for key, session in others.items():
            passes[key].add(sample, expected, expected if session is reference else session.run(sample.feed))
            if session is not reference:
                tick()
    users = user_metrics(functions, reference, others, samples, tick)
    return {
        key: Evaluated(
            each.comparison.result(samples.part),
            _in_order(names, each.metrics(), users[key]),
            (*_part_note(samples), *each.diagnostics),
            *each.examples.result(),
        )
        for key, each in passes.items()
    }


def _ticker(progress: Progress | None, total: int) -> Callable[[], None]:
    done = iter(range(1, total + 1))

    def tick() -> None:
        count = next(done, total)
        if progress is not None:
            progress(count, total)

    return tick


def _part_note(samples: Samples) -> tuple[Diagnostic, ...]:
    if samples.part != "calibration":
        return ()
    text = "fidelity is measured on the samples that also set the ranges"
    return (Diagnostic("D103", text, None, "add a sub-folder `eval/` to the dataset", Severity.WARNING),)


def _in_order(
    names: Sequence[str], built_in: Mapping[str, Metric], users: Mapping[str, tuple[Metric, ...]]
) -> tuple[Metric, ...]:
    """Metrics in the order of the recipe; one that was picked by default stands alone."""
    order = names or list(built_in)
    found = tuple(m for name in order for m in (users[name] if name in users else (built_in[name],)))
    twice = [name for name, count in Counter(m.name for m in found).items() if count > 1]
    if twice:
        raise fail(
            "R012",
            f"two metrics have the same name: {', '.join(twice)}",
            None,
            "rename a function or the names it returns",
        )
    return found


class _Pass:
    """What the pass over the samples adds up."""

    def __init__(self, samples: Samples, names: Sequence[str], pick: bool) -> None:
        if names and not samples.has_labels:
            text = f"{', '.join(names)} needs labels, and the {samples.part} part has none"
            raise fail("D009", text, None, "give labels (`dataset.labels`), or measure without `evaluation.metric`")
        self.comparison, self.examples = Comparison(), Watched(labelled=not pick)
        self._pairs: dict[str, Pair] = {name: METRICS[name].start() for name in names}
        self._samples, self._pick = samples, pick and samples.has_labels
        self._notes: list[Diagnostic] = []
        self._broken: str | None = None

    def add(self, sample: Sample, reference: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
        """Take in one sample."""
        self._check_finite(sample.id, arrays(reference), outputs)
        self.comparison.add(reference, outputs)
        self.examples.add(sample, reference, outputs)
        if self._pick:
            self._choose(reference)
        self._judge(sample, reference, outputs)

    def _judge(self, sample: Sample, reference: Mapping[str, Any], outputs: Mapping[str, Any]) -> None:
        if not self._pairs:
            return
        found = judged(reference)
        if found is None:
            raise fail(
                "D009", "no metric can be computed: the model has no numeric output", None, "remove `evaluation.metric`"
            )
        for pair in self._pairs.values():
            pair.add(found[1], outputs[found[0]], sample.label, sample.id)

    def _choose(self, reference: Mapping[str, Any]) -> None:
        """Pick the default metric once, by some labels and the first outputs."""
        self._pick = False
        choice = default_metric([s.label for s in self._samples.take(EXAMPLES)], reference)
        if choice.name is not None:
            self._pairs = {choice.name: METRICS[choice.name].start()}
            return
        hint = "name one in `evaluation.metric`, or write one as `file.py:function`"
        self._notes.append(Diagnostic("D009", choice.reason, None, hint, Severity.NOTE))

    def _check_finite(self, where: str, reference: Mapping[str, Array], outputs: Mapping[str, Any]) -> None:
        for name, array in reference.items():
            if not is_float(array):
                continue
            if np.isnan(array).any():
                raise fail(
                    "M013",
                    f"output `{name}` of the FP32 model holds NaN",
                    where,
                    "check the sample and its preprocessing",
                )
            if self._broken is None and np.isfinite(array).all() and not np.isfinite(outputs[name]).all():
                self._broken = f"output `{name}` holds NaN or infinity, that of FP32 does not: sample {where}"

    def metrics(self) -> dict[str, Metric]:
        """The metrics so far, by name."""
        return {name: pair.result(name) for name, pair in self._pairs.items()}

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """What a person should know."""
        return (*self._notes, *((Diagnostic("V003", self._broken),) if self._broken is not None else ()))
