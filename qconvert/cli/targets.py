"""`qconvert targets`."""

from __future__ import annotations

from .console import out
from .options import Json


def targets(as_json: Json = False) -> int:
    """List the targets with their formats and integer kernels."""
    import json
    from dataclasses import asdict

    from rich.table import Table

    from ..targets import TARGETS

    if as_json:
        print(json.dumps({name: asdict(target) for name, target in TARGETS.items()}, indent=1))
        return 0
    table = Table("target", "activations", "weights", "bias", "formats", "integer operators", show_lines=True)
    for name, target in TARGETS.items():
        kernels = ", ".join(dict.fromkeys(k.op for k in target.kernels.integer))
        weights = f"{target.formats.weight}, {'per channel' if target.formats.per_channel else 'per tensor'}"
        table.add_row(
            f"{name}\n{target.title}",
            str(target.formats.activation),
            weights,
            target.formats.bias,
            ", ".join(target.artefact.formats),
            kernels,
        )
    out().print(table)
    return 0
