"""The only place where the order of the stages is written."""

from .convert import Request, convert
from .events import Event, Listener, Stages, silent
from .planning import Planned, make_plan, target_of
from .record import model_info, plan_info
from .request import effective_recipe, make_request, presets_folder, vocabulary

__all__ = [
    "Event",
    "Listener",
    "Planned",
    "Request",
    "Stages",
    "convert",
    "effective_recipe",
    "make_plan",
    "make_request",
    "model_info",
    "plan_info",
    "presets_folder",
    "silent",
    "target_of",
    "vocabulary",
]
