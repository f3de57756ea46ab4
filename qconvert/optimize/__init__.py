"""Accuracy algorithms: each one function in one file, with the statistics it needs."""

from .model import ALGORITHMS, Algorithm

__all__ = ["ALGORITHMS", "Algorithm"]
