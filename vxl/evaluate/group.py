"""Several members of one evaluation side by side: one table, every difference paired with the first."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vxl.atomic import write_text
from vxl.errors import DataError
from vxl.evaluate.fingerprint import unlike
from vxl.evaluate.report import Report
from vxl.evaluate.work.changes import shown
from vxl.statistics import Difference, difference, holm
from vxl.units import human_size


@dataclass(frozen=True)
class Against:
    """A member against the first one."""

    report: Report
    test: Difference | None
    """None where the two can't be paired."""
    adjusted: float | None
    """p value of the sign flips by video, adjusted (Holm) for all that are shown together."""
    reason: str | None = None


def against_first(reports: Sequence[Report]) -> list[Against]:
    """Pairs every later member with the first, on the headline metric."""
    if not reports or not reports[0].metrics:
        return []
    first = reports[0]
    tests: list[tuple[Report, Difference | None, str | None]] = []
    for other in reports[1:]:
        parted = unlike(first.protocol.comparable(), other.protocol.comparable())
        if parted:
            tests.append((other, None, "another protocol: " + ", ".join(parted)))
            continue
        metric, theirs = first.metrics[0], other.metrics[0]
        try:
            tests.append((other, difference(metric.units, theirs.units, macro=metric.macro), None))
        except DataError as error:
            tests.append((other, None, str(error).splitlines()[0]))
    adjusted = iter(holm([test.sign_flip for _, test, _ in tests if test is not None]))
    return [
        Against(report, test, None if test is None else next(adjusted), reason)
        for report, test, reason in tests
    ]


def show_group(
    reports: Sequence[Report], failures: Sequence[tuple[str, str]], console: Console, folder: Path
) -> None:
    """Prints the members' table, their differences and what failed; writes the same as JSON.

    Args:
        reports: At least one.
        failures: (name, reason) of members that could not be evaluated.
        console: Where to print.
        folder: Where `group-<benchmark>.json` goes.
    """
    if reports:
        console.print(table(reports, console.width))
    for report in reports:
        if report.incomplete is not None:
            console.print(f"* {report.title}: {report.incomplete} answered", markup=False, highlight=False)
    pairs = against_first(reports)
    for pair in pairs:
        console.print(line(pair, reports[0]), markup=False, highlight=False)
    if len(pairs) > 1:
        console.print("p values: sign flips by video, adjusted by Holm for all of the above", style="dim")
    for name, reason in failures:
        console.print(f"{name} failed: {reason}", style="red", markup=False)
    if not reports:
        return
    path = folder / f"group-{reports[0].benchmark}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(plain(reports, pairs, failures), indent=1, ensure_ascii=False) + "\n")
    console.print(f"written: {path}", markup=False)


def table(reports: Sequence[Report], width: int) -> Table:
    """One row a member: the headline with its clustered interval, and costs where they fit."""
    wide = width >= 120
    names = _names(reports)
    made = Table(
        title=escape(f"{reports[0].benchmark}"), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False
    )
    headline = reports[0].metrics[0].name if reports[0].metrics else "score"
    columns = [headline, "95 %", "no letter", "prefill", "cache", "tokens"]
    if wide:
        columns += ["first token", "decode", "peak"]
    made.add_column("member", overflow="fold")
    for column in columns:
        made.add_column(column, justify="right", no_wrap=True)
    for name, report in zip(names, reports, strict=True):
        cost = report.cost
        value = interval = "-"
        if report.metrics:
            found, scale = report.metrics[0].estimate, report.metrics[0].scale
            value = f"{scale * found.mean:.2f}"
            if found.interval is not None:
                interval = f"{scale * found.interval.low:.1f}–{scale * found.interval.high:.1f}"
        if report.incomplete is not None:
            value += "*"
        cells = [
            value,
            interval,
            str(report.overall.unparsed),
            f"{cost.prefill_ms:.0f} ms",
            human_size(cost.cache_bytes),
            f"{cost.visual_tokens:.0f}",
        ]
        if wide:
            decode = cost.decode_tokens_per_s
            cells += [
                f"{cost.first_token_ms:.0f} ms",
                "-" if decode != decode else f"{decode:.0f}/s",
                human_size(cost.peak_memory_bytes),
            ]
        made.add_row(escape(name), *cells)
    return made


def line(pair: Against, first: Report) -> str:
    """`kv=snapkv: -0.33 points against … (95 %: -1.37 to 0.71; p = 0.58; below 1.5 it would not show)`."""
    name, base = _names([pair.report, first])
    if pair.test is None:
        return f"{name}: not paired with {base}: {pair.reason}"
    found = pair.test.estimate
    text = f"{name}: {100 * found.mean:+.2f} points against {base}"
    if found.interval is None:
        text += " (too few videos for an interval"
    else:
        text += f" (95 %: {100 * found.interval.low:+.2f} to {100 * found.interval.high:+.2f}"
    text += f"; p = {pair.adjusted:.2g}"
    if pair.test.detectable is not None:
        text += f"; a difference below {100 * pair.test.detectable:.2f} would not have shown"
    return text + ")"


def plain(
    reports: Sequence[Report], pairs: Sequence[Against], failures: Sequence[tuple[str, str]]
) -> dict[str, Any]:
    """For JSON."""
    return {
        "benchmark": reports[0].benchmark,
        "members": [
            {
                "run": report.run,
                "member": report.member,
                "protocol": report.protocol.short,
                "metrics": [metric.plain() for metric in report.metrics],
                "unparsed": report.overall.unparsed,
                "cost": report.cost.plain(),
            }
            for report in reports
        ],
        "against_first": [
            {
                "run": pair.report.run,
                "member": pair.report.member,
                "p_adjusted": pair.adjusted,
                "reason": pair.reason,
                **({} if pair.test is None else pair.test.plain()),
            }
            for pair in pairs
        ],
        "failures": dict(failures),
    }


def _names(reports: Sequence[Report]) -> list[str]:
    """What tells the members apart."""
    runs = {report.run for report in reports}
    if len(runs) == 1:
        return [shown(report.member) or "as trained" for report in reports]
    common = len({report.run.rpartition("/")[0] for report in reports}) == 1
    return [
        f"{report.run.rpartition('/')[2] if common else report.run} {shown(report.member)}".strip()
        for report in reports
    ]
