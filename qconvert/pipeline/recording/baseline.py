"""The report of an earlier run as the baseline of gates."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from ...errors import Diagnostic, Severity, fail
from ...evaluate import Baseline, Metric
from ...report.record import DataInfo, ModelInfo
from ..storage.staging import Destination
from .reports import first_mistake, load_record

_OTHER = (
    "name the report of this model in `gates.against`; one of an earlier run, or the first with `--update-baseline`"
)
_HINT = "`qconvert convert --update-baseline` writes it from a run whose other gates hold"


class _Part(BaseModel):
    """The part of a record that gates need; what other versions of the tool add is of no concern."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class _Model(_Part):
    sha256: str
    inputs: dict[str, str]
    outputs: dict[str, str]


class _Metric(_Part):
    name: str
    float_value: float
    value: float
    drop: float
    higher_is_better: bool
    samples: int


class _Fidelity(_Part):
    sqnr_db: float


class _Size(_Part):
    bytes: int


class _Latency(_Part):
    ratio: float
    host: str


class _Measurements(_Part):
    fidelity: _Fidelity | None = None
    metrics: tuple[_Metric, ...] = ()
    size: _Size | None = None
    latency: _Latency | None = None


class _Data(_Part):
    evaluation_samples: int
    evaluated_on: str


class _Plan(_Part):
    integer_share: float


class _Readback(_Part):
    integer_macs: float


class Earlier(_Part):
    """What is read of an earlier record."""

    target: str
    status: str
    model: _Model
    measurements: _Measurements
    plan: _Plan
    readback: _Readback | None = None
    data: _Data | None = None

    def baseline(self, name: str) -> Baseline:
        """Its figures for the gates."""
        found = self.measurements
        return Baseline(
            name=name,
            metrics=tuple(Metric(**metric.model_dump()) for metric in found.metrics),
            sqnr_db=found.fidelity.sqnr_db if found.fidelity else None,
            bytes=found.size.bytes if found.size else None,
            speedup=found.latency.ratio if found.latency else None,
            host=found.latency.host if found.latency else "",
            integer_share=self.readback.integer_macs if self.readback else self.plan.integer_share,
        )


def check_baseline(path: Path | None, place: Destination, update: bool) -> None:
    """Refuse what cannot work, before anything is computed.

    Args:
        update: the run is to become the baseline.

    Raises:
        QConvertError: O003 where the run's own report would replace the baseline, so that each run would be judged by the one
            before; R011 where a baseline is to be updated and none is named.
    """
    if path is None and update:
        text = "`--update-baseline` has no file to write: the recipe has no `gates.against`"
        raise fail("R011", text, None, "add `gates: {against: baseline.json, metric_drop: 0.2%}` to the recipe")
    if path is not None and path.resolve() == place.report.resolve():
        text = "the report of this run would replace the baseline that it is judged by"
        raise fail("O003", text, path, "keep the baseline in another folder or under another name")


def read_baseline(path: Path, target: str) -> Earlier:
    """Read an earlier record.

    Raises:
        QConvertError: R014 where there is none, it cannot be read, or it is for another target.
    """
    content = load_record(path, "R014", _HINT)
    try:
        found = Earlier.model_validate(content)
    except ValidationError as error:
        raise fail("R014", f"the baseline is no run record: {first_mistake(error)}", path, _HINT) from error
    if found.target != target:
        text = f"the baseline is a run for {found.target}, this one is for {target}"
        raise fail("R014", text, path, "name the report of a run for the same target in `gates.against`")
    return found


def comparable(found: Earlier, model: ModelInfo, data: DataInfo | None, path: Path) -> tuple[Diagnostic, ...]:
    """Ways in which the runs differ although their figures can be compared, as G101.

    Raises:
        QConvertError: R014 where the model has other inputs or outputs.
    """
    if (found.model.inputs, found.model.outputs) != (model.inputs, model.outputs):
        raise fail("R014", "the baseline is of a model with other inputs or outputs", path, _OTHER)
    differences = []
    if found.model.sha256 != model.sha256:
        differences.append("the model has changed since the baseline")
    if found.data and data and _judged(found.data) != _judged(data):
        differences.append(f"the baseline was measured on {_judged(found.data)}, this run on {_judged(data)}")
    if found.status != "done":
        differences.append(f"the run of the baseline ended with: {found.status}")
    return tuple(Diagnostic("G101", text, str(path), None, Severity.WARNING) for text in differences)


def _judged(data: DataInfo | _Data) -> str:
    return f"{data.evaluation_samples} {data.evaluated_on} samples"
