"""From a model file and a recipe to a plan, before any statistics are collected.

`load_model` and `make_plan` are the way in (`plan_of` where there is no data). They refuse what cannot work (`suitable`, `effects`), take over
ranges that the model brings along (`given`) and open sizes from the samples (`sizes`), and weigh what costs memory (`prices`); `dataless` says
what would do without data.
"""

from .chosen import target_named, target_of
from .loaded import Loaded, load_model
from .planned import Planned, make_plan, plan_of, replanned, rewritten

__all__ = [
    "Loaded",
    "Planned",
    "load_model",
    "make_plan",
    "plan_of",
    "replanned",
    "rewritten",
    "target_named",
    "target_of",
]
