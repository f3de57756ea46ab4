"""Metrics and data preparation of the benchmark models, named by the recipes in `recipes/`.

A metric is a function of (sample id, inputs, outputs, label) tuples, as qconvert calls it. Here it is put together from
two: `units` reduces the samples to independent pieces of evidence, one an image, sentence pair or token, and `score` makes
the figures of any list of them. The benchmark draws units again and again for the interval of a difference.

True answers that do not lie in the samples are read from the folder of the models.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Array = NDArray[Any]
Judged = tuple[str, Mapping[str, Array], Mapping[str, Array], Any]


def models_folder() -> Path:
    """Folder of the benchmark models: $QCONVERT_MODELS, or `../shared/models` beside the repository."""
    named = os.environ.get("QCONVERT_MODELS")
    return Path(named) if named else Path(__file__).resolve().parents[3] / "shared" / "models"


@dataclass(frozen=True)
class UserMetric:
    """A metric that can be computed on any choice of its units.

    Attributes:
        higher_is_better: by name of the figures.
    """

    units: Callable[[Iterable[Judged]], list[Any]]
    score: Callable[[Sequence[Any]], dict[str, float]]
    higher_is_better: Mapping[str, bool]

    def __call__(self, samples: Iterable[Judged]) -> dict[str, float]:
        """The figures of all samples."""
        return self.score(self.units(samples))


def _only(outputs: Mapping[str, Array]) -> Array:
    return next(iter(outputs.values()))


# --- sentence pairs ----------------------------------------------------------------------------------------------------


def _pairs(samples: Iterable[Judged]) -> list[tuple[float, float]]:
    """Cosine and score of each pair; partners are half the samples apart."""
    rows = np.stack([_only(outputs)[0].astype(np.float64) for _, _, outputs, _ in samples])
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    half = len(rows) // 2
    cosines = np.sum(rows[:half] * rows[half:], axis=1)
    scores = np.load(models_folder() / "all_minilm_l6_v2_sts" / "scores.npz")["score"]
    return list(zip(cosines.tolist(), scores.tolist(), strict=True))


def spearman(a: Array, b: Array) -> float:
    """Correlation of the ranks, equal values sharing their mean rank."""
    return float(np.corrcoef(_ranks(a), _ranks(b))[0, 1])


def _ranks(values: Array) -> Array:
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts - 1) / 2)[which])


def _spearman(units: Sequence[tuple[float, float]]) -> dict[str, float]:
    table = np.array(units)
    return {"spearman": spearman(table[:, 0], table[:, 1])}


pair_spearman = UserMetric(_pairs, _spearman, {"spearman": True})


# --- next token --------------------------------------------------------------------------------------------------------


def _tokens(samples: Iterable[Judged]) -> list[tuple[float, bool]]:
    """Of every token but the first of its story: minus the log of its probability, and whether it was the most likely."""
    found: list[tuple[float, bool]] = []
    for _, inputs, outputs, _ in samples:
        tokens, logits = _only(inputs)[0, 1:], _only(outputs)[0, :-1].astype(np.float64)
        top = logits.max(axis=-1, keepdims=True)
        norm = np.log(np.exp(logits - top).sum(axis=-1)) + top[:, 0]
        loss = norm - logits[np.arange(len(tokens)), tokens]
        found += zip(loss.tolist(), (logits.argmax(axis=-1) == tokens).tolist(), strict=True)
    return found


def _prediction(units: Sequence[tuple[float, bool]]) -> dict[str, float]:
    table = np.array(units, dtype=np.float64)
    return {"perplexity": float(np.exp(table[:, 0].mean())), "next_token": float(table[:, 1].mean())}


next_token = UserMetric(_tokens, _prediction, {"perplexity": False, "next_token": True})


# --- super-resolution --------------------------------------------------------------------------------------------------

_FACTOR = 3


def _luminance(path: Path) -> Image.Image:
    image = Image.open(path).convert("L")
    return image.crop((0, 0, image.width // _FACTOR * _FACTOR, image.height // _FACTOR * _FACTOR))


def third_size(path: Path) -> dict[str, Array]:
    """`prepare` function: luminance of an image at a third of its size, 0..1, [1, 1, H, W]."""
    full = _luminance(path)
    small = full.resize((full.width // _FACTOR, full.height // _FACTOR), Image.Resampling.BICUBIC)
    return {"IteratorGetNext:0": (np.asarray(small, dtype=np.float32) / 255)[None, None]}


def _image_psnr(samples: Iterable[Judged]) -> list[float]:
    folder = models_folder() / "data_coco" / "eval"
    return [_psnr(_only(outputs)[0, 0], _luminance(folder / name)) for name, _, outputs, _ in samples]


def _psnr(result: Array, truth: Image.Image) -> float:
    error = np.clip(result, 0, 1).astype(np.float64) - np.asarray(truth, dtype=np.float64) / 255
    return float(-10 * np.log10(np.mean(np.square(error))))


psnr_y = UserMetric(_image_psnr, lambda units: {"psnr_y": float(np.mean(units))}, {"psnr_y": True})


# --- detection ---------------------------------------------------------------------------------------------------------

_CANVAS, _STRIDES = 416, (8, 16, 32)
_LEAST_SCORE, _NMS_OVERLAP, _MOST = 0.001, 0.65, 100
_OVERLAPS = np.arange(0.5, 0.96, 0.05)
_RECALLS = np.linspace(0, 1, 101)


@dataclass(frozen=True)
class Detected:
    """What a detector found in one image, matched with the truth.

    Attributes:
        classes, scores: [n] of each detection, best first within a class.
        hits: bool [overlap thresholds, n], whether it found a true object that no better one had taken.
        truth: class of each true object.
    """

    classes: Array
    scores: Array
    hits: Array
    truth: Array


@cache
def _annotations() -> dict[str, tuple[int, int, Array]]:
    """Height, width and boxes [n, (class, x1, y1, x2, y2)] by file name."""
    text = (models_folder() / "data_coco" / "annotations.json").read_text(encoding="utf-8")
    images = json.loads(text)["images"]
    return {Path(i["file"]).name: (i["height"], i["width"], np.array(i["boxes"]).reshape(-1, 5)) for i in images}


def _detections(samples: Iterable[Judged]) -> list[Detected]:
    found = []
    for name, _, outputs, _ in samples:
        height, width, truth = _annotations()[name]
        boxes, scores, classes = _decoded(_only(outputs)[0].astype(np.float64))
        boxes /= min(_CANVAS / height, _CANVAS / width)
        kept = _kept(boxes, scores, classes)
        found.append(_matched(boxes[kept], scores[kept], classes[kept], truth))
    return found


def _decoded(rows: Array) -> tuple[Array, Array, Array]:
    """Boxes [n, (x1, y1, x2, y2)] on the canvas, scores and classes of the rows [cells, 5 + classes] that may count."""
    sides = [_CANVAS // stride for stride in _STRIDES]
    grids = [np.stack(np.meshgrid(np.arange(side), np.arange(side)), -1).reshape(-1, 2) for side in sides]
    strides = np.concatenate([np.full((side * side, 1), stride) for side, stride in zip(sides, _STRIDES, strict=True)])
    scores, classes = rows[:, 4] * rows[:, 5:].max(axis=1), rows[:, 5:].argmax(axis=1)
    seen = scores > _LEAST_SCORE
    centres = ((rows[:, :2] + np.concatenate(grids)) * strides)[seen]
    halves = (np.exp(np.clip(rows[:, 2:4], None, 20)) * strides)[seen] / 2
    return np.concatenate([centres - halves, centres + halves], axis=1), scores[seen], classes[seen]


def overlap(box: Array, boxes: Array) -> Array:
    """Intersection over union of one box with each of many."""
    sides = np.minimum(box[2:], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    common = np.prod(np.maximum(sides, 0), axis=1)
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    return np.asarray(common / np.maximum(np.prod(box[2:] - box[:2]) + areas - common, 1e-12))


def _kept(boxes: Array, scores: Array, classes: Array) -> list[int]:
    """Non-maximum suppression within each class; the best 100, best first."""
    order = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while order.size and len(kept) < _MOST:
        best, rest = order[0], order[1:]
        kept.append(int(best))
        order = rest[(classes[rest] != classes[best]) | (overlap(boxes[best], boxes[rest]) <= _NMS_OVERLAP)]
    return kept


def _matched(boxes: Array, scores: Array, classes: Array, truth: Array) -> Detected:
    hits = np.zeros((len(_OVERLAPS), len(boxes)), dtype=bool)
    for row, threshold in enumerate(_OVERLAPS):
        free = np.ones(len(truth), dtype=bool)
        for n, box in enumerate(boxes):
            fit = np.where(free & (truth[:, 0] == classes[n]), overlap(box, truth[:, 1:]), 0.0)
            if fit.size and fit.max() >= threshold - 1e-10:
                free[fit.argmax()] = False
                hits[row, n] = True
    return Detected(classes, scores, hits, truth[:, 0].astype(np.int64))


def average_precisions(units: Sequence[Detected]) -> dict[str, float]:
    """Mean average precision over the classes that occur, at overlaps 0.5 to 0.95 and at 0.5 (COCO, all sizes, 100 a image)."""
    classes = np.concatenate([u.classes for u in units])
    scores, hits = np.concatenate([u.scores for u in units]), np.concatenate([u.hits for u in units], axis=1)
    order = np.argsort(-scores, kind="stable")
    classes, hits = classes[order], hits[:, order]
    known, counts = np.unique(np.concatenate([u.truth for u in units]), return_counts=True)
    table = np.array([_precision(hits[:, classes == c], n) for c, n in zip(known, counts, strict=True)])
    return {"mAP": float(table.mean()), "mAP50": float(table[:, 0].mean())}


def _precision(hits: Array, objects: int) -> Array:
    """Average precision [overlap thresholds] of one class: precision at 101 recalls, each the best at that recall or above."""
    if not hits.shape[1]:
        return np.zeros(len(hits))
    found = np.cumsum(hits, axis=1)
    precision = found / np.arange(1, hits.shape[1] + 1)
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    places = [np.searchsorted(row / objects, _RECALLS, side="left") for row in found]
    padded = np.concatenate([best, np.zeros((len(best), 1))], axis=1)
    return np.array([row[place].mean() for row, place in zip(padded, places, strict=True)])


average_precision = UserMetric(_detections, average_precisions, {"mAP": True, "mAP50": True})
