"""Accuracy algorithms: each one function in one file, with the statistics it needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .draft import Draft, Lab, StepOutcome, affordable, split
from .model import Algorithm, AlgorithmStep, AutoSteps, Step, applicable, improve
from .order import ordered

if TYPE_CHECKING:
    from .table import ALGORITHMS

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


def __getattr__(name: str) -> Any:
    """Load the algorithms only when one is wanted: half of a small conversion's modules are theirs."""
    if name == "ALGORITHMS":
        from .table import ALGORITHMS

        return ALGORITHMS
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
