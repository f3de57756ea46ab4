"""Task metrics from labels. To add one: a function in a file of this folder, and a row here.

Metrics judge the first float output (without any, the first integer one, read as class numbers). A metric adds up what it
needs sample by sample, for the FP32 model and the result at once; metrics that are a mean over samples also give the 95 %
interval of their drop, paired over the samples.
"""

from __future__ import annotations

from collections.abc import Mapping

from .classes import class_hits, top
from .confusion import f1, precision, recall
from .default import Choice, default_metric
from .paired import Counted, Mean, Pair, Spec, Thresholded
from .regression import absolute_errors, squared_errors

METRICS: Mapping[str, Spec] = {
    "top1": Spec(True, lambda: Mean(top(1))),
    "top5": Spec(True, lambda: Mean(top(5))),
    "accuracy": Spec(True, lambda: Thresholded(lambda threshold: Mean(class_hits(threshold)))),
    "f1": Spec(True, lambda: Thresholded(lambda threshold: Counted(f1, threshold))),
    "precision": Spec(True, lambda: Thresholded(lambda threshold: Counted(precision, threshold))),
    "recall": Spec(True, lambda: Thresholded(lambda threshold: Counted(recall, threshold))),
    "mse": Spec(False, lambda: Mean(squared_errors, higher_is_better=False)),
    "mae": Spec(False, lambda: Mean(absolute_errors, higher_is_better=False)),
}

__all__ = ["METRICS", "Choice", "Pair", "Spec", "default_metric"]
