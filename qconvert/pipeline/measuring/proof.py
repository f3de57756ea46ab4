"""The proof of a product before it is written: rewrites changed nothing, the file runs as its target names it, what runs in integers."""

from __future__ import annotations

import platform
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ...data import Dataset
from ...errors import Diagnostic, QConvertError, Severity, fail
from ...evaluate import Comparison
from ...plan import Kind, Plan
from ...runtime import Feed, Options, opened
from ...verify import Readback, findings
from ..drafting.forms import Form, Proved
from ..drafting.statistics import PROOF_SAMPLES
from ..events import Stages
from ..planning import Planned
from ..request import Request

_SAYS_FLOAT = ("C204", "C212")
_SAME_DB = 50.0  # a rewrite only reorders float32 arithmetic: 90 dB and more in practice


def raise_errors(found: list[Diagnostic]) -> None:
    """Raise what is an error among diagnostics, all of it at once.

    Raises:
        QConvertError: with the errors.
    """
    errors = [d for d in found if d.severity is Severity.ERROR]
    if errors:
        raise QConvertError(errors)


def check_rewrites(request: Request, planned: Planned, dataset: Dataset | None, stages: Stages) -> None:
    """Prove that the runtime takes the model, and on calibration data that canonicalization changed nothing.

    Raises:
        QConvertError: M006, M009, V006.
    """
    with (
        stages.stage("check rewrites"),
        opened(planned.original, Options(optimize=False), where=request.model) as before,
    ):
        if dataset is None or not planned.canonical.applied:
            return
        compared = Comparison()
        with opened(planned.graph, Options(optimize=False)) as after:
            for sample in dataset.calibration.take(2):
                compared.add(before.run(sample.feed), after.run(sample.feed))
    found = compared.result("calibration").sqnr_db
    if found < _SAME_DB:
        rules = ", ".join(applied.rule for applied in planned.canonical.applied)
        raise fail(
            "V006",
            f"canonicalization changed the outputs: {found:.1f} dB",
            rules,
            "please report this model; `placement` and other settings cannot help",
        )


def prove(form: Form, planned: Planned, path: Path, product: Any, dataset: Dataset | None, stages: Stages) -> Proved:
    """Load and run the file as the target names it, check its rules, and read back what really runs.

    Raises:
        QConvertError: V001 to V005, V007.
    """
    with stages.stage("prove"):
        proved = form.prove(path, product, planned, _feeds(dataset), floor_db(planned.plan))
        raise_errors([_of_result(found, path) for found in proved.findings])
    readback = proved.result.readback
    stages.note(
        *(d for d in proved.findings if not _chosen(d, planned.plan)), *(findings(readback) if readback else ())
    )
    stages.note(*_elsewhere(planned, readback))
    return proved


def _of_result(found: Diagnostic, path: Path) -> Diagnostic:
    """With the name of the file, not the place where it is staged, which is gone when the message is read."""
    return replace(found, where=path.name) if found.where == str(path) else found


def _chosen(found: Diagnostic, plan: Plan) -> bool:
    """Whether a finding says of a node that it runs in float which the plan has left float, with its reason."""
    node = plan.nodes.get(found.where or "")
    return found.code in _SAYS_FLOAT and node is not None and node.kind is Kind.FLOAT


def _elsewhere(planned: Planned, readback: Readback | None) -> tuple[Diagnostic, ...]:
    """How what was proved here carries over to the target's own machines."""
    integer, mixed = planned.target.runtime.agreement
    if readback is None or not integer or platform.machine() in planned.target.runtime.hosts:
        return ()
    dynamic = any(p.kind is Kind.DYNAMIC for p in planned.plan.nodes.values())
    text = mixed if dynamic or readback.islands else integer
    return (Diagnostic("V103", text, None, None, Severity.NOTE),)


def _feeds(dataset: Dataset | None) -> list[Feed]:
    return [sample.feed for sample in islice(dataset.calibration, PROOF_SAMPLES)] if dataset is not None else []


def floor_db(plan: Plan) -> float:
    """Output SQNR below which something must be broken: 8 bits give about 40 dB a layer, and noise adds up over layers.

    Thirty dB are left for unfortunate ranges and for the chance of a few samples. Each bit less costs 6 dB.
    """
    layers = sum(1 for p in plan.nodes.values() if p.macs and p.kind is not Kind.FLOAT)
    bits = min((w.format.bits for w in plan.weights.values() if w.format.bits < 7), default=8)
    floor = 10.0 - 10.0 * np.log10(max(layers, 1))
    return float(max(0.0, floor) if bits == 8 else floor - 6.0 * (8 - bits))
