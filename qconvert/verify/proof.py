"""Proof of an artefact: it is valid, loads and runs wherever its target says, and its outputs are those of FP32 up to its formats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx

from ..errors import Diagnostic, QConvertError
from ..evaluate.fidelity import deviation, sqnr_db
from ..evaluate.outputs import is_float
from ..graph import Array, Graph, serialize
from ..runtime import Feed, Options, opened, opened_file
from ..targets.model import SessionConfig, Target
from .model import SessionProof

Outputs = Mapping[str, Array]


def prove(
    float_graph: Graph,
    artefact: bytes | Path,
    target: Target,
    feeds: Sequence[Feed],
    floor_db: float,
    stand_in: Graph | None = None,
) -> tuple[tuple[SessionProof, ...], tuple[Diagnostic, ...]]:
    """Run the artefact in every session configuration of its target and compare it with FP32.

    Args:
        float_graph: the FP32 model with the same outputs.
        artefact: the quantized model; a path where its weights are in a file beside it.
        target: names the session configurations.
        feeds: samples to run, a few are enough.
        floor_db: smallest SQNR in the deployed configuration that the chosen formats can explain.
        stand_in: what runs in place of the artefact, where that is for another runtime.

    Returns:
        One proof for each configuration that ran, and every failure that was found (V001 to V005, all of them errors).
    """
    failures = _invalid(artefact)
    with opened(float_graph) as session:
        wanted = [session.run(feed) for feed in feeds]
    proofs: list[SessionProof] = []
    for config in target.runtime.sessions:
        try:
            got, names = _run(artefact if stand_in is None else serialize(stand_in), config, feeds)
        except QConvertError as error:
            failures += [
                Diagnostic("V002", f"session with {config.name}: {d.message}", d.where, d.hint)
                for d in error.diagnostics
            ]
            continue
        different, db = compared(
            float_graph.outputs, names, config.name, wanted, got, _of_data_dependent_size(float_graph)
        )
        failures += different
        proofs.append(
            SessionProof(
                name=config.name, optimize=config.optimize, deployed=config.deployed, sqnr_db=db, samples=len(feeds)
            )
        )
    failures += [d for proof in proofs if (d := too_far(proof, floor_db))]
    return tuple(proofs), tuple(dict.fromkeys(failures))


def compared(
    wanted_names: tuple[str, ...],
    names: tuple[str, ...],
    runner: str,
    wanted: Sequence[Outputs],
    got: Sequence[Outputs],
    sized_by_data: frozenset[str] = frozenset(),
) -> tuple[list[Diagnostic], float]:
    """V003 and V004 for outputs of a runner that are not those of FP32, and the SQNR of the worst one.

    Args:
        sized_by_data: outputs whose shape may differ, as the number of their elements is itself a result.
    """
    failures = _differences(wanted_names, names, wanted, got, sized_by_data)
    failures += _not_finite(runner, wanted, got)
    return failures, worst_sqnr(wanted, got)


def _invalid(artefact: bytes | Path) -> list[Diagnostic]:
    where = str(artefact) if isinstance(artefact, Path) else None
    try:
        onnx.checker.check_model(artefact if isinstance(artefact, bytes) else str(artefact))
    except Exception as error:  # the checker's own error, or one of protobuf for a file that is no model
        text = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return [Diagnostic("V001", f"the ONNX checker refuses the result: {text}", where)]
    return []


def _run(artefact: bytes | Path, config: SessionConfig, feeds: Sequence[Feed]) -> tuple[list[Outputs], tuple[str, ...]]:
    where = artefact if isinstance(artefact, Path) else None
    session = opened_file(artefact, Options(config.optimize, config=config.config), "V002", where)
    return [session.run(feed, code="V002") for feed in feeds], session.outputs


def _differences(
    wanted_names: tuple[str, ...],
    names: tuple[str, ...],
    wanted: Sequence[Outputs],
    got: Sequence[Outputs],
    sized_by_data: frozenset[str],
) -> list[Diagnostic]:
    """V004 for names, types and shapes; the same one for every configuration, so that it is told once."""
    found = []
    if names != wanted_names:
        found = [Diagnostic("V004", f"the outputs are {_list(names)}, those of FP32 are {_list(wanted_names)}")]
    for name in (n for n in wanted_names if n in names and n not in sized_by_data):
        pair = next(
            ((a, b) for w, g in zip(wanted, got, strict=True) if (a := _kind(w[name])) != (b := _kind(g[name]))), None
        )
        if pair is not None:
            found.append(Diagnostic("V004", f"it is {pair[1]}, in FP32 it is {pair[0]}", f"output `{name}`"))
    return found


_SIZED_BY_DATA = {"NonZero", "NonMaxSuppression", "Unique", "Compress", "If", "Loop", "Scan"}


def _of_data_dependent_size(graph: Graph) -> frozenset[str]:
    """Values behind an operator that decides by its input how many elements it writes."""
    found: set[str] = set()
    for node in graph.nodes:
        if node.op in _SIZED_BY_DATA or any(name in found for name in node.reads):
            found.update(node.outputs)
    return frozenset(found)


def _list(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _kind(value: Array) -> str:
    if not isinstance(value, np.ndarray):
        return type(value).__name__
    return f"{value.dtype}[{','.join(map(str, value.shape))}]"


def _pairs(wanted: Sequence[Outputs], got: Sequence[Outputs]) -> dict[str, list[tuple[Array, Array]]]:
    """By output: float arrays of FP32 and of the result that can be compared, one pair a sample."""
    found: dict[str, list[tuple[Array, Array]]] = {}
    for w, g in zip(wanted, got, strict=True):
        for name in (n for n in w if n in g and _kind(w[n]) == _kind(g[n])):
            if isinstance(w[name], np.ndarray) and is_float(w[name]):
                found.setdefault(name, []).append((w[name], g[name]))
    return found


def _not_finite(config: str, wanted: Sequence[Outputs], got: Sequence[Outputs]) -> list[Diagnostic]:
    found = []
    for name, pairs in _pairs(wanted, got).items():
        counts = [int(np.sum(np.isfinite(w) & ~np.isfinite(g))) for w, g in pairs]
        if (bad := sum(map(bool, counts))) > 0:
            text = f"session with {config}: NaN or infinite where FP32 is finite: {sum(counts)} values in {bad} of {len(pairs)} samples"
            hint = "look at the per-layer table for a scale that is zero or far too small"
            found.append(Diagnostic("V003", text, f"output `{name}`", hint))
    return found


def worst_sqnr(wanted: Sequence[Outputs], got: Sequence[Outputs]) -> float:
    """SQNR in dB of the worst float output over all samples, where FP32 is finite; infinite if no output can be compared."""
    return min(map(_sqnr, _pairs(wanted, got).values()), default=float("inf"))


def _sqnr(pairs: Sequence[tuple[Array, Array]]) -> float:
    found = [deviation(w, np.where(np.isfinite(w), g, w)) for w, g in pairs]
    return sqnr_db(sum(d.signal for d in found), sum(d.noise for d in found))


def too_far(proof: SessionProof, floor_db: float) -> Diagnostic | None:
    """V005 where the deployed session is further from FP32 than its formats explain."""
    if not proof.deployed or proof.sqnr_db >= floor_db:
        return None
    text = f"session with {proof.name}: SQNR of the worst output: {proof.sqnr_db:.1f} dB, the formats imply at least {floor_db:.1f} dB"
    hint = "leave the worst tensor of the per-layer table float, or try another range method"
    return Diagnostic("V005", text, None, hint)
