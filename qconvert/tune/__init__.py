"""Sensitivity of layers and tensors, and the search for the cheapest recipe that is accurate enough."""

from .analysis import analyze, move_of, step_of
from .model import Analysis, LayerSensitivity, Outcome, Step, TensorSensitivity, Trial, TuneResult
from .recipes import rules_for, with_moves
from .search import Goals, Search, pareto

__all__ = [
    "Analysis",
    "Goals",
    "LayerSensitivity",
    "Outcome",
    "Search",
    "Step",
    "TensorSensitivity",
    "Trial",
    "TuneResult",
    "analyze",
    "move_of",
    "pareto",
    "rules_for",
    "step_of",
    "with_moves",
]
