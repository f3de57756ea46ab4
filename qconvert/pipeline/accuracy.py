"""What the optimize stage works with: the first draft, how drafts are emitted and judged, and the recipe's algorithms."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import islice

from ..calibrate import Sketch, activation_params, weight_params
from ..data import Dataset
from ..emit import EMITTERS
from ..emit.emulate import emulated
from ..emit.half import half_scales, to_half
from ..emit.norms import sums_before_norms
from ..errors import fail
from ..graph import Graph
from ..optimize import ALGORITHMS, Draft, Lab, Step, affordable, split
from ..recipe import Recipe, Source, Vocabulary, chosen_algorithms
from ..runtime import Options
from .planning import Planned, replanned

MOST_SAMPLES = 128


def first_draft(
    planned: Planned,
    sketches: Mapping[str, Sketch],
    recipe: Recipe,
    progress: Callable[[int, int], None] | None = None,
) -> Draft:
    """Ranges by the recipe's method, weights rounded to nearest."""
    activations = activation_params(planned.plan, sketches, recipe.calibration)
    weights = weight_params(planned.graph, planned.plan, activations, recipe.calibration, progress)
    return Draft(planned.graph, planned.graph, planned.plan, sketches, activations, weights)


def emitted(draft: Draft, planned: Planned, recipe: Recipe) -> Graph:
    """The draft in the recipe's format, or in that in which onnxruntime runs the same numbers."""
    emit = EMITTERS[planned.target.simulation or recipe.format or planned.target.formats[0]]
    half = recipe.half
    activations, weights = (
        (half_scales(draft.activations, half), half_scales(draft.weights, half))
        if half
        else (draft.activations, draft.weights)
    )
    graph = emit(draft.graph, draft.plan, activations, weights)
    graph = sums_before_norms(graph) if planned.target.sum_before_norm else graph
    if half is None:
        return graph
    return to_half(graph, half, draft.plan.single, recipe.io == "half")


def laboratory(planned: Planned, dataset: Dataset | None, recipe: Recipe, source: Source | None, threads: int) -> Lab:
    """Where drafts of a plan are judged: calibration samples, some to learn from and others to judge by."""
    samples = dataset.calibration if dataset is not None else ()
    feeds = affordable(sample.feed for sample in islice(samples, MOST_SAMPLES))
    fit, held_out = split(feeds)
    deployed = next(s for s in planned.target.sessions if s.deployed)
    options = Options(deployed.optimize, threads, deployed.config)
    return Lab(
        planned.graph,
        fit,
        held_out,
        recipe.calibration,
        planned.target,
        lambda exceptions, graph: replanned(planned, recipe, source, exceptions, graph),
        lambda d: emulated(emitted(d, planned, recipe)),
        options,
    )


def steps_of(recipe: Recipe, words: Vocabulary, planned: Planned) -> list[Step]:
    """The recipe's algorithms with their settings, in order; `auto` among named ones stands for all of its own.

    Where given ranges are to be kept, there are none.

    Raises:
        QConvertError: R005 for settings that do not fit, R009 for algorithms beside ranges that are to be kept.
    """
    if recipe.calibration.given == "keep" and planned.spans:
        if recipe.algorithms not in ("auto", "none", ()):
            text = "`keep` leaves ranges and weights as the model has them, and algorithms change them"
            raise fail("R009", text, "calibration.given", "use `given: refine`, or remove `algorithms`")
        return []
    auto = [Step(name, row, row.settings()) for name, row in ALGORITHMS.items() if row.auto]
    if recipe.algorithms == "auto":
        return auto
    found: list[Step] = []
    for name, settings in chosen_algorithms(recipe, words):
        found += auto if name == "auto" else [Step(name, ALGORITHMS[name], settings, always=True)]
    return found
