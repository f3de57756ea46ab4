"""From a model file and a recipe to a plan, before any data is read.

`make_plan` is the way in. It refuses what cannot work (`suitable`, `effects`), takes over ranges that the model brings along
(`given`), and weighs what costs memory (`prices`); `dataless` says what would do without data.
"""

from .chosen import target_named, target_of
from .planned import Planned, make_plan, replanned, rewritten

__all__ = ["Planned", "make_plan", "replanned", "rewritten", "target_named", "target_of"]
