"""Options that several commands have."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import fail
from ..targets import TARGETS


def complete_targets(incomplete: str) -> list[str]:
    """Names of targets for the shell, also behind others and a comma."""
    before, comma, last = incomplete.rpartition(",")
    return [f"{before}{comma}{name}" for name in TARGETS if name.startswith(last) and name not in before.split(",")]


Model = Annotated[Path, typer.Argument(help="The ONNX model.", show_default=False)]
RecipeFile = Annotated[
    Path | None,
    typer.Option("--recipe", "-r", help="Recipe (YAML); without one the target's preset is used.", show_default=False),
]
TargetName = Annotated[
    str | None,
    typer.Option(
        "--target",
        "-t",
        help=f"Target: {', '.join(TARGETS)}; overrides the recipe's.",
        show_default=False,
        autocompletion=complete_targets,
    ),
]
TargetNames = Annotated[
    list[str] | None,
    typer.Option(
        "--target",
        "-t",
        help=f"Target: {', '.join(TARGETS)}; overrides the recipe's. Several (`-t a,b`) get a folder each.",
        show_default=False,
        autocompletion=complete_targets,
    ),
]
Data = Annotated[Path | None, typer.Option("--data", "-d", help="Dataset folder.", show_default=False)]
Threads = Annotated[int, typer.Option(min=1, help="Threads of calibration and evaluation.")]
SessionThreads = Annotated[int, typer.Option("--threads", min=1, help="Threads of the sessions.")]
Output = Annotated[
    str,  # a path would lose the slash at its end
    typer.Option(
        "--output", "-o", metavar="PATH", help="Output file (.onnx), or folder: what ends with a slash is one."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Machine output on stdout; everything else goes to stderr.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no report, only errors.")]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Override any key of the recipe: `--set calibration.method=percentile`; paths start in the working directory.",
        show_default=False,
    ),
]

Mode = Annotated[
    str | None,
    typer.Option(
        "--mode", help="auto, static, dynamic, weight-only, codebook, float8, float16 or bfloat16.", show_default=False
    ),
]
Bits = Annotated[int | None, typer.Option("--bits", help="Bits of the weights.", show_default=False)]
Block = Annotated[
    int | None,
    typer.Option(
        "--block", help="Weight-only: inputs of a neuron that share a scale; 0: one a channel.", show_default=False
    ),
]
FormatName = Annotated[
    str | None,
    typer.Option(
        "--format", help="Format of the file, where the target has several: qdq or qoperator.", show_default=False
    ),
]

Reports = Annotated[
    list[str] | None,
    typer.Option("--report", help="Reports beside the `json` one: `html,md,junit,csv`.", show_default=False),
]
EvaluationReports = Annotated[
    list[str] | None,
    typer.Option("--report", help="Reports to write: `json,html,md,csv`.", show_default=False),
]
ComparisonReports = Annotated[
    list[str] | None,
    typer.Option("--report", help="Reports to write: `json,html,md`.", show_default=False),
]
RecordReports = Annotated[
    list[str] | None,
    typer.Option("--report", help="Reports to make: `json,html,md,junit,csv`; shown here without.", show_default=False),
]
ReportDir = Annotated[
    Path | None,
    typer.Option("--report-dir", help="Folder of the reports, instead of beside the output.", show_default=False),
]
ReportFolder = Annotated[
    Path | None,
    typer.Option("--report-dir", help="Folder of the reports, instead of the current one.", show_default=False),
]
RecordFolder = Annotated[
    Path | None,
    typer.Option("--report-dir", help="Folder of the reports, instead of that of the record.", show_default=False),
]


FailOn = Annotated[
    list[str] | None,
    typer.Option(
        "--fail-on",
        help="Conditions that give exit code 5 when true, such as `sqnr<30` or `metric_drop>0.5%,size>2MiB`.",
        show_default=False,
    ),
]
CacheFolder = Annotated[
    Path | None,
    typer.Option(
        "--cache",
        envvar="QCONVERT_CACHE",
        help="Folder in which statistics and FP32 outputs are kept for later runs.",
        show_default=False,
    ),
]


def separated(given: Iterable[str] | None) -> list[str]:
    """Names in `-t a,b -t c`."""
    return [name.strip() for each in given or () for name in each.split(",") if name.strip()]


Ranges = Annotated[
    Path | None,
    typer.Option(
        "--ranges",
        help="Ranges that are known: a calibration cache of TensorRT, or AIMET's encodings; with them no data is needed.",
        show_default=False,
    ),
]


def formats(given: list[str] | None, known: Iterable[str] | None = None) -> list[str] | None:
    """Names in `--report html,md --report junit`; None where the option was not given.

    Args:
        known: the formats that there are; None where the recipe's own check follows.

    Raises:
        QConvertError: R011 for an unknown format.
    """
    if given is None:
        return None
    names = separated(given)
    unknown = [name for name in names if known is not None and name not in known]
    if unknown:
        raise fail(
            "R011", f"unknown report format: {', '.join(unknown)}", None, f"formats are {', '.join(known or ())}"
        )
    return names


def overrides(assignments: list[str] | None, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Dotted recipe keys to values from `--set` and from options that were given.

    Args:
        given: the same of options, None for those that were not given.

    Raises:
        QConvertError: R011 where `--set` is not KEY=VALUE.
    """
    changes = {key: value for key, value in (given or {}).items() if value is not None}
    for assignment in assignments or []:
        import yaml  # not without need: a run with nothing to do ends at once

        key, equals, text = assignment.partition("=")
        if not equals or not key.strip():
            raise fail(
                "R011", f"`--set` wants KEY=VALUE: {assignment}", None, "for instance `--set dataset.samples=64`"
            )
        try:
            changes[key.strip()] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise fail("R011", f"the value of `--set {key}` is not YAML: {text}", None, "quote the value") from error
    return changes


def seconds(text: str, option: str) -> float:
    """A time such as `90`, `60s`, `10m` or `1h` in seconds.

    Raises:
        QConvertError: R011 for anything else.
    """
    import re

    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?(s|m|h|)", text.strip())
    if found is None:
        raise fail("R011", f"`{option}` wants a time: {text}", None, f"for instance `{option} 60s` or `{option} 10m`")
    return float(found[1]) * {"": 1, "s": 1, "m": 60, "h": 3600}[found[2]]


def share(text: str, option: str) -> float:
    """A share such as `0.5%` or `0.005`.

    Raises:
        QConvertError: R011 for anything else, and for what is beyond 0 and 1.
    """
    import re

    found = re.fullmatch(r"(-?)([0-9]+(?:\.[0-9]+)?|\.[0-9]+) ?(%|)", text.strip())
    if found is None:
        raise fail("R011", f"`{option}` wants a number or a percentage: {text}", None, f"for instance `{option} 0.5%`")
    sign, number, percent = found.groups()
    if sign:
        raise fail(
            "R011", f"`{option}` wants a share that is not negative: {text}", None, f"for instance `{option} 0.5%`"
        )
    value = float(number) / (100 if percent else 1)
    if value > 1:
        hint = f"for instance `{option} 0.5%`" if percent or float(number) > 100 else f"write `{option} {number}%`"
        raise fail("R011", f"`{option}` wants a share of at most 100%: {text}", None, hint)
    return value


def positive(value: float, option: str) -> float:
    """A number above 0.

    Raises:
        QConvertError: R011 for anything else.
    """
    if not 0 < value < float("inf"):
        raise fail("R011", f"`{option}` wants a positive number: {value:g}", None, f"for instance `{option} 1.5`")
    return value
