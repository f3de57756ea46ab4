"""Recipes: YAML to frozen types with all mistakes at once, their JSON Schema, and the meaning of their rules for a model."""

from .check import chosen_algorithms
from .dump import dump
from .load import Loaded, load_recipe, parse_recipe, preset, read_recipe
from .override import override
from .rules import Resolved, resolve_rules
from .schema import schema
from .starting import starting_recipe
from .targets import entries, for_target
from .tree import SourceMap
from .types import Calibration, Change, Evaluation, Gates, Match, Recipe, Regression, Rule
from .vocabulary import Vocabulary

__all__ = [
    "Calibration",
    "Change",
    "Evaluation",
    "Gates",
    "Loaded",
    "Match",
    "Recipe",
    "Regression",
    "Resolved",
    "Rule",
    "SourceMap",
    "Vocabulary",
    "chosen_algorithms",
    "dump",
    "entries",
    "for_target",
    "load_recipe",
    "override",
    "parse_recipe",
    "preset",
    "read_recipe",
    "resolve_rules",
    "schema",
    "starting_recipe",
]
