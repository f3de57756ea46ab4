"""What one draft gives on the samples that judge: accuracy, latency and size."""

from __future__ import annotations

import platform
from contextlib import closing
from dataclasses import dataclass
from math import isnan
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ...data import Dataset, Samples
from ...errors import fail
from ...evaluate import Comparison, Evaluated, Fidelity, evaluate, measure_latency
from ...graph import serialize
from ...runtime import Options, Runnable, Session
from ...tune import Outcome
from ..drafting.forms import Form, form_of
from ..drafting.statistics import PROOF_SAMPLES
from ..events import Stages
from ..measuring.proof import floor_db
from ..request import Request
from ..storage.cached_outputs import Remembered
from .candidates import Built

_ROUNDS = 7  # of each timing that decides nothing


@dataclass(frozen=True, eq=False)
class Meter:
    """Measures drafts of one model.

    Attributes:
        reference: the FP32 model, which runs each sample once for all drafts.
        samples: by which drafts are judged; dataset: whose calibration part the proof of a conversion runs on.
        drop: something must be measured that can drop; speed: latency decides.
    """

    base: Request
    stages: Stages
    reference: Remembered
    dataset: Dataset
    samples: Samples
    drop: bool
    speed: bool

    def measure(self, built: Built) -> Outcome:
        """Everything about one draft.

        Raises:
            QConvertError: G002 where a drop is wanted and nothing can drop.
        """
        planned, form = built.planned, form_of(built.planned, built.recipe)
        product = form.emit(built.draft, planned, built.recipe, {})
        with TemporaryDirectory(prefix="qconvert-") as folder:
            path = Path(folder) / f"draft{planned.target.artefact.extension}"
            files = form.write(product, path, planned, lambda done, total: None)
            return self._outcome(built, form, form.written(product, path, planned), files)

    def _outcome(self, built: Built, form: Form, product: Any, files: list[Path]) -> Outcome:
        planned, prediction = built.planned, built.planned.plan.prediction
        with closing(self._runner(built, form, product, files[0])) as result:
            found = self._evaluated(built, result)
            refused = self._refusal(result, floor_db(planned.plan))
        self.reference.keep()
        drop, metric = self._drop(found)
        speed, milliseconds = self._latency(files[0], built)
        return Outcome(
            drop=drop,
            metric=metric,
            sqnr_db=found.fidelity.sqnr_db,
            ns=prediction.ns,
            speedup=prediction.speedup,
            measured_speedup=speed,
            milliseconds=milliseconds,
            bytes=sum(file.stat().st_size for file in files),
            integer_share=prediction.integer_share,
            refused=refused,
        )

    def _runner(self, built: Built, form: Form, product: Any, path: Path) -> Any:
        """What a conversion judges by; where nothing here can run the file, its numbers in onnxruntime."""
        runner = form.open(path, product, built.planned, self.base.threads)
        if runner is not None:
            return runner
        graph = form.graph(product, built.draft, built.planned, built.recipe)
        return Session(serialize(graph), Options(optimize=False, threads=self.base.threads), "V002", self.base.model)

    def _evaluated(self, built: Built, result: Runnable) -> Evaluated:
        metric, folder = built.recipe.evaluation.metric, self.base.base_dir
        with self.stages.stage("evaluate") as progress:
            return evaluate(self.reference, result, self.samples, metric, folder, progress=progress)

    def _drop(self, found: Evaluated) -> tuple[float | None, str]:
        """The worst drop of the task metrics and what it is of; without metrics, how often the arg-max is another one."""
        drops = [(metric.drop, metric.name) for metric in found.metrics if not isnan(metric.drop)]
        if drops:
            return max(drops)
        if found.fidelity.agreement is not None:
            return 1.0 - found.fidelity.agreement, "top-1 agreement with FP32"
        if self.drop:
            text = "nothing is measured that could drop: there are no labels with a metric, and no arg-max to agree on"
            raise fail("G002", text, None, "give labels, or ask for `--min-sqnr` instead")
        return None, "the task metric"

    def _refusal(self, result: Runnable, floor: float) -> str:
        """Why the proof would stop the conversion, "" where it would not."""
        compared = Comparison()
        for sample in self.dataset.calibration.take(PROOF_SAMPLES):
            compared.add(self.reference.run(sample.feed), result.run(sample.feed))
        worst = _worst(compared.result("calibration"), floor)
        if worst >= floor:
            return ""
        return f"SQNR of the worst output: {worst:.1f} dB, the formats imply at least {floor:.1f} dB"

    def _latency(self, path: Path, built: Built) -> tuple[float | None, float | None]:
        """Measured speed-up and milliseconds, where the target's runtime is at hand and they are wanted."""
        settings, target = built.recipe.evaluation, built.planned.target
        if not (settings.latency or self.speed) or not target.runtime.at_hand:
            return None, None
        options = Options(threads=settings.threads)
        with self.stages.stage("latency"):
            found = measure_latency(
                Session(self.base.model, options),
                Session(path, options),
                next(iter(self.samples)).feed,
                on_target=platform.machine() in target.runtime.hosts,
                threads=settings.threads,
                rounds=settings.rounds if self.speed else min(settings.rounds, _ROUNDS),
            )
        return found.ratio, found.ms


def _worst(found: Fidelity, otherwise: float) -> float:
    return min((float(output.sqnr_db) for output in found.outputs), default=otherwise)
