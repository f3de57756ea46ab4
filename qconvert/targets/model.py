"""What a target is, all as data: a data sheet with one value for each side of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .costs import CostModel
from .formats import Format, Formats
from .kernels import Kernel, Kernels, WeightForm

_DENSE = "no time, the kernels multiply zeros like any number; only a compressed archive of the file gets smaller"


@dataclass(frozen=True, slots=True)
class Placement:
    """Where integers begin and end, beyond what kernels and costs say.

    Attributes:
        whole: every node must be integer; a model with any other is refused before data is read.
        attention: what `mode: auto` means for models with attention.
        residual_skip: a residual Add takes integers on its skip input only.
        float_anchor: a float layer amid integers keeps float weights only behind a 16-bit carrier.
        join_concat: what only a Concat reads is written in the scale of its result at once.
        float_pairs: (layer, reader) that the runtime makes one float operator where the layer's result is float and nobody else
            reads it, before it looks for integers; the layer's result is written as integers there.
    """

    whole: bool = False
    attention: Literal["static", "dynamic"] = "static"
    residual_skip: bool = False
    float_anchor: bool = False
    join_concat: bool = False
    float_pairs: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Float8:
    """Kernels and formats in 8-bit floats.

    Attributes:
        refused: other types of 8 bits that the recipe may ask for, to why there are none.
    """

    activation: Format
    weight: Format
    kernels: tuple[Kernel, ...]
    refused: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Floats:
    """Floats of fewer than 32 bits.

    Attributes:
        beside_integers: types of what stays float in an integer model.
        whole_model: 16-bit types in which a whole model may run.
        not_gained: what such a model does not gain on this target.
        float8: what `mode: float8` puts in the place of integers; None: no kernels.
    """

    beside_integers: tuple[str, ...] = ("float32",)
    whole_model: tuple[str, ...] = ()
    not_gained: str = ""
    float8: Float8 | None = None


@dataclass(frozen=True, slots=True)
class Rewrites:
    """Rules of `canonicalize.RULES` that are not for every target.

    Attributes:
        always: run whatever they cost.
        if_faster: kept where they make the predicted time shorter.
        priced_by: those that make hardly any difference here and pay elsewhere: the prices there decide, so that graphs are
            the same.
    """

    always: tuple[str, ...] = ()
    if_faster: tuple[str, ...] = ()
    priced_by: tuple[tuple[str, CostModel], ...] = ()


@dataclass(frozen=True, slots=True)
class Artefact:
    """The file that is written.

    Attributes:
        formats: that a recipe may choose from, the first by default: keys of `EMITTERS`, or "tflite".
        extension: of the file's name.
        io: types of inputs and outputs that may be chosen.
        static_shapes: sizes are fixed in the file: the batch is 1, other open dimensions need `shapes:`.
        sum_before_norm: residual additions in front of LayerNormalization are written as Sum (see `emit.norms`).
    """

    formats: tuple[str, ...] = ("qdq",)
    extension: str = ".onnx"
    io: tuple[str, ...] = ()
    static_shapes: bool = False
    sum_before_norm: bool = False


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """A session configuration in which the result must load and run.

    Attributes:
        name: for messages.
        optimize: graph optimizations on.
        config: session configuration entries.
        deployed: the result's accuracy is judged in this one.
    """

    name: str
    optimize: bool = True
    config: tuple[tuple[str, str], ...] = ()
    deployed: bool = False


@dataclass(frozen=True, slots=True)
class Runtime:
    """What runs the file, how the result is proved, and what measurements on this machine say about the target.

    Attributes:
        sessions: configurations in which the result must load and run.
        checks: names in `verify.CHECKS` and `verify.FILE_CHECKS`.
        simulation: format in which onnxruntime runs the same numbers, where it cannot load the written one.
        packages: optional packages that run or check the file; their versions go into the report.
        at_hand: the runtime that will run the file is the one here.
        hosts: `platform.machine()` names on which a latency measured here speaks for the target.
        agreement: how results here compare with those on other hosts: of files all in integers, of files with float parts.
        cores: emulated cores on which `verify: emulate` runs the result.
        try_with: the command that deploys or times the file on the target.
    """

    sessions: tuple[SessionConfig, ...]
    checks: tuple[str, ...] = ()
    simulation: str = ""
    packages: tuple[str, ...] = ()
    at_hand: bool = True
    hosts: tuple[str, ...] = ()
    agreement: tuple[str, str] = ("", "")
    cores: tuple[str, ...] = ()
    try_with: str = ""

    @property
    def deployed(self) -> SessionConfig:
        """The session by which the result's accuracy is judged."""
        return next(session for session in self.sessions if session.deployed)


@dataclass(frozen=True, slots=True)
class Target:
    """Everything that is particular to one target. No other code knows a target's name.

    Attributes:
        name: as recipes say it; title: for people.
        source: where the choice of formats was read or measured.
        cost: None: nothing is known about time, every layer with a kernel is integer.
        weight_forms: of layers that compute in float, the preferred one first.
        recipe_keys: keys that only some targets take: keep_layout, limits, reduce_range.
        sparsity: pattern of zeros to what the runtime gains from it.
        advice: operator or code of a reason to what to do instead, where a model is refused.
    """

    name: str
    title: str
    source: str
    formats: Formats
    kernels: Kernels
    artefact: Artefact
    runtime: Runtime
    placement: Placement = Placement()
    cost: CostModel | None = None
    rewrites: Rewrites = Rewrites()
    weight_forms: tuple[WeightForm, ...] = ()
    floats: Floats = Floats()
    recipe_keys: tuple[str, ...] = ()
    sparsity: tuple[tuple[str, str], ...] = (("unstructured", _DENSE), ("2:4", _DENSE))
    advice: tuple[tuple[str, str], ...] = ()
