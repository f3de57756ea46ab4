"""What the result is worth: fidelity, task metrics, size, latency, error of every layer, and whether the gates hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import lazily

if TYPE_CHECKING:
    from .emulated import measure_emulated
    from .fidelity import Comparison, Total, sqnr_db
    from .gates import judge, judge_limits, judge_regression
    from .latency import bare, measure_latencies, measure_latency, speed_over
    from .layers import dequantized_values, layer_errors, layer_totals
    from .metrics import METRICS, default_metric
    from .model import (
        Baseline,
        ClassChange,
        Confused,
        Confusion,
        Emulation,
        Example,
        Examples,
        Fidelity,
        GateResult,
        Interval,
        Latency,
        Layer,
        Measurements,
        Metric,
        Number,
        OperatorTime,
        OutputFidelity,
        Profile,
        Size,
        Value,
    )
    from .profile import measure_operators
    from .run import Evaluated, evaluate, evaluate_all
    from .size import bytes_of, measure_size, model_files
else:
    __getattr__ = lazily(
        __name__,
        {
            "emulated": "measure_emulated",
            "fidelity": "Comparison Total sqnr_db",
            "gates": "judge judge_limits judge_regression",
            "latency": "bare measure_latencies measure_latency speed_over",
            "layers": "dequantized_values layer_errors layer_totals",
            "metrics": "METRICS default_metric",
            "model": "Baseline ClassChange Confused Confusion Emulation Example Examples Fidelity GateResult Interval Latency Layer Measurements Metric Number OperatorTime OutputFidelity Profile Size Value",
            "profile": "measure_operators",
            "run": "Evaluated evaluate evaluate_all",
            "size": "bytes_of measure_size model_files",
        },
    )

__all__ = [
    "METRICS",
    "Baseline",
    "ClassChange",
    "Comparison",
    "Confused",
    "Confusion",
    "Emulation",
    "Evaluated",
    "Example",
    "Examples",
    "Fidelity",
    "GateResult",
    "Interval",
    "Latency",
    "Layer",
    "Measurements",
    "Metric",
    "Number",
    "OperatorTime",
    "OutputFidelity",
    "Profile",
    "Size",
    "Total",
    "Value",
    "bare",
    "bytes_of",
    "default_metric",
    "dequantized_values",
    "evaluate",
    "evaluate_all",
    "judge",
    "judge_limits",
    "judge_regression",
    "layer_errors",
    "layer_totals",
    "measure_emulated",
    "measure_latencies",
    "measure_latency",
    "measure_operators",
    "measure_size",
    "model_files",
    "speed_over",
    "sqnr_db",
]
