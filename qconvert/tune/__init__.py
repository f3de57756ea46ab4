"""Sensitivity of layers and tensors, and the search for the cheapest recipe that is accurate enough."""

from .analysis import analyze
from .model import Analysis, LayerSensitivity, Outcome, TensorSensitivity, Trial, TuneResult
from .recipes import rules_for, with_moves
from .search import Goals, Search, pareto

__all__ = [
    "Analysis",
    "Goals",
    "LayerSensitivity",
    "Outcome",
    "Search",
    "TensorSensitivity",
    "Trial",
    "TuneResult",
    "analyze",
    "pareto",
    "rules_for",
    "with_moves",
]
