"""The result on other cores of its target, where the recipe asks for it and an emulator is set up."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from ..data import Samples
from ..errors import Diagnostic, Severity
from ..evaluate import Emulation, measure_emulated
from ..evaluate.emulated import Runner
from ..recipe import Recipe
from ..runtime.emulator import CORES, absent, native
from ..targets import Target
from .events import Stages

_SAMPLES = 4  # an emulated inference takes 20 to 50 times as long
_SAME_DB = 60.0  # float operators round in another order elsewhere; integer kernels that agree leave no more than that


def emulations(
    recipe: Recipe, target: Target, float_model: Path, path: Path, runner: Runner, samples: Samples, stages: Stages
) -> tuple[Emulation, ...]:
    """Run the result on every core that its target names; cores that cannot be emulated here are noted and left out.

    Raises:
        QConvertError: V008 where it does not run on one of them.
    """
    cores = [CORES[name] for name in target.cores] if recipe.verify == "emulate" else []
    if not cores:
        return ()
    feeds = [sample.feed for sample in islice(samples, _SAMPLES)]
    deployed = next(s for s in target.sessions if s.deployed)
    found = []
    with stages.stage("emulate") as progress:
        for n, core in enumerate(cores):
            reason = "this host is one itself, see the latency" if native(core) else absent(core)
            if reason is not None:
                level = Severity.NOTE if native(core) else Severity.WARNING
                stages.note(Diagnostic("V104", f"not emulated on {core.title}: {reason}", severity=level))
                continue
            found.append(measure_emulated(core, float_model, path, runner, feeds, deployed.config))
            progress(n + 1, len(cores))
    stages.note(*(_differs(one) for one in found if one.sqnr_db < _SAME_DB))
    return tuple(found)


def _differs(found: Emulation) -> Diagnostic:
    saturates = CORES[found.core].machine == "x86_64"
    return Diagnostic(
        "V105",
        f"on an emulated {found.title} the outputs are {found.sqnr_db:.1f} dB from those of this host",
        None,
        "`reduce_range: true` keeps sums from saturating on machines without VNNI"
        if saturates
        else "judge the accuracy with `qconvert evaluate --on arm`",
        Severity.WARNING,
    )
