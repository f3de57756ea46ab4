"""What was proved about an artefact, as values that go into the run record as they are."""

from __future__ import annotations

from ..evaluate.model import Number, Value


class SessionProof(Value):
    """One session configuration in which the artefact was loaded and run.

    Attributes:
        sqnr_db: of its outputs against FP32 on the proof samples.
    """

    name: str
    optimize: bool
    deployed: bool
    sqnr_db: Number
    samples: int


class RunsAs(Value):
    """What one node of the plan really became in the runtime.

    Attributes:
        asked: kind of the plan ("integer", "dynamic", "lookup", "weight-only", "absorbed", "half", "float").
        kernel: operator that runs it in the optimized graph, "" if it vanished into a neighbour or was folded.
        integer: it runs in integers (or vanished into something that does).
        cause: where `asked` and `integer` disagree or it is a float island: why.
    """

    node: str
    op: str
    asked: str
    kernel: str
    integer: bool
    cause: str = ""


class Readback(Value):
    """What the runtime really executes.

    Attributes:
        kernels: how often each operator is in the optimized graph.
        integer_macs: share of the multiply-accumulates in integer kernels, 0..1.
        conversions: QuantizeLinear and DequantizeLinear nodes left in the optimized graph.
        islands: float nodes with integers on both sides.
    """

    nodes: tuple[RunsAs, ...]
    kernels: dict[str, int]
    integer_macs: Number
    conversions: int
    islands: tuple[str, ...]


class Core(Value):
    """Instructions of one inference on a core; `basis` says where the figure comes from."""

    name: str
    instructions: Number
    basis: str


class Operator(Value):
    """One kind of operator in the file."""

    name: str
    count: int
    macs: int


class Device(Value):
    """What the file needs on a device.

    Attributes:
        arena: bytes used, head and tail; None where no interpreter ran.
        recommended: bytes to reserve; measured: whether it rests on a run.
        witness: share of outputs that LiteRT's reference kernels give bit for bit; largest: largest difference in codes.
        layouts: inputs and outputs in words.
    """

    arena: int | None
    head: int | None
    tail: int | None
    recommended: int
    measured: bool
    operators: tuple[Operator, ...]
    macs: int
    cores: tuple[Core, ...]
    layouts: tuple[str, ...]
    witness: Number | None = None
    largest: int | None = None
