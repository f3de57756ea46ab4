"""Mixed precision: the few tensors that cost most of the accuracy, and the layers around them, stay float.

Errors of different tensors add up nearly as independent noise, so the share of one tensor is measured by quantizing it alone
in the FP32 model. Halving groups finds the worst without trying all: a group whose noise is small holds no bad tensor.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

from pydantic import Field

from ..calibrate import QuantParams, Sketch, Sketcher, activation_params, weight_params
from ..data.settings import Settings
from ..evaluate import Comparison
from ..graph import Edit, Graph, Node
from ..plan import Plan, Reason, around
from ..runtime import Options, opened
from .draft import Draft, Lab
from .reconstruct import Reconstruction, reconstruct


class MixedPrecision(Settings):
    """Settings of `mixed`."""

    below: float = Field(default=15.0, description="only where the output SQNR in dB is lower than this")
    enough: float = Field(default=20.0, description="output SQNR in dB at which no more layers are left float")
    gain: Annotated[float, Field(gt=0)] = Field(default=0.3, description="dB that each tensor left float must gain")
    share: Annotated[float, Field(gt=0, le=1)] = Field(
        default=0.05, description="only tensors that make at least this share of all noise are tried"
    )
    most: Annotated[int, Field(ge=1)] = Field(default=6, description="most tensors that are tried in a round")
    rounds: Annotated[int, Field(ge=1)] = Field(default=4, description="most rounds")
    integer_macs: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.7, description="least share of the multiply-accumulates that stays integer"
    )
    speedup: Annotated[float, Field(ge=0)] = Field(
        default=1.1, description="least predicted speed-up that must remain, where the target has a cost model"
    )
    samples: Annotated[int, Field(ge=1)] = Field(default=3, description="samples on which noise is measured")


def mixed_precision(draft: Draft, lab: Lab, settings: MixedPrecision) -> Draft:
    """The draft with the layers around the worst tensors left float, and reconstructed again.

    In every round the worst tensors of the best draft so far are added one after the other, since neighbours often carry the
    same values and only gain together; what is worth its float layers stays, and then others are the worst.
    """
    if not draft.plan.tensors or lab.score(draft) >= settings.below:
        return draft
    plain = _with_plan(draft.with_(graph=draft.reference), lab, draft.plan)
    start = best = _State(plain, lab.score(plain), {})
    for _ in range(settings.rounds):
        if best.score >= settings.enough:
            break
        after = _round(best, lab, settings)
        if after is best:
            break
        best = after
    return draft if best is start else reconstruct(best.draft, lab, Reconstruction())


@dataclass(frozen=True, eq=False)
class _State:
    draft: Draft
    score: float
    kept: Mapping[str, Reason]


def _round(start: _State, lab: Lab, settings: MixedPrecision) -> _State:
    best, accepted, kept = start, 0, dict(start.kept)
    for count, tensor in enumerate(_worst(start.draft, lab, settings), 1):
        kept = {**kept, **_around(start.draft.plan, start.draft.reference, tensor)}
        candidate = _with_plan(start.draft, lab, lab.replan(kept))
        if not _affordable(candidate, lab, settings):
            break
        score = lab.score(candidate)
        if score >= best.score + settings.gain * (count - accepted):
            best, accepted = _State(candidate, score, kept), count
    return best


def _around(plan: Plan, graph: Graph, tensor: str) -> dict[str, Reason]:
    """The integer nodes that write or read a tensor, with the reason for leaving them float."""
    reason = Reason("P010", f"rounding `{tensor}` to 8 bits costs more accuracy than all else nearby")
    return dict.fromkeys(around(plan, graph, tensor), reason)


def _affordable(draft: Draft, lab: Lab, settings: MixedPrecision) -> bool:
    prediction = draft.plan.prediction
    fast = prediction.speedup is None or prediction.speedup >= settings.speedup
    return fast and prediction.integer_share >= settings.integer_macs and draft.plan.opset <= lab.graph.opset


def _with_plan(draft: Draft, lab: Lab, plan: Plan) -> Draft:
    """The draft under another plan, weights rounded to nearest; statistics that the first pass did not take are added."""
    added = {name: node for name, node in draft.plan.nodes.items() if name not in plan.nodes}  # by an equalization
    plan = replace(plan, nodes={**plan.nodes, **added})
    sketches = {**draft.sketches, **_missing(draft, lab, plan)}
    activations = activation_params(plan, sketches, lab.calibration.measured())
    weights = weight_params(draft.graph, plan, activations, lab.calibration)
    return draft.with_(plan=plan, sketches=sketches, activations=activations, weights=weights)


def _missing(draft: Draft, lab: Lab, plan: Plan) -> dict[str, Sketch]:
    names = [name for name in plan.taps if name not in draft.sketches]
    if not names:
        return {}
    sketchers = {name: Sketcher() for name in names}
    with opened(draft.reference.with_(outputs=tuple(names)), Options(threads=lab.options.threads)) as session:
        for feed in lab.fit:
            for name, value in session.run(feed).items():
                sketchers[name].add(value)
    return {name: sketcher.result() for name, sketcher in sketchers.items()}


# --- which tensors are worst -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Group:
    noise: float
    tensors: tuple[str, ...]


def _worst(draft: Draft, lab: Lab, settings: MixedPrecision) -> list[str]:
    """Tensors that make most of the noise, worst first."""
    tensors = tuple(name for name in draft.plan.tensors if name in draft.reference.producer)
    whole = _Group(_noise(draft, lab, tensors, settings.samples), tensors)
    threshold = settings.share * whole.noise
    found: list[_Group] = []
    open_groups = [whole]
    while open_groups:
        group = open_groups.pop()
        if group.noise < threshold:
            continue
        if len(group.tensors) == 1:
            found.append(group)
            continue
        open_groups.extend(_Group(_noise(draft, lab, part, settings.samples), part) for part in _parts(group.tensors))
    found.sort(key=lambda group: -group.noise)
    return [group.tensors[0] for group in found[: settings.most]]


def _parts(tensors: Sequence[str]) -> Iterable[tuple[str, ...]]:
    size = -(-len(tensors) // min(4, len(tensors)))
    return (tuple(tensors[i : i + size]) for i in range(0, len(tensors), size))


def _noise(draft: Draft, lab: Lab, tensors: Sequence[str], samples: int) -> float:
    """Noise over signal at the probes with only the given tensors rounded."""
    graph = rounded(draft.reference, tensors, draft.activations).with_(outputs=lab.probes)
    options = Options(threads=lab.options.threads, config=(("session.disable_quant_qdq", "1"),))
    compared = Comparison()
    with opened(graph, options) as session:
        for feed, wanted in list(zip(lab.held_out, lab.reference, strict=True))[:samples]:
            compared.add(wanted, session.run(feed))
    return float(10 ** (-compared.result("calibration").sqnr_db / 10))


def rounded(graph: Graph, tensors: Iterable[str], params: Mapping[str, QuantParams]) -> Graph:
    """The FP32 graph with a Q/DQ pair between each of the tensors and all of its readers."""
    edit = Edit(graph)
    fresh: dict[str, str] = {}
    for name in tensors:
        codes, fresh[name] = edit.fresh(f"{name}/q"), edit.fresh(f"{name}/dq")
        constants = (
            edit.add_weight(f"{name}/scale", params[name].scale),
            edit.add_weight(f"{name}/zero_point", params[name].zero_point),
        )
        edit.add(
            Node("QuantizeLinear", (name, *constants), (codes,), name=edit.fresh_node(f"{name}/q")),
            Node("DequantizeLinear", (codes, *constants), (fresh[name],), name=edit.fresh_node(f"{name}/dq")),
        )
    for node in graph.nodes:
        if any(name in fresh for name in node.inputs):
            edit.replace(node, node.with_(inputs=tuple(fresh.get(name, name) for name in node.inputs)))
    return edit.graph()
