"""What an analysis and a search find, as values that are printed, saved and drawn."""

from __future__ import annotations

from ..evaluate.model import Number, Value
from ..optimize.sensitivity import Move


class TensorSensitivity(Value):
    """One quantized activation.

    Attributes:
        node, op: that write it, "" for inputs; readers: nodes that see the rounded values.
        alone_db: predicted output SQNR with only this tensor rounded; measured_db: the same measured, for the worst.
        gain_db: predicted gain of the output SQNR if only this one were not rounded; below 0 where its error cancels others.
        own_db: SQNR of the tensor itself after rounding; grown_db: with the errors of everything before it.
        clipped: share of the values outside of the range; unused: share of the codes without a value.
        outliers: channels that reach furthest beyond the median one; outlier_ratio: of the furthest.
        uncertain: an operator behind it lets no gradient through, so that it is worse than it looks.
    """

    tensor: str
    node: str
    op: str
    readers: tuple[str, ...]
    alone_db: Number
    measured_db: Number | None = None
    gain_db: Number
    own_db: Number
    grown_db: Number | None = None
    clipped: Number
    unused: Number
    outliers: tuple[int, ...] = ()
    outlier_ratio: Number = 1.0
    uncertain: bool = False


class LayerSensitivity(Value):
    """One integer layer; the parts of its weights and of its inputs apart.

    Attributes:
        kind: "integer", "dynamic" or "lookup".
        alone_db, weight_db, activation_db: predicted output SQNR with only this layer quantized, and with only that part of it.
        gain_db, weight_gain_db, activation_gain_db: predicted gain if only this layer, or that part, were left float.
        saved_us: predicted time that quantizing it buys, conversions included, None without a cost model; saved_bytes: size.
        outliers: output channels of the weights that reach furthest beyond the median one; outlier_ratio: of the furthest.
    """

    node: str
    op: str
    kind: str
    alone_db: Number
    weight_db: Number
    activation_db: Number
    gain_db: Number
    weight_gain_db: Number
    activation_gain_db: Number
    saved_us: Number | None
    saved_bytes: int
    outliers: tuple[int, ...] = ()
    outlier_ratio: Number = 1.0


class Analysis(Value):
    """Where accuracy goes.

    Attributes:
        predicted_db: output SQNR of everything together by first order; measured_db: on held-out calibration samples.
        samples: number of those that the prediction looked at.
        corrected: biases take back the errors' means, so that only their spread counts.
        layers, tensors: the worst first, by what each does alone.
        steps: what leaves the worst few float; rules: the same to paste, with what it is expected to give.
        blocked: operators without a gradient; left_out: what was not looked at, and why.
    """

    target: str
    model: str
    predicted_db: Number
    measured_db: Number | None
    float_us: Number | None
    us: Number | None
    samples: int
    corrected: bool
    layers: tuple[LayerSensitivity, ...] = ()
    tensors: tuple[TensorSensitivity, ...] = ()
    steps: tuple[Move, ...] = ()
    rules: str = ""
    blocked: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()


class Outcome(Value):
    """What one recipe gave on the evaluation samples.

    Attributes:
        drop: of the metric, None where nothing is measured that could drop; sqnr_db: output SQNR.
        ns: predicted time of one run; speedup: predicted, and measured where it was.
        bytes: of the file; refused: why the proof would not let it pass.
    """

    drop: Number | None
    metric: str = ""
    sqnr_db: Number
    ns: Number | None
    speedup: Number | None
    measured_speedup: Number | None = None
    milliseconds: Number | None = None
    bytes: int
    integer_share: Number
    refused: str = ""


class Trial(Value):
    """One recipe that was tried.

    Attributes:
        name: for tables; steps: beyond the recipe that was given; recipe: YAML.
        met: all goals are met; limits: those that are not, in words.
    """

    name: str
    steps: tuple[Move, ...]
    recipe: str
    outcome: Outcome
    met: bool
    limits: tuple[str, ...] = ()


class TuneResult(Value):
    """The search as a whole.

    Attributes:
        goals: in words; metric: what `drop` is of; max_drop, min_sqnr, min_speedup: the goals, None where nothing is asked.
        trials: in the order in which they were made; pareto: indices of those that no other beats in everything.
        winner: index of the best; reached: whether it meets the goals.
        warnings: of the conversion with the best recipe.
        ended: why the search did not go on, "" where the goals were met; log: every decision, in words.
    """

    target: str
    model: str
    data: str
    goals: tuple[str, ...]
    metric: str
    trials: tuple[Trial, ...]
    pareto: tuple[int, ...]
    winner: int
    reached: bool
    max_drop: Number | None = None
    min_sqnr: Number | None = None
    min_speedup: Number | None = None
    warnings: tuple[str, ...] = ()
    ended: str = ""
    log: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
