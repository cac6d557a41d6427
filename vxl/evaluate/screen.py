"""How results read on a screen, at 80 columns and at 160."""

import math
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.markup import escape

from vxl.evaluate.cost import Cost
from vxl.evaluate.metrics import Metric, grouped, label_names, letters_line, micro
from vxl.evaluate.report import Report
from vxl.evaluate.scoring import Accuracy, Graded
from vxl.table import Listing
from vxl.terminal.screen import prose
from vxl.units import human_size, percent

COST_TITLE = "cost of a question (median)"
_LONG = 12
"""More values of a label than this are left to the JSON."""
_LINES = 4
"""More metrics than this are a table instead of a line each."""


def show_report(report: Report, console: Console) -> None:
    """Prints accuracy by kind, what the headline is worth, then cost."""
    checkpoint = "" if report.checkpoint in report.run else f" · {report.checkpoint}"
    title = escape(f"{report.benchmark} · {report.title}{checkpoint}")
    if report.incomplete is not None:
        title += f" · [red]incomplete ({report.incomplete})[/]"
    if report.overall.total and any(item.options for item in report.graded):
        _kinds(report, title).show(console)
    else:
        console.print(title, highlight=False)
    if len(report.metrics) > _LINES:
        _metrics(report.metrics).show(console)
    else:
        for line in metric_lines(report.metrics):
            prose(console, line)
    for table in _labels(report):
        table.show(console)
    cost_table(report.cost).show(console)
    for line in _remarks(report):
        prose(console, line)


def metric_lines(metrics: Sequence[Metric]) -> list[str]:
    """`accuracy 66.37 ± 1.80 % (95 %, 2700 items of 900 videos, design effect 1.02)`, a line a metric."""
    lines = []
    for metric in metrics:
        estimate = metric.estimate
        unit = " %" if metric.scale == 100 else ""
        value = f"{metric.name} {metric.scale * estimate.mean:.2f}{unit}"
        if estimate.interval is None:
            worth = f"too few videos ({estimate.clusters}) for an interval"
        else:
            low, high = (metric.scale * end for end in estimate.interval)
            worth = f"95 %: {low:.2f} to {high:.2f}"
            if estimate.design_effect is not None:
                worth += f", design effect {estimate.design_effect:.2f}"
        lines.append(f"{value}  ({worth}; {estimate.items} items of {estimate.clusters} videos)")
    return lines


def _metrics(metrics: Sequence[Metric]) -> Listing:
    """A row a metric, with clustered intervals."""
    table = Listing("", ("metric", "score", "95 %, by video", "items", "videos"))
    for number, metric in enumerate(metrics):
        estimate, unit = metric.estimate, " %" if metric.scale == 100 else ""
        worth = "too few videos"
        if estimate.interval is not None:
            low, high = (f"{metric.scale * end:.2f}" for end in estimate.interval)
            worth = f"{low} to {high}{unit}"
        cells = (
            f"{metric.scale * estimate.mean:.2f}{unit}",
            worth,
            str(estimate.items),
            str(estimate.clusters),
        )
        table.add(escape(metric.name), *cells, style="bold" if not number else None)
    return table


def cost_table(cost: Cost) -> Listing:
    """Cost as one row."""
    cells = cost_cells(cost)
    return Listing(COST_TITLE, tuple(cells), rows=[(tuple(cells.values()), None)])


def cost_cells(cost: Cost) -> dict[str, str]:
    """Cost as it reads in a table, by its column."""
    return {
        "prefill": _milliseconds(cost.prefill_ms),
        "first token": _milliseconds(cost.first_token_ms),
        "decode": "-" if math.isnan(cost.decode_tokens_per_s) else f"{cost.decode_tokens_per_s:.1f} tokens/s",
        "cache": f"{_size(cost.cache_bytes)} + {_size(cost.cache_room_bytes)} room",
        f"peak memory ({cost.peak_memory_of})": _size(cost.peak_memory_bytes),
        "frames": _count(cost.frames),
        "visual tokens": _count(cost.visual_tokens),
        "FLOPs": "-" if math.isnan(cost.prefill_flops) else f"{cost.prefill_flops:.3g}",
        "all questions": f"{cost.seconds:.1f} s",
    }


def _kinds(report: Report, title: str) -> Listing:
    """Accuracy by kind with Wilson's intervals."""
    table = Listing(title, ("questions", "accuracy", "95 % interval", "chance", "right", "no letter"))
    for kind, accuracy in report.kinds.items() if len(report.kinds) > 1 else ():
        table.add(*_cells(kind, accuracy))
    table.add(*_cells("all", report.overall), style="bold")
    return table


def _labels(report: Report) -> list[Listing]:
    """A table for each further label, its values with clustered intervals."""
    tables = []
    for name in label_names(report.graded):
        groups = grouped(report.graded, name)
        if name.startswith("_") or not 1 < len(groups) <= _LONG or _is_kind(groups, report):
            continue
        table = Listing("", (name, "score", "95 %, by video", "items"))
        for value, items in groups.items():
            estimate = micro(items).estimate
            interval = "too few videos"
            if estimate.interval is not None:
                interval = f"{100 * estimate.interval.low:.1f} to {100 * estimate.interval.high:.1f} %"
            table.add(escape(value), percent(estimate.mean), interval, str(estimate.items))
        tables.append(table)
    return tables


def _is_kind(groups: Mapping[str, Sequence[Graded]], report: Report) -> bool:
    """Whether a label parts the items as their kinds do, which the first table shows."""
    kinds = [{item.kind for item in items} for items in groups.values()]
    return len(groups) == len(report.kinds) and all(len(labels) == 1 for labels in kinds)


def _remarks(report: Report) -> list[str]:
    """What a reader should know before believing the number."""
    lines = letters_line(report.graded)
    if report.overall.total and not report.overall.beats_chance and report.overall.chance:
        lines.append("not above chance: these questions do not show that the model has learned")
    if report.missing:
        lines.append(f"{len(report.missing)} items left out: their videos are missing")
    if report.failed:
        lines.append(f"{len(report.failed)} items failed and count as wrong, e.g. {report.failed[0].failed}")
    for name, entries in (("dropped", report.dropped), ("mended", report.mended)):
        if entries:
            lines.append(f"{name}: {len(entries)} items with known defects, e.g. {entries[0]}")
    lines += report.notes
    lines.append(f"protocol {report.protocol.short}: compare only with results of the same")
    return lines


def _cells(kind: str, accuracy: Accuracy) -> list[str]:
    low, high = accuracy.interval
    return [
        escape(kind),
        f"{100 * accuracy.share:.1f} %" if accuracy.total else "-",
        f"{100 * low:.1f} to {100 * high:.1f} %",
        f"{100 * accuracy.chance:.1f} %" if accuracy.total else "-",
        f"{accuracy.right}/{accuracy.total}",
        str(accuracy.unparsed),
    ]


def _milliseconds(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.1f} ms"


def _size(value: float) -> str:
    return "-" if math.isnan(value) else human_size(value)


def _count(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.0f}"
