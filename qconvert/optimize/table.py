"""The table of the accuracy algorithms; `ALGORITHMS` of the package, which loads it when somebody asks."""

from __future__ import annotations

from .absorb import Absorption, absorb
from .adaround import AdaRound, adaround
from .branches import Branches, split_branches
from .equalize import Equalization, equalize
from .half import HalfPrecision, half_precision, in_half
from .mixed import MixedPrecision, mixed_precision
from .model import Algorithm, in_integers
from .prune import Pruning, prune
from .ranges import RangeChoice, choose_ranges
from .reconstruct import Reconstruction, corrected, held_back, reconstruct
from .refine import Refinement, refine

ALGORITHMS: dict[str, Algorithm] = {
    "prune": Algorithm(
        "weights that matter least set to zero, the others make up for it; by name only",
        Pruning,
        prune,
        auto=False,
        applies=lambda plan: True,
        portable=True,
    ),
    "branches": Algorithm(
        "layers that read branches of very different range read them one by one", Branches, split_branches, afresh=True
    ),
    "equalize": Algorithm(
        "channels of uneven range scaled alike, between activations and weights",
        Equalization,
        equalize,
        applies=in_integers,
        afresh=True,
        portable=True,
    ),
    "absorb": Algorithm(
        "what a channel never falls below moves behind its Relu, into biases",
        Absorption,
        absorb,
        auto=False,
        afresh=True,
        portable=True,
    ),
    "ranges": Algorithm(
        "the range method that suits the model", RangeChoice, choose_ranges, applies=in_integers, portable=True
    ),
    "refine": Algorithm(
        "ranges moved by their effect behind the next layers",
        Refinement,
        refine,
        applies=in_integers,
        portable=True,
        moves_ranges=True,
    ),
    "reconstruct": Algorithm(
        "weights rounded and biases corrected layer by layer, against the quantized input",
        Reconstruction,
        reconstruct,
        settled=corrected,
        afresh=True,
        rounds=True,
        portable=True,
        held_back=held_back,
    ),
    "half": Algorithm(
        "operators whose rounding to 16 bits costs most stay in float32", HalfPrecision, half_precision, applies=in_half
    ),
    "adaround": Algorithm(
        "weights rounded up or down by gradient descent, instead of `reconstruct`; minutes",
        AdaRound,
        adaround,
        auto=False,
        settled=corrected,
        afresh=True,
        rounds=True,
        portable=True,
    ),
    "mixed": Algorithm(
        "where accuracy would collapse, more bits or float for the few layers that cost most",
        MixedPrecision,
        mixed_precision,
        applies=in_integers,
    ),
}
