"""What every rounding in a draft costs at the outputs, priced all at once, and which changes would take most of it back."""

from .alone import rounded
from .look import SAMPLES, Sight, look
from .moves import Board, Move, State, candidates, decibels, ladder
from .screen import Screening, screen
from .sources import Source, alternatives, sources

__all__ = [
    "SAMPLES",
    "Board",
    "Move",
    "Screening",
    "Sight",
    "Source",
    "State",
    "alternatives",
    "candidates",
    "decibels",
    "ladder",
    "look",
    "rounded",
    "screen",
    "sources",
]
