"""The report for a terminal: tables that read well in colour, without colour, and in a log."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from ..evaluate.model import Interval, Measurements, Metric
from ..verify.model import Device
from .message import message_text
from .record import PlanInfo, RunRecord
from .rows import NodeGroup, emulation_row, node_groups
from .words import CORRECTED, decibel, number, size

_SHOWN = 8  # rows of long lists; the JSON report has them all


def render(record: RunRecord) -> RenderableType:
    """The whole report of a conversion."""
    return Group(*_parts(record))


def _parts(record: RunRecord) -> Iterator[RenderableType]:
    yield verdict(record)
    yield measurements_table(record.measurements)
    if record.computed:
        yield Text(f"computed {record.computed}")
    yield plan_table(record.plan)
    if record.readback is not None:
        yield _runs_as(record)
    if record.device is not None:
        yield _device(record.device)
    if record.forecast:
        yield Text(record.forecast)
    if record.algorithms:
        yield _algorithms(record)
    if record.measurements.layers:
        yield _layers(record)
    if record.gates:
        yield _gates(record)
    yield from (message_text(p.code, p.severity, p.message, p.where, p.hint) for p in record.diagnostics)
    yield _outputs(record)
    if record.try_with and record.outputs:
        yield Text("deploy with: " + record.try_with.replace("{model}", record.outputs[0].path))


def verdict(record: RunRecord) -> Text:
    """One line with the figures that matter."""
    measured, parts = record.measurements, []
    for metric in measured.metrics[:1]:
        parts.append(f"{metric.name} {number(metric.float_value)} -> {number(metric.value)}")
    if measured.fidelity:
        parts.append(f"{decibel(measured.fidelity.sqnr_db)}")
    if measured.size:
        parts.append(smaller(measured.size.ratio))
    if measured.latency:
        parts.append(f"{measured.latency.ratio:.2f}x FP32 speed")
    good = record.status == "done"
    head = Text(f"{record.target}: {record.status}", style="bold green" if good else "bold red")
    return head.append("  " + "  ".join(parts), style="default")


def measurements_table(measured: Measurements) -> Table:
    """Accuracy, size and latency, FP32 beside the result."""
    table = Table("", "FP32", "result", "", title="accuracy, size, latency", title_justify="left", title_style="bold")
    for metric in measured.metrics:
        table.add_row(escape(metric.name), number(metric.float_value), number(metric.value), _drop(metric))
    if measured.fidelity:
        fidelity = measured.fidelity
        table.add_row("output SQNR", "", decibel(fidelity.sqnr_db), f"{fidelity.samples} {fidelity.part} samples")
        table.add_row("output cosine", "", f"{fidelity.cosine:.5f}", "")
        if fidelity.agreement is not None:
            table.add_row(
                "same top-1", "", f"{fidelity.agreement:.1%}", _interval(fidelity.agreement_interval, "{:.1%}")
            )
    if measured.size:
        table.add_row("size", size(measured.size.float_bytes), size(measured.size.bytes), smaller(measured.size.ratio))
    if measured.latency:
        latency = measured.latency
        quartiles = f"quartiles {latency.ratio_quartiles[0]:.2f} to {latency.ratio_quartiles[1]:.2f}"
        table.add_row(
            "latency, median",
            f"{latency.float_ms:.3f} ms",
            f"{latency.ms:.3f} ms",
            f"{latency.ratio:.2f}x ({quartiles})",
        )
        table.add_row(
            "latency, p95",
            f"{latency.float_p95_ms:.3f} ms",
            f"{latency.p95_ms:.3f} ms",
            f"{latency.threads} thread(s), {latency.clock} time",
        )
        if not latency.on_target:
            table.add_row("", "", "", f"on {escape(latency.host)}, not the target")
    for title, before, after, change in map(emulation_row, measured.emulated):
        table.add_row(title, before, after, change)
    return table


def plan_table(plan: PlanInfo) -> Table:
    """How many nodes became what, and why the float ones did."""
    table = Table("nodes", "become", "MACs", "why", title="plan", title_justify="left", title_style="bold")
    for group in node_groups(plan):
        table.add_row(str(group.count), group.kind, f"{group.share:.1%}" if group.share else "", escape(_why(group)))
    expected = [
        f"{plan.integer_share:.1%} of the MACs in integer kernels",
        f"weights {size(plan.float_bytes)} -> {size(plan.bytes)}",
    ]
    if plan.speedup is not None:
        expected.append(f"predicted {plan.speedup:.2f}x FP32 speed")
    table.caption, table.caption_justify = "; ".join(expected), "left"
    return table


def _why(group: NodeGroup) -> str:
    if not group.reason:
        return ""
    return f"{group.reason} [{group.reason_code}]" + (
        f", first `{group.first}`" if group.count > 1 else f", `{group.first}`"
    )


def _runs_as(record: RunRecord) -> Table:
    table = Table("kernel", "nodes", title="what the runtime executes", title_justify="left", title_style="bold")
    readback = record.readback
    if readback is None:
        return table
    for kernel, count in sorted(readback.kernels.items(), key=lambda item: (-item[1], item[0]))[:_SHOWN]:
        table.add_row(escape(kernel), str(count))
    table.caption_justify = "left"
    table.caption = f"{readback.integer_macs:.1%} of the MACs in integer kernels, {readback.conversions} conversions left, {len(readback.islands)} float islands"
    return table


def _device(needs: Device) -> Table:
    table = Table("", "", title="on the device", title_justify="left", title_style="bold")
    if needs.arena is not None and needs.head is not None and needs.tail is not None:
        table.add_row(
            "arena used (x86-64)", f"{size(needs.arena)}: {size(needs.head)} activations, {size(needs.tail)} structures"
        )
    table.add_row(
        "arena to reserve",
        f"{size(needs.recommended)}, {'measured with a margin' if needs.measured else 'estimated, the file was not run'}",
    )
    table.add_row(
        "operators",
        ", ".join(
            f"{o.count} {o.name}" + (f" ({o.macs / needs.macs:.0%} of the MACs)" if o.macs and needs.macs else "")
            for o in needs.operators
        ),
    )
    for core in needs.cores:
        table.add_row(core.name, f"{core.instructions / 1e6:.2f} M instructions, {core.basis}")
    if needs.witness is not None:
        table.add_row(
            "second interpreter", f"{needs.witness:.2%} of the outputs equal, largest difference {needs.largest} codes"
        )
    for line in needs.layouts:
        table.add_row("", escape(line))
    return table


def _algorithms(record: RunRecord) -> Table:
    table = Table(
        "algorithm",
        "before",
        "after",
        "kept",
        "seconds",
        title="accuracy algorithms, on held-out calibration samples",
        title_justify="left",
        title_style="bold",
        caption=f"* {CORRECTED}" if any(step.corrected for step in record.algorithms) else None,
        caption_justify="left",
    )
    for step in record.algorithms:
        table.add_row(
            f"{step.name} *" if step.corrected else step.name,
            decibel(step.before_db),
            decibel(step.after_db),
            "yes" if step.kept else "no",
            f"{step.seconds:.1f}",
        )
    return table


def _layers(record: RunRecord) -> Table:
    table = Table("tensor", "by", "SQNR", title="tensors furthest from FP32", title_justify="left", title_style="bold")
    for layer in sorted(record.measurements.layers, key=lambda item: item.sqnr_db)[:_SHOWN]:
        table.add_row(escape(layer.tensor), escape(layer.op), decibel(layer.sqnr_db))
    return table


def _gates(record: RunRecord) -> Table:
    table = Table("gate", "", "", title="gates", title_justify="left", title_style="bold")
    for gate in record.gates:
        table.add_row(
            gate.name, Text("passed", "green") if gate.passed else Text("FAILED", "bold red"), escape(gate.text)
        )
    return table


def _outputs(record: RunRecord) -> Text:
    seconds = sum(stage.seconds for stage in record.stages)
    files = ", ".join(f"{o.path} ({size(o.bytes)})" for o in record.outputs)
    return Text(f"wrote {files} in {seconds:.1f} s")


def _drop(metric: Metric) -> str:
    return f"drop {number(metric.drop)} {_interval(metric.interval, '{:+.4g}')} on {metric.samples} samples".replace(
        "  ", " "
    )


def _interval(interval: Interval | None, form: str) -> str:
    return "" if interval is None else f"(95 %: {form.format(interval.low)} to {form.format(interval.high)})"


def smaller(ratio: float) -> str:
    """A size ratio in words."""
    return f"{ratio:.2f}x smaller" if ratio >= 1 or not ratio else f"{1 / ratio:.2f}x larger"
