"""Decides for every tensor and node: format, scale group, kernel, or why it stays float. Reads no data, changes nothing."""

from .build import plan
from .model import Exceptions, Kind, NodePlan, Plan, Prediction, Reason, TensorPlan, WeightPlan, around

__all__ = [
    "Exceptions",
    "Kind",
    "NodePlan",
    "Plan",
    "Prediction",
    "Reason",
    "TensorPlan",
    "WeightPlan",
    "around",
    "plan",
]
