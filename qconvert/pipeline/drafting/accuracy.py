"""What the optimize stage works with: the first draft, how drafts are emitted and judged, and the recipe's algorithms."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache as cache_once
from itertools import islice
from typing import overload

from ...calibrate import Sketch, activation_params, weight_params
from ...data import Dataset
from ...emit import EMITTERS
from ...emit.emulate import emulated, half_edges
from ...emit.half import half_scales, to_half
from ...emit.norms import sums_before_norms
from ...errors import fail
from ...graph import Graph
from ...optimize import Draft, Lab, Step, affordable, ordered, split
from ...recipe import Recipe, SourceMap, Vocabulary, chosen_algorithms
from ...runtime import Feed, Options, host_name
from ..planning import Planned, replanned
from ..storage.cache import cache_key
from .statistics import graph_digest

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


@dataclass(frozen=True)
class Emission:
    """How drafts are written, in the recipe's format or in that in which onnxruntime runs the same numbers.

    Attributes:
        sums: additions in front of norms are written as Sum.
        half: 16-bit type of what does not run in integers; half_io: of inputs and outputs too.
    """

    format: str
    sums: bool
    half: str | None
    half_io: bool

    def __call__(self, draft: Draft) -> Graph:
        """The draft as it will be, or as it can be run."""
        half = self.half
        activations, weights = (
            (half_scales(draft.activations, half), half_scales(draft.weights, half))
            if half
            else (draft.activations, draft.weights)
        )
        graph = EMITTERS[self.format](draft.graph, draft.plan, activations, weights)
        graph = sums_before_norms(graph) if self.sums else graph
        return graph if half is None else to_half(graph, half, draft.plan.single, self.half_io)


def emission(planned: Planned, recipe: Recipe) -> Emission:
    """What the target and the recipe ask for; what makes no difference to this model is left out."""
    target, half = planned.target, recipe.half
    norms = any(node.op == "LayerNormalization" for node in planned.graph.nodes)
    return Emission(
        target.runtime.simulation or recipe.format or target.artefact.formats[0],
        target.artefact.sum_before_norm and norms,
        half,
        half is not None and recipe.io == "half",
    )


def emitted(draft: Draft, planned: Planned, recipe: Recipe) -> Graph:
    """The draft in the recipe's format, or in that in which onnxruntime runs the same numbers."""
    return emission(planned, recipe)(draft)


def circumstances(lab: Lab, planned: Planned, recipe: Recipe, dataset: Dataset) -> str:
    """A hash of everything beside a draft that its scores and the portable algorithms depend on."""
    settings = recipe.calibration.model_dump_json()
    how = (emission(planned, recipe), lab.options, host_name())
    return cache_key("lab", graph_digest(planned.graph), dataset.calibration.digest(), settings, *how)


def laboratory(
    planned: Planned, dataset: Dataset | None, recipe: Recipe, source: SourceMap | None, threads: int
) -> Lab:
    """Where drafts of a plan are judged: calibration samples, some to learn from and others to judge by."""

    @cache_once
    def parts() -> tuple[list[Feed], list[Feed]]:
        samples = dataset.calibration if dataset is not None else ()
        return split(affordable(sample.feed for sample in islice(samples, MOST_SAMPLES)))

    deployed = planned.target.runtime.deployed
    emit, edges = emission(planned, recipe), half_edges(planned.original)
    return Lab(
        planned.graph,
        _Later(lambda: parts()[0]),
        _Later(lambda: parts()[1]),
        recipe.calibration,
        planned.target,
        lambda exceptions, graph: replanned(planned, recipe, source, exceptions, graph),
        lambda draft: emulated(emit(draft), edges),
        Options(deployed.optimize, threads, deployed.config),
    )


class _Later(Sequence[Feed]):
    """Samples that are read when the first of them is asked for: where all is at hand, nobody asks."""

    def __init__(self, load: Callable[[], Sequence[Feed]]) -> None:
        self._load = load

    @overload
    def __getitem__(self, at: int) -> Feed: ...

    @overload
    def __getitem__(self, at: slice) -> Sequence[Feed]: ...

    def __getitem__(self, at: int | slice) -> Feed | Sequence[Feed]:
        return self._load()[at]

    def __len__(self) -> int:
        return len(self._load())


def steps_of(recipe: Recipe, words: Vocabulary, planned: Planned) -> list[Step]:
    """The recipe's algorithms with their settings, in order; `auto` among named ones stands for all of its own.

    Where given ranges are to be kept, there are none.

    Raises:
        QConvertError: R005 for settings that do not fit, R009 for algorithms that do not go together, or with ranges to keep.
    """
    if recipe.calibration.given == "keep" and planned.spans:
        if recipe.algorithms not in ("auto", "none", ()):
            text = "`keep` leaves ranges and weights as the model has them, and algorithms change them"
            raise fail("R009", text, "calibration.given", "use `given: refine`, or remove `algorithms`")
        return []
    if not recipe.algorithm_names:
        return []
    from ...optimize import ALGORITHMS

    given = iter([settings for name, settings in chosen_algorithms(recipe, words) if name != "auto"])
    return [
        Step(name, ALGORITHMS[name], next(given) if named else ALGORITHMS[name].settings(), always=named)
        for name, named in ordered(recipe.algorithm_names, ALGORITHMS)
    ]
