"""What every rounding in a draft costs at the outputs, priced all at once, and which changes would take most of it back."""

from .alone import rounded
from .look import SAMPLES, Sight, look
from .move import MOVES, Move, listed
from .moved import MovedPlan
from .moves import Board, candidates, decibels, ladder
from .screen import Screening, screen
from .sources import ErrorSource, alternatives, sources, under

__all__ = [
    "MOVES",
    "SAMPLES",
    "Board",
    "ErrorSource",
    "Move",
    "MovedPlan",
    "Screening",
    "Sight",
    "alternatives",
    "candidates",
    "decibels",
    "ladder",
    "listed",
    "look",
    "rounded",
    "screen",
    "sources",
    "under",
]
