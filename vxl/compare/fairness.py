"""What makes a comparison unfair, or worth little: unlike budgets and protocols, one seed, few questions."""

from collections.abc import Callable

from vxl.compare.comparison import Comparison
from vxl.compare.member import Member
from vxl.compare.pairs import Pair, detectable
from vxl.compare.words import coarse, few

FEW = 100
"""Fewer questions than this, and the page says so."""
COARSE = 0.05
"""A comparison that only shows differences above this is called coarse."""


def warnings(comparison: Comparison) -> list[str]:
    """What makes the comparison unfair, or worth little."""
    lines = []
    unfinished = [m for m in comparison.members if m.status != "finished"]
    if unfinished:
        lines.append(f"not finished: {few([f'{m.name} ({m.state})' for m in unfinished])}")
    lines += [
        f"not paired with {p.base.name} on {p.benchmark}: {p.other.name}, {p.reason}"
        for p in _unpaired(comparison)
    ]
    budgets: list[tuple[str, Callable[[Member], int | None]]] = [
        ("optimizer steps", lambda m: m.steps or None),
        ("training samples", lambda m: m.result.get("samples")),
    ]
    for what, value in budgets:
        values = sorted(
            {v for m in comparison.members if m.status == "finished" and (v := value(m)) is not None}
        )
        if len(values) > 1:
            lines.append(f"unlike training budgets: {what} from {values[0]:,} to {values[-1]:,}")
            break
    for name in comparison.benchmarks:
        lines += _of_benchmark(comparison, name)
    one_seed = [s for s in comparison.settings if s.scored and len({m.run.name for m in s.members}) == 1]
    if one_seed and len({m.run.name for m in comparison.members}) > 1:
        lines.append(
            "one seed: how much another would change is not known, and no interval here counts it"
            if len(one_seed) == len(comparison.settings)
            else f"one seed only: {few([s.name for s in one_seed])}"
        )
    return lines


def _of_benchmark(comparison: Comparison, name: str) -> list[str]:
    lines = []
    reports = [(m, m.benchmarks[name], m.scores[name]) for m in comparison.members if name in m.scores]
    questions = sorted({score.questions for _, _, score in reports})
    if questions and questions[0] < FEW:
        lines.append(f"{name}: few questions ({questions[0]})")
    if len(questions) > 1:
        lines.append(f"{name}: {questions[0]} to {questions[-1]} questions, not the same for all")
    pairs = [pair for pair in comparison.pairs if pair.benchmark == name]
    limits = detectable(pairs)
    if limits is not None and limits[1] > COARSE:
        by_setting = ", depending on the setting" if limits[0] < limits[1] else ""
        lines.append(f"{name}: {coarse(pairs)} would not have shown{by_setting}")
    partial = [m.name for m, report, _ in reports if report.get("incomplete") or report.get("failed")]
    if partial:
        lines.append(f"{name}: missing or failed answers: {few(partial)}")
    for key, what in (("status", "evaluated before they were finished"),):
        early = [m.name for m, report, _ in reports if report.get(key, "finished") != "finished"]
        if early:
            lines.append(f"{name}: {what}: {few(early)}")
    devices = {str(report.get("settings", {}).get("device")) for _, report, _ in reports}
    if len(devices) > 1:
        lines.append(f"{name}: costs were measured on unlike devices ({', '.join(sorted(devices))})")
    lacking = [m.name for m in comparison.members if name not in m.scores and m.status == "finished"]
    if lacking:
        lines.append(f"{name}: not evaluated: {few(lacking)}")
    return lines


def _unpaired(comparison: Comparison) -> list[Pair]:
    return [pair for pair in comparison.pairs if pair.test is None][:6]
