"""Results on other cores: of the target, where the recipe asks for it, or those that are named."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from ...data import Samples
from ...errors import Diagnostic, Severity, fail
from ...evaluate import Emulation, measure_emulated
from ...evaluate.emulated import Runner
from ...recipe import Recipe
from ...runtime import Feed
from ...runtime.emulator import CORES, GROUPS, Core, absent, native
from ...targets import Target
from ..events import Stages

EMULATED_SAMPLES = 4  # an emulated inference takes 20 to 50 times as long
_SAME_DB = 60.0  # float operators round in another order elsewhere; integer kernels that agree leave no more than that


def cores_named(names: Sequence[str]) -> tuple[Core, ...]:
    """Cores for names of cores or of groups ("arm").

    Raises:
        QConvertError: R011 for an unknown name, T001 where a core cannot be emulated here.
    """
    chosen = dict.fromkeys(core for name in names for core in GROUPS.get(name, (name,)))
    unknown = next((name for name in chosen if name not in CORES), None)
    if unknown is not None:
        raise fail("R011", f"unknown core: {unknown}", None, f"one of {', '.join(dict.fromkeys((*GROUPS, *CORES)))}")
    cores = tuple(CORES[name] for name in chosen)
    for core in cores:
        if not native(core) and (reason := absent(core)):
            raise fail("T001", f"{core.title} cannot be emulated: {reason}", None, "qconvert emulator setup")
    return cores


def emulations(
    recipe: Recipe, target: Target, float_model: Path, path: Path, runner: Runner, samples: Samples, stages: Stages
) -> tuple[Emulation, ...]:
    """Run the result on every core that its target names, where `verify: emulate` asks for it; missing cores are noted.

    Raises:
        QConvertError: V008 where it does not run on one of them.
    """
    cores = [CORES[name] for name in target.runtime.cores] if recipe.verify == "emulate" else []
    if not cores:
        return ()
    for core in cores:
        if not native(core) and (reason := absent(core)):
            text = f"not emulated on {core.title}: {reason}"
            stages.note(Diagnostic("V104", text, None, "qconvert emulator setup", Severity.WARNING))
    there = [core for core in cores if native(core) or absent(core) is None]
    feeds = [sample.feed for sample in islice(samples, EMULATED_SAMPLES)]
    deployed = target.runtime.deployed
    return on_cores(there, float_model, path, runner, feeds, stages, deployed.config)


def on_cores(
    cores: Sequence[Core],
    float_model: Path,
    path: Path,
    runner: Runner,
    feeds: Sequence[Feed],
    stages: Stages,
    config: Sequence[tuple[str, str]] = (),
) -> tuple[Emulation, ...]:
    """Run a model and its FP32 original on cores; those of this host's own kind need no emulation and are only noted."""
    found = []
    with stages.stage("emulate") as progress:
        for n, core in enumerate(cores):
            if native(core):
                text = f"not emulated on {core.title}: this host is ARM, its own figures say more"
                stages.note(Diagnostic("V104", text, severity=Severity.NOTE))
            else:
                found.append(measure_emulated(core, float_model, path, runner, feeds, config))
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
        else "measure the accuracy on the target itself",
        Severity.WARNING,
    )
