"""Accuracy algorithms: each one function in one file, with the statistics it needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import lazily

if TYPE_CHECKING:
    from .draft import Draft, Lab, StepOutcome, affordable, split
    from .model import Algorithm, AutoSteps, Step, applicable, improve
    from .order import ordered
    from .step import AlgorithmStep
    from .table import ALGORITHMS
else:
    __getattr__ = lazily(
        __name__,
        {
            "draft": "Draft Lab StepOutcome affordable split",
            "model": "Algorithm AutoSteps Step applicable improve",
            "order": "ordered",
            "step": "AlgorithmStep",
            "table": "ALGORITHMS",
        },
    )

__all__ = [
    "ALGORITHMS",
    "Algorithm",
    "AlgorithmStep",
    "AutoSteps",
    "Draft",
    "Lab",
    "Step",
    "StepOutcome",
    "affordable",
    "applicable",
    "improve",
    "ordered",
    "split",
]
