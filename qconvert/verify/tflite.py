"""Proof of a .tflite file: audited, run in TensorFlow Lite Micro, and compared with FP32 and with LiteRT's reference kernels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..emit.tflite import Artefact
from ..errors import Diagnostic, QConvertError, Severity
from ..graph import Array, Graph
from ..runtime import Feed, opened
from ..runtime.tflite import INSTALL, TITLES, Allocation, Child, Interpreter, available
from .model import Device, SessionProof
from .proof import compared, too_far
from .tflite_audit import audit
from .tflite_device import device
from .tflite_run import TfliteSession, decoded, encoded

Vector = tuple[list[Array], list[Array]]
_GOLDEN = 4  # real inputs that become golden vectors
_RUNS = {"tflm": 4, "litert": 2}  # samples: the interpreters run reference kernels, which take their time


@dataclass(frozen=True, eq=False)
class TfliteProof:
    """What the proof found; vectors: inputs and outputs of the first runs, as the file has them."""

    proofs: tuple[SessionProof, ...]
    findings: tuple[Diagnostic, ...]
    device: Device
    vectors: tuple[Vector, ...]
    engine: str


@dataclass(frozen=True, eq=False)
class _Runs:
    codes: list[list[Array]]
    used: Allocation | None


def prove_tflite(float_graph: Graph, artefact: Artefact, feeds: Sequence[Feed], floor_db: float) -> TfliteProof:
    """Audit a file and run it in every interpreter that is installed.

    Args:
        feeds: samples to run, a few are enough.
        floor_db: smallest SQNR that the formats can explain.
    """
    found = [Diagnostic("V007", f"{d.message} [{d.code}]", d.where, d.hint, d.severity) for d in audit(artefact.data)]
    with opened(float_graph) as session:
        wanted = [session.run(feed) for feed in feeds]
    runs, refusals = _run_all(artefact, feeds)
    found += refusals
    proofs: list[SessionProof] = []
    for engine, ran in runs.items():
        got = [{b.name: decoded(b, c) for b, c in zip(artefact.outputs, codes, strict=True)} for codes in ran.codes]
        failures, db = compared(
            float_graph.outputs, tuple(b.name for b in artefact.outputs), TITLES[engine], wanted[: len(got)], got
        )
        proof = SessionProof(
            name=TITLES[engine], optimize=False, deployed=engine == "tflm", sqnr_db=db, samples=len(got)
        )
        proofs.append(proof)
        found += [*failures, *([d] if (d := too_far(proof, floor_db)) else [])]
    first = next(iter(runs), "")
    vectors = (
        tuple(
            ([encoded(b, feed[b.name]) for b in artefact.inputs], codes)
            for feed, codes in zip(feeds, runs[first].codes, strict=False)
        )
        if first
        else ()
    )
    needs = device(artefact, runs["tflm"].used if "tflm" in runs else None).model_copy(update=_witness(runs))
    return TfliteProof(tuple(proofs), tuple(dict.fromkeys(found)), needs, vectors[:_GOLDEN], TITLES.get(first, ""))


def _run_all(artefact: Artefact, feeds: Sequence[Feed]) -> tuple[dict[str, _Runs], list[Diagnostic]]:
    """The runs in every interpreter, one after the other in one process, and why there are none in the others."""
    runs: dict[str, _Runs] = {}
    found: list[Diagnostic] = []
    with Child() as child:
        for engine, samples in _RUNS.items():
            if not available(engine):
                found.append(_missing(engine))
                continue
            try:
                runs[engine] = _run(artefact, engine, feeds[:samples], child)
            except QConvertError as error:
                found += error.diagnostics
    return runs, found


def _run(artefact: Artefact, engine: str, feeds: Sequence[Feed], child: Child) -> _Runs:
    with TfliteSession(artefact, engine, interpreter=Interpreter(engine, child)) as session:
        codes = [session.codes(feed) for feed in feeds]
        return _Runs(codes, session.interpreter.allocation() if feeds else None)


def _missing(engine: str) -> Diagnostic:
    return Diagnostic(
        "V103", f"{TITLES[engine]} is not installed, so the file was not run in it", None, INSTALL, Severity.WARNING
    )


def _witness(runs: dict[str, _Runs]) -> dict[str, float | int]:
    """How far the two interpreters agree, in codes."""
    if len(runs) < 2 or not runs["tflm"].codes:
        return {}
    pairs = [
        (a, b)
        for one, other in zip(runs["tflm"].codes, runs["litert"].codes, strict=False)
        for a, b in zip(one, other, strict=True)
    ]
    gaps = np.concatenate([np.abs(a.astype(np.float64) - b.astype(np.float64)).reshape(-1) for a, b in pairs])
    return {"witness": float(np.mean(gaps == 0)), "largest": int(gaps.max(initial=0))}


def check_tflite(data: bytes) -> tuple[Diagnostic, ...]:
    """Findings about a file of any origin: the audit, and what installed interpreters refuse."""
    from .tflite_read import read_tflite

    outputs = len(read_tflite(data).outputs)
    found = list(audit(data))
    with Child() as child:
        for engine in ("tflm", "litert"):
            if available(engine):
                found += _loads(engine, data, outputs, child)
    return tuple(found)


def _loads(engine: str, data: bytes, outputs: int, child: Child) -> list[Diagnostic]:
    try:
        Interpreter(engine, child).load(data, outputs)
    except QConvertError as error:
        return [Diagnostic("C313", d.message, d.where, d.hint) for d in error.diagnostics]
    return []
