"""What the pipeline does differently for files of different kinds: how a draft is emitted, written, proved and run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...emit import emit_tflite
from ...emit.emulate import emulated, half_edges
from ...emit.tflite import Artefact
from ...emit.tflite import Options as TfliteOptions
from ...emit.tflite.sources import data_header, data_source, golden_header, golden_npz, ops_header
from ...errors import Diagnostic, Severity
from ...graph import Graph, infer_types, load, save, serialize
from ...optimize import AlgorithmStep, Draft
from ...recipe import Recipe
from ...runtime import Feed, Options, Session, is_large, opened_file
from ...runtime.tflite import available
from ...verify import (
    FORECASTS,
    Device,
    Readback,
    SessionProof,
    TfliteProof,
    TfliteSession,
    check,
    prove,
    prove_tflite,
    read_back,
)
from ..planning import Planned
from .accuracy import emitted

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Result:
    """What the proof of an artefact gave."""

    proofs: tuple[SessionProof, ...]
    readback: Readback | None
    forecast: str | None = None
    device: Device | None = None
    algorithms: tuple[AlgorithmStep, ...] = ()


@dataclass(frozen=True, eq=False)
class Proved:
    """What a proof gave: a result for the record, every finding, and files to publish beside the model."""

    result: Result
    findings: tuple[Diagnostic, ...]
    companions: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Form:
    """One kind of file.

    Attributes:
        emit: draft to product, with where it comes from.
        write: product to its files, the model first.
        written: the product as its file has it.
        prove: runs the written file on samples, down to an SQNR that its formats can explain.
        open: something with `run(feed)` and `outputs`, for evaluation; None where nothing here can run the file.
        graph: the product as an ONNX graph that computes the same numbers, for errors by layer.
    """

    emit: Callable[[Draft, Planned, Recipe, Mapping[str, str]], Any]
    write: Callable[[Any, Path, Planned, Progress], list[Path]]
    written: Callable[[Any, Path, Planned], Any]
    prove: Callable[[Path, Any, Planned, Sequence[Feed], float], Proved]
    open: Callable[[Path, Any, Planned, int], Any]
    graph: Callable[[Any, Draft, Planned, Recipe], Graph]


# --- ONNX ----------------------------------------------------------------------------------------------------------------


def _emit_onnx(draft: Draft, planned: Planned, recipe: Recipe, provenance: Mapping[str, str]) -> Graph:
    found = emitted(draft, planned, recipe)
    return found.with_(metadata={**found.metadata, **provenance})


def _write_onnx(product: Graph, path: Path, planned: Planned, progress: Progress) -> list[Path]:
    return save(product, path, progress, outside=is_large(planned.lifted.source))


def _from_file(product: Graph, path: Path, planned: Planned) -> Graph:
    """The product with weights that are read from its file, where that is cheaper than making them again."""
    return load(path) if is_large(planned.lifted.source) else product


def _prove_onnx(path: Path, product: Graph, planned: Planned, feeds: Sequence[Feed], floor_db: float) -> Proved:
    target, runs = planned.target, _stand_in(product, planned)
    proofs, found = prove(planned.original, path, target, feeds, floor_db, runs)
    lint = _of_conversion(check(product, target), planned)
    broken = any(d.severity is Severity.ERROR for d in (*found, *lint))
    readback = read_back(path, planned.graph, planned.plan) if target.runtime.at_hand and not broken else None
    names = [name for name in target.runtime.checks if name in FORECASTS]
    expected = "\n".join(str(FORECASTS[name](infer_types(product))) for name in names)
    return Proved(Result(proofs, readback, expected or None), (*found, *lint))


def _stand_in(product: Graph, planned: Planned) -> Graph | None:
    """What runs here in place of a file of another runtime, with the same numbers; None where the file itself does."""
    if planned.target.runtime.at_hand:
        return None
    found = emulated(product, half_edges(planned.original))
    return None if found is product else found


def _of_conversion(found: Sequence[Diagnostic], planned: Planned) -> tuple[Diagnostic, ...]:
    """Errors of a static check as failures of the product, save of kinds that the model had before: those are warnings."""
    if all(d.severity is not Severity.ERROR for d in found):
        return tuple(found)
    before = {d.code for d in check(planned.graph, planned.target) if d.severity is Severity.ERROR}
    had = [replace(d, severity=Severity.WARNING) if d.code in before else d for d in found]
    return tuple(as_failure(d) if d.severity is Severity.ERROR else d for d in had)


def as_failure(found: Diagnostic) -> Diagnostic:
    """A finding of a static check as the failure of a product."""
    return Diagnostic("V007", f"{found.message} [{found.code}]", found.where, found.hint)


def _open_onnx(path: Path, product: Graph, planned: Planned, threads: int) -> Session:
    deployed = planned.target.runtime.deployed
    runs, options = _stand_in(product, planned), Options(deployed.optimize, threads, deployed.config)
    return opened_file(path if runs is None else serialize(runs), options, "V002", path)


def _same_graph(product: Graph, draft: Draft, planned: Planned, recipe: Recipe) -> Graph:
    return emulated(product, half_edges(planned.original))


# --- TensorFlow Lite -----------------------------------------------------------------------------------------------------


def _emit_tflite(draft: Draft, planned: Planned, recipe: Recipe, provenance: Mapping[str, str]) -> Artefact:
    options = TfliteOptions(recipe.io or "integer", recipe.keep_layout, recipe.limits.arena)
    return emit_tflite(draft.graph, draft.plan, draft.activations, draft.weights, options)


def _write_tflite(product: Artefact, path: Path, planned: Planned, progress: Progress) -> list[Path]:
    path.write_bytes(product.data)
    return [path]


def _prove_tflite(path: Path, product: Artefact, planned: Planned, feeds: Sequence[Feed], floor_db: float) -> Proved:
    proof = prove_tflite(planned.original, product, feeds, floor_db)
    chosen = tuple(Diagnostic("M101", line, None, None, Severity.NOTE) for line in product.choices)
    return Proved(
        Result(proof.proofs, None, device=proof.device), (*proof.findings, *chosen), _sources(path, product, proof)
    )


def _sources(path: Path, product: Artefact, proof: TfliteProof) -> tuple[Path, ...]:
    """The C++ files and golden vectors beside the model."""
    stem, needs = path.stem, proof.device
    basis = (
        f"{needs.arena} bytes were used on x86-64, with a margin for the scratch of other kernels."
        if needs.measured
        else "Estimated, the file was not run; check it with MicroInterpreter::arena_used_bytes()."
    )
    files: dict[str, bytes] = {
        f"{stem}_data.h": data_header(stem).encode(),
        f"{stem}_data.cc": data_source(stem, product.data).encode(),
        f"{stem}_ops.h": ops_header(stem, product, needs.recommended, f"Bytes of the tensor arena. {basis}").encode(),
    }
    if proof.vectors:
        files[f"{stem}_golden.h"] = golden_header(stem, product, proof.vectors, f"Outputs of {proof.engine}.").encode()
        files[f"{stem}_golden.npz"] = golden_npz(product, proof.vectors)
    for name, content in files.items():
        path.with_name(name).write_bytes(content)
    return tuple(path.with_name(name) for name in files)


def _open_tflite(path: Path, product: Artefact, planned: Planned, threads: int) -> TfliteSession | None:
    engine = next((e for e in ("tflm", "litert") if available(e)), None)
    return TfliteSession(product, engine) if engine else None


def _in_memory(product: Artefact, path: Path, planned: Planned) -> Artefact:
    return product


def _simulated(product: Artefact, draft: Draft, planned: Planned, recipe: Recipe) -> Graph:
    return emitted(draft, planned, recipe)


ONNX = Form(_emit_onnx, _write_onnx, _from_file, _prove_onnx, _open_onnx, _same_graph)
TFLITE = Form(_emit_tflite, _write_tflite, _in_memory, _prove_tflite, _open_tflite, _simulated)
FORMS: dict[str, Form] = {"tflite": TFLITE}  # every other emitter gives an ONNX graph


def form_of(planned: Planned, recipe: Recipe) -> Form:
    """The form in which the recipe wants the result."""
    return FORMS.get(recipe.format or planned.target.artefact.formats[0], ONNX)
