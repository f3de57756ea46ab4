"""What the result is worth: fidelity, task metrics, size, latency, error of every layer, and whether the gates hold."""

from .fidelity import Comparison, Total, sqnr_db
from .gates import judge
from .latency import measure_latency
from .layers import dequantized_values, layer_errors
from .metrics import METRICS, default_metric
from .model import (
    Fidelity,
    GateResult,
    Interval,
    Latency,
    Layer,
    Measurements,
    Metric,
    Number,
    OutputFidelity,
    Size,
    Value,
)
from .run import Evaluated, evaluate
from .size import bytes_of, measure_size, model_files

__all__ = [
    "METRICS",
    "Comparison",
    "Evaluated",
    "Fidelity",
    "GateResult",
    "Interval",
    "Latency",
    "Layer",
    "Measurements",
    "Metric",
    "Number",
    "OutputFidelity",
    "Size",
    "Total",
    "Value",
    "bytes_of",
    "default_metric",
    "dequantized_values",
    "evaluate",
    "judge",
    "layer_errors",
    "measure_latency",
    "measure_size",
    "model_files",
    "sqnr_db",
]
