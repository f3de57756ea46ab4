"""The models of the benchmark, where they lie, and what is expected of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from qconvert.data import Dataset, Sample, open_dataset
from qconvert.graph import load
from qconvert.pipeline.asked import Asked
from qconvert.pipeline.request import Request
from qconvert.pipeline.resolve import request_of

from .metrics import models_folder

REPOSITORY = Path(__file__).resolve().parents[2]
OUT = REPOSITORY / "out" / "bench"
RECIPES = Path(__file__).resolve().parent / "recipes"


@dataclass(frozen=True)
class Goal:
    """What a result should reach with the untouched preset.

    Attributes:
        sqnr_db: least output SQNR.
        rival_db: the best that another tool reached in integer execution with its own settings.
        drop: largest drop by name of the figure, in its own unit.
        speedup: least FP32 time / time of the result.
        integer_macs: least share of the multiply-accumulates in integer kernels.
    """

    sqnr_db: float | None = None
    rival_db: float | None = None
    drop: Mapping[str, float] = field(default_factory=dict, hash=False)
    speedup: float | None = None
    integer_macs: float | None = None


@dataclass(frozen=True)
class Case:
    """One model with its data.

    Attributes:
        data: folder of the samples.
        peer: how onnxruntime's quantizer is used: static (Q/DQ, u8 activations, s8 weights per channel, min-max, on the
            model with BatchNormalization folded) or dynamic (per channel).
        micro: small enough for a microcontroller.
    """

    name: str
    data: str
    peer: Literal["static", "dynamic"] = "static"
    goal: Goal = Goal()
    micro: bool = False

    @property
    def model(self) -> Path:
        """The FP32 model."""
        return models_folder() / self.name / "model.onnx"

    @property
    def folder(self) -> Path:
        """The dataset."""
        return models_folder() / self.data

    @property
    def recipe(self) -> Path:
        """Preprocessing, labels and metric on top of the preset."""
        return RECIPES / f"{self.name}.yaml"

    @property
    def missing(self) -> Path | None:
        """What is absent on this machine."""
        return next((path for path in (self.model, self.folder) if not path.exists()), None)

    def request(self, output: Path, changes: Mapping[str, Any] | None = None, cache: Path | None = None) -> Request:
        """The request that the command line would make."""
        return request_of(Asked(self.model, output, self.folder, self.recipe, (), changes or {}, cache=cache))[0]

    def dataset(self) -> Dataset:
        """The samples as qconvert reads them."""
        request, graph = self.request(OUT / "unused.onnx"), load(self.model)
        inputs = {name: graph.type_of(name) for name in graph.feeds}
        return open_dataset(self.folder, inputs, request.recipe.dataset, request.base_dir)

    def evaluation(self) -> list[Sample]:
        """The evaluation samples, in memory."""
        return list(self.dataset().evaluation or ())


CASES = (
    Case(
        "mlperf_tiny_resnet8_cifar10",
        "data_cifar10",
        goal=Goal(29.0, 25.3, {"top1": 0.005}, 1.75, 0.95),
        micro=True,
    ),
    Case(
        "mlperf_tiny_kws_dscnn",
        "mlperf_tiny_kws_dscnn",
        goal=Goal(26.0, 24.7, {"top1": 0.01}, 1.2, 0.95),
        micro=True,
    ),
    Case(
        "mobilenetv1_025_imagenet",
        "data_imagenet",
        goal=Goal(21.0, 11.1, {"top1": 0.01}, 1.1, 0.95),
    ),
    Case(
        "mobilenetv2_100_flowers",
        "data_flowers",
        goal=Goal(22.3, 18.2, {"top1": 0.01}, 2.0, 0.95),
    ),
    Case(
        "all_minilm_l6_v2_sts",
        "all_minilm_l6_v2_sts",
        "dynamic",
        Goal(21.0, 18.2, {"spearman": 0.0025}, 2.4),
    ),
    Case(
        "yolox_nano_coco",
        "data_coco",
        goal=Goal(16.0, None, {"mAP": 0.01}, 1.0),
    ),
    Case(
        "stories260k_llm",
        "stories260k_llm",
        "dynamic",
        Goal(drop={"perplexity": 0.06}),
    ),
    Case("magika_v3_3", "magika_v3_3", goal=Goal(drop={"top1": 0.01})),
    Case("fsrcnn_x3", "data_coco"),
)
