"""Sensitivity of layers and tensors, and the search for the cheapest recipe that is accurate enough."""

from .analysis import Sight, analyze, look, move_of, step_of
from .model import Analysis, LayerSensitivity, Outcome, Step, TensorSensitivity, Trial, TuneResult
from .moves import Board, Move, State, candidates, ladder
from .recipes import rules_for, with_moves
from .search import Goals, Search, pareto

__all__ = [
    "Analysis",
    "Board",
    "Goals",
    "LayerSensitivity",
    "Move",
    "Outcome",
    "Search",
    "Sight",
    "State",
    "Step",
    "TensorSensitivity",
    "Trial",
    "TuneResult",
    "analyze",
    "candidates",
    "ladder",
    "look",
    "move_of",
    "pareto",
    "rules_for",
    "step_of",
    "with_moves",
]
