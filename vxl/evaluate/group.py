"""Several members of one evaluation: results, with differences from the first and `kv=recent`, and costs."""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from vxl.atomic import write_text
from vxl.evaluate.fingerprint import unlike
from vxl.evaluate.report import Report
from vxl.evaluate.screen import COST_TITLE, cost_cells
from vxl.evaluate.work.changes import shared_words, shown
from vxl.statistics import Difference, adjusted_by_holm, paired_difference
from vxl.table import Listing
from vxl.terminal.screen import prose

RECENT = "recent"
"""The policy that needs no thought: what another gains is the difference from it at the same budget."""
_LINES = 6
"""More differences than this stand in the table alone."""


@dataclass(frozen=True)
class Against:
    """A member against another one."""

    report: Report
    base: Report
    test: Difference | None
    """None where the two can't be paired."""
    adjusted: float | None
    """p value of the sign flips by video, adjusted (Holm) for all that are shown together."""
    reason: str | None = None

    @property
    def scale(self) -> float:
        """What a score of 1 is shown as."""
        return self.report.metrics[0].scale

    @property
    def detectable(self) -> float | None:
        """The smallest difference that would have been seen, as it is shown."""
        least = None if self.test is None else self.test.detectable
        return None if least is None else self.scale * least


def differences(reports: Sequence[Report]) -> list[Against]:
    """Pairs every later member with the first, and policies with `kv=recent` of the same budget where that is
    a member, on the headline metric."""
    if not reports or not reports[0].metrics:
        return []
    pairs = []
    for other, base in _pairs(reports):
        unlike_keys = unlike(base.protocol.comparable(), other.protocol.comparable())
        metric, theirs = base.metrics[0], other.metrics[0]
        test, reason = paired_difference(metric.units, theirs.units, unlike=unlike_keys, macro=metric.macro)
        pairs.append(Against(other, base, test, None, reason))
    adjusted = adjusted_by_holm([None if pair.test is None else pair.test.sign_flip for pair in pairs])
    return [replace(pair, adjusted=p_value) for pair, p_value in zip(pairs, adjusted, strict=True)]


def _pairs(reports: Sequence[Report]) -> Iterator[tuple[Report, Report]]:
    """(a member, what it is compared with)."""
    # Policies that have no kv.of are compared with the same share of whatever it is of.
    by_name = {(report.run, re.sub(r",kv\.of=\w+", "", report.member)): report for report in reports}
    by_name |= {(report.run, report.member): report for report in reports}
    for report in reports[1:]:
        yield report, reports[0]
        recent = by_name.get((report.run, re.sub(r"\bkv=\w+", f"kv={RECENT}", report.member)))
        if recent is not None and recent is not report and recent is not reports[0]:
            yield report, recent


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
    pairs = differences(reports)
    if reports:
        results(reports, pairs).show(console)
        costs(reports).show(console)
    for report in reports:
        if report.incomplete is not None:
            prose(console, f"* {report.title}: {report.incomplete} answered")
    for remark in [*remarks(pairs), *_protocols(reports)]:
        prose(console, remark)
    for text in failed(failures):
        prose(console, text, style="red")
    if not reports:
        return
    path = folder / f"group-{reports[0].benchmark}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(plain(reports, pairs, failures), indent=1, ensure_ascii=False) + "\n")
    each = f"\neach member's, with all of its costs: {folder}/MEMBER/{reports[0].benchmark}.json and .png"
    written = f"{path}{each if any(report.member for report in reports) else ''}"
    console.print(f"written: {written}", markup=False, soft_wrap=True)


def failed(failures: Sequence[tuple[str, str]]) -> list[str]:
    """A line for each sort of reason: many members fail for one, which differs in its numbers."""
    sorts: dict[str, list[tuple[str, str]]] = {}
    for name, reason in failures:
        sorts.setdefault(re.sub(r"[\d.]+", "", reason), []).append((name, reason))
    return [
        (
            f"{examples[0][0]} failed"
            if len(examples) == 1
            else f"{len(examples)} failed, e.g. {examples[0][0]}"
        )
        + f": {examples[0][1]}"
        for examples in sorts.values()
    ]


def results(reports: Sequence[Report], pairs: Sequence[Against]) -> Listing:
    """One row a member: the headline with its clustered interval, and differences in points."""
    headline = reports[0].metrics[0].name if reports[0].metrics else "score"
    bases = _bases(pairs)
    unread = any(report.overall.unparsed for report in reports)
    columns = ("member", headline, "95 %, by video", *(f"against {name}" for name in bases))
    columns += ("no letter",) * unread
    title = " · ".join([reports[0].benchmark, *shared_words([report.member for report in reports])])
    listing = Listing(escape(title), columns, words=("member",))
    pair_of = {(id(pair.report), name): pair for name, own in bases.items() for pair in own}
    for name, report in zip(_apart(reports), reports, strict=True):
        value = interval = "-"
        if report.metrics:
            estimate, scale = report.metrics[0].estimate, report.metrics[0].scale
            unit = " %" if scale == 100 else ""
            value, interval = f"{scale * estimate.mean:.1f}{unit}", "too few videos"
            if estimate.interval is not None:
                low, high = (f"{scale * end:.1f}" for end in estimate.interval)
                interval = f"{low} to {high}{unit}"
        if report.incomplete is not None:
            value += "*"
        against = [_points(pair_of.get((id(report), base))) for base in bases]
        listing.add(escape(name), value, interval, *against, *[str(report.overall.unparsed)] * unread)
    return listing


