"""Puts the run record together from the values of the stages."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from ... import __version__
from ...calibrate import QuantParams
from ...data import Dataset
from ...evaluate import GateResult, Measurements, model_files
from ...graph import Graph
from ...plan import Plan
from ...recipe import Recipe
from ...report.record import (
    CalibrationInfo,
    DataInfo,
    ModelInfo,
    NodeInfo,
    PlanInfo,
    Problem,
    RewriteInfo,
    RunRecord,
    TensorInfo,
)
from ...runtime import host_name
from ...targets import Target
from ..drafting.forms import Result
from ..events import Stages
from ..planning import Planned
from ..storage.staging import sha256
from ..storage.versions import COMPUTES, installed


def make_record(
    recipe: Recipe,
    planned: Planned,
    dataset: Dataset | None,
    activations: Mapping[str, QuantParams],
    result: Result,
    measured: Measurements,
    gates: tuple[GateResult, ...],
    stages: Stages,
    model: Path,
    data: Path | None,
) -> RunRecord:
    """The record of a run; file names of the outputs are added when they are written."""
    return RunRecord(
        tool_version=__version__,
        status="done" if all(gate.passed for gate in gates) else "gates failed",
        target=planned.target.name,
        model=model_info(model, planned.lifted.source),
        recipe=recipe.model_dump(mode="json", exclude_defaults=False),
        rewrites=tuple(RewriteInfo(rule=a.rule, lines=a.lines) for a in planned.canonical.applied),
        plan=plan_info(planned, recipe.format or planned.target.artefact.formats[0], activations),
        data=data_info(dataset, data),
        calibration=CalibrationInfo(
            samples=len(dataset.calibration), tensors=len(planned.plan.taps), method=recipe.calibration.method
        )
        if dataset and planned.plan.taps
        else None,
        algorithms=result.algorithms,
        proofs=result.proofs,
        readback=result.readback,
        forecast=result.forecast,
        device=result.device,
        measurements=measured,
        computed=_computed(planned, recipe) if measured.fidelity else "",
        gates=gates,
        diagnostics=tuple(Problem.of(d) for d in stages.diagnostics),
        try_with=planned.target.runtime.try_with,
        stages=tuple(stages.times),
        versions=installed((*COMPUTES, *planned.target.runtime.packages)) | {"python": platform.python_version()},
        host=host_name(),
    )


def _computed(planned: Planned, recipe: Recipe) -> str:
    """How figures were computed for a runtime that is not here and whose files, or the numbers in them, run in another."""
    target = planned.target
    if target.runtime.at_hand or target.runtime.simulation:
        return ""
    if types := _rounded_types(planned.plan, recipe):
        return f"by reference on this CPU, in float32 on values rounded to {' and '.join(types)}, not in {target.title}"
    return f"by onnxruntime on this CPU from the same Q/DQ operators, not in {target.title}"


def _rounded_types(plan: Plan, recipe: Recipe) -> tuple[str, ...]:
    """Types in the file for which there are no kernels here."""
    formats = [tensor.format for tensor in plan.tensors.values()]
    small = [weight.levels.upper() for weight in plan.weights.values() if weight.levels]
    eight = [f"FP8 ({format_.dtype.split('_')[1][:4].upper()})" for format_ in formats if format_.floating]
    return tuple(dict.fromkeys([*eight, *small, *([recipe.half] if recipe.half else [])]))


def model_info(path: Path, graph: Graph) -> ModelInfo:
    """Facts about the input model."""
    return ModelInfo(
        path=str(path),
        sha256=sha256(*model_files(path, graph)),
        opset=graph.opset,
        nodes=len(graph.nodes),
        parameters=sum(kind.size or 0 for kind in graph.constants.values()),
        inputs={name: str(graph.type_of(name)) for name in graph.feeds},
        outputs={name: str(graph.type_of(name)) for name in graph.outputs},
    )


def data_info(dataset: Dataset | None, folder: Path | None) -> DataInfo | None:
    """The dataset as it was used."""
    if dataset is None:
        return None
    measured = dataset.evaluation or dataset.calibration
    return DataInfo(
        folder=str(folder),
        calibration_samples=len(dataset.calibration),
        calibration_digest=dataset.calibration.digest(),
        evaluation_samples=len(measured),
        evaluated_on=measured.part,
    )


def plan_info(planned: Planned, format_: str, activations: Mapping[str, QuantParams] | None = None) -> PlanInfo:
    """The plan for the report."""
    chosen, target = planned.plan, planned.target
    return PlanInfo(
        target=target.name,
        format=format_,
        nodes=tuple(_node_info(planned.graph, chosen, target, node.name) for node in planned.graph.nodes),
        tensors=tuple(_tensor_info(chosen, name, (activations or {}).get(name)) for name in chosen.tensors),
        macs=chosen.prediction.macs,
        integer_share=chosen.prediction.integer_share,
        float_bytes=chosen.prediction.float_bytes,
        bytes=chosen.prediction.bytes,
        speedup=chosen.prediction.speedup,
        cost_source=target.cost.source if target.cost else "",
    )


def _node_info(graph: Graph, chosen: Plan, target: Target, name: str) -> NodeInfo:
    node = chosen.nodes[name]
    timed = target.cost is not None
    return NodeInfo(
        name=name,
        op=graph.by_name[name].op,
        kind=node.kind.value,
        reason_code=node.reason.code if node.reason else "",
        reason=node.reason.text if node.reason else "",
        macs=node.macs,
        float_us=node.float_ns / 1000 if timed else None,
        us=node.integer_ns / 1000 if timed else None,
    )


def _tensor_info(chosen: Plan, name: str, params: QuantParams | None) -> TensorInfo:
    plan = chosen.tensors[name]
    if params is None:
        return TensorInfo(name=name, format=str(plan.format), group=plan.group)
    return TensorInfo(
        name=name,
        format=str(plan.format),
        group=plan.group,
        scale=float(np.asarray(params.scale).reshape(-1)[0]),
        zero_point=int(np.asarray(params.zero_point).reshape(-1)[0]),
        low=float(np.asarray(params.low).reshape(-1)[0]),
        high=float(np.asarray(params.high).reshape(-1)[0]),
    )
