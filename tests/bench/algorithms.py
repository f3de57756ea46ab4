"""Cost of `algorithms: auto` against the plain calibration of the same samples, and what each step brought."""

from __future__ import annotations

from . import artefacts
from .artefacts import Failed
from .calibration import calibrate, planned_static
from .cases import Case
from .tables import Table, held

COLUMNS = ("model", "samples", "calibration, CPU s", "auto, CPU s", "ratio", "bound", "steps (dB on held-out samples)")
BOUNDS = {"mobilenetv2_100_flowers": 20.0, "all_minilm_l6_v2_sts": 20.0}
_STAGE = "optimize"


def start() -> Table:
    """The empty table: one row a model."""
    table = Table("algorithms", "Cost of `algorithms: auto` against plain calibration (static mode)", COLUMNS)
    table.notes.append(
        "calibration: statistics and ranges by MSE, without creating the session and reading samples; steps in brackets were not kept"
    )
    return table


def add(table: Table, case: Case) -> None:
    """Convert one model and calibrate it."""
    made = artefacts.ours(case)
    if isinstance(made, Failed) or made.record is None:
        table.notes.append(f"{case.name}: {made.reason if isinstance(made, Failed) else 'no record'}")
        return
    auto = sum(stage.cpu_seconds for stage in made.record.stages if stage.name == _STAGE)
    plain, count = _calibration(case)
    steps = [(s.name, s.before_db, s.after_db, s.kept, s.seconds) for s in made.record.algorithms]
    shown = [f"{name} {before:.1f} to {after:.1f}" for name, before, after, *_ in steps]
    cells = {
        "model": case.name,
        "samples": str(count),
        "calibration, CPU s": f"{plain:.2f}",
        "auto, CPU s": f"{auto:.2f}",
        "ratio": f"{auto / plain:.1f}",
        "bound": held(auto / plain, BOUNDS.get(case.name), at_least=False),
        "steps (dB on held-out samples)": ", ".join(t if s[3] else f"({t})" for t, s in zip(shown, steps, strict=True)),
    }
    table.add(cells, {"model": case.name, "calibration": plain, "auto": auto, "ratio": auto / plain, "steps": steps})


def _calibration(case: Case) -> tuple[float, int]:
    """CPU seconds of the plain calibration, the better of two, and the number of samples."""
    planned, samples = planned_static(case), list(case.dataset().calibration)
    return min(calibrate(planned, samples, "mse") for _ in range(2)), len(samples)