def costs(reports: Sequence[Report]) -> Listing:
    """One row a member: what a question costs, as the median; each member's own report has more of it."""
    peak = f"peak memory ({reports[0].cost.peak_memory_of})"
    columns = ("cache", peak, "visual tokens", "prefill", "first token", "decode")
    listing = Listing(COST_TITLE, ("member", *columns), words=("member",))
    for name, report in zip(_apart(reports), reports, strict=True):
        cells = cost_cells(report.cost)
        listing.add(escape(name), *(cells[column].partition(" + ")[0] for column in columns))
    return listing


def remarks(pairs: Sequence[Against]) -> list[str]:
    """What the differences are worth: a line each where they are few, else what holds for all of them."""
    if not pairs:
        return []
    lines = []
    if len(pairs) <= _LINES:
        lines += [line(pair) for pair in pairs]
    else:
        for name, own in _bases(pairs).items():
            apart = [pair for pair in own if pair.test is not None and not pair.test.identical]
            least = [pair.detectable for pair in apart if pair.detectable is not None]
            if least:
                missed = f"differences below {max(least):.1f} points may have been missed"
                lines.append(f"against {name}: {missed}")
        unpaired = [pair for pair in pairs if pair.test is None]
        if unpaired:
            lines.append(f"{len(unpaired)} not paired, e.g. {line(unpaired[0])}")
        lines.append("differences in points, ± 95 % by video (too few videos: none)")
        if any(pair.test is not None and pair.test.identical for pair in pairs):
            lines.append("same: the same score on every question")
    if len(pairs) > 1:
        lines.append("* p < 0.05: sign flips by video, adjusted by Holm for all of the above")
    return lines


def _protocols(reports: Sequence[Report]) -> list[str]:
    """What members share but for the model and its parts: one hash, where they may be compared."""
    found = list(dict.fromkeys(report.protocol.shared for report in reports))
    return [f"protocol without model and parts: {', '.join(found)}"] if found else []


def _bases(pairs: Sequence[Against]) -> dict[str, list[Against]]:
    """Pairs by what they are compared with: the first member, or the recent policy of the same budget."""
    bases: dict[str, list[Against]] = {}
    for pair in pairs:
        first = pair.base is pairs[0].base
        bases.setdefault(_short(pair.base) if first else RECENT, []).append(pair)
    return bases


def _short(report: Report) -> str:
    """A heading for the first member: `full` of `kv=full`, else `the first`."""
    option = re.fullmatch(r"\w+=(\w+)", report.member)
    return option.group(1) if option else "the first"


def _points(pair: Against | None) -> str:
    """`+1.2 ± 3.4*`, or `same`."""
    if pair is None or pair.test is None:
        return "-"
    if pair.test.identical:
        return "same"
    estimate, scale = pair.test.estimate, pair.scale
    text = f"{scale * estimate.mean:+.1f}"
    if estimate.interval is not None:
        text += f" ± {scale * (estimate.interval.high - estimate.interval.low) / 2:.1f}"
    return text + ("*" if pair.adjusted is not None and pair.adjusted < 0.05 else "")


def line(pair: Against) -> str:
    """`kv=snapkv: -0.33 points against … (95 %: -1.37 to 0.71; p = 0.58; below 1.5 it would not show)`."""
    name, base = _names([pair.report, pair.base])
    if pair.test is None:
        return f"{name}: not paired with {base}: {pair.reason}"
    if pair.test.identical:
        return f"{name}: the same score as {base} on every question"
    estimate, scale = pair.test.estimate, pair.scale
    text = f"{name}: {scale * estimate.mean:+.2f} points against {base}"
    if estimate.interval is None:
        text += " (too few videos for an interval"
    else:
        text += f" (95 %: {scale * estimate.interval.low:+.2f} to {scale * estimate.interval.high:+.2f}"
    text += f"; p = {pair.adjusted:.2g}"
    if pair.detectable is not None:
        text += f"; a difference below {pair.detectable:.2f} would not have shown"
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
                "protocol_shared": report.protocol.shared,
                "metrics": [metric.plain() for metric in report.metrics],
                "unparsed": report.overall.unparsed,
                "cost": report.cost.plain(),
            }
            for report in reports
        ],
        "differences": [
            {
                "run": pair.report.run,
                "member": pair.report.member,
                "against": {"run": pair.base.run, "member": pair.base.member},
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
        names = [shown(report.member) or "as trained" for report in reports]
        if all(name.startswith("kv=") for name in names):
            return [name.removeprefix("kv=") for name in names]
        return names
    common = len({report.run.rpartition("/")[0] for report in reports}) == 1
    return [
        f"{report.run.rpartition('/')[2] if common else report.run} {shown(report.member)}".strip()
        for report in reports
    ]


def _apart(reports: Sequence[Report]) -> list[str]:
    """The members' names without what they share."""
    shared = shared_words([report.member for report in reports])
    kept = [[word for word in report.member.split(",") if word not in shared] for report in reports]
    return _names([replace(r, member=",".join(k)) for r, k in zip(reports, kept, strict=True)])
