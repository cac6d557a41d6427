"""What makes a comparison unfair, or worth little: unlike budgets and protocols, one seed, few questions."""

from collections.abc import Callable

from vxl.compare.comparison import Comparison
from vxl.compare.member import COSTS, Member
from vxl.compare.pairs import Pair, detectable
from vxl.compare.words import acts_too_late, coarse, few

FEW = 100
"""Fewer questions than this, and the page says so."""
UNSTEADY = 2.0
"""Times that a cost may differ between seeds of one setting."""
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
        lines += _seeds_apart(comparison, name)
    for name in comparison.benchmarks:
        lines += _of_benchmark(comparison, name)
    lines += [*_blind(comparison), *_unsteady(comparison)]
    one_seed = [s for s in comparison.settings if s.scored and len({m.run.name for m in s.members}) == 1]
    if one_seed and len({m.run.name for m in comparison.members}) > 1:
        lines.append(
            "one seed: how much another would change is not known, and no interval here counts it"
            if len(one_seed) == len(comparison.settings)
            else f"one seed only: {few([s.name for s in one_seed])}"
        )
    return lines


def _seeds_apart(comparison: Comparison, name: str) -> list[str]:
    """The setting whose seeds lie furthest apart, where the draw of the questions does not explain it."""
    apart = []
    for setting in comparison.settings:
        members = sorted(
            (m for m in setting.members if name in m.scores), key=lambda m: m.scores[name].mean, reverse=True
        )
        ends = [m.scores[name].interval for m in members]
        if len(members) > 1 and ends[0] and ends[-1] and ends[-1].high < ends[0].low:
            apart.append((members[0].scores[name].mean - members[-1].scores[name].mean, setting, members))
    if not apart:
        return []
    _, setting, members = max(apart, key=lambda one: one[0])
    scores = [member.scores[name] for member in members]
    reached = ", ".join(score.text(score.mean) for score in scores)
    text = f"{name}: the seeds of {setting.name} reach {reached}, "
    text += "further apart than the draw of the questions explains"
    others = [other.name for _, other, _ in apart if other is not setting]
    if others:
        text += f" (so are those of {few(others)})"
    guessing = [m.name for m, score in zip(members, scores, strict=True) if score.is_at_chance]
    return [text + (f"; at chance: {few(guessing)}" if guessing else "")]


def _unsteady(comparison: Comparison) -> list[str]:
    """Costs in which the seeds of one setting differ, though they do the same work: the machine's."""
    worst: dict[str, tuple[float, str]] = {}
    for cost in COSTS:
        for name in comparison.benchmarks if cost.asked else ["training"]:
            for setting in comparison.settings:
                known = [v for m in setting.finished if (v := cost.of(name)(m)) is not None and v > 0]
                times = max(known) / min(known) if known else 1.0
                if times > max(UNSTEADY, worst.get(cost.name, (0.0, ""))[0]):
                    amounts = " to ".join(cost.amount(cost.scale * end) for end in (min(known), max(known)))
                    worst[cost.name] = times, f"{cost.what} ({amounts} for {setting.name} in {name})"
    lines = []
    if worst:
        lines.append(
            f"costs that differ more than {UNSTEADY:g} times between seeds of one setting, which do the same "
            f"work, tell of the machine and its other work: {', '.join(text for _, text in worst.values())}"
        )
    reports = [report for member in comparison.members for report in member.benchmarks.values()]
    if any((report.get("cost") or {}).get("peak_memory_of") == "process" for report in reports):
        lines.append(
            "peak memory is that of a whole process, with all that it had done before: no setting's own"
        )
    return lines


def _blind(comparison: Comparison) -> list[str]:
    """Policies that a benchmark can't judge, as they come too late to change an answer."""
    found: dict[str, list[str]] = {}
    for name in comparison.benchmarks:
        for setting in comparison.settings:
            if acts_too_late(setting, name):
                policy = f"kv={setting.differences['kv']}" if "kv" in setting.differences else setting.name
                found.setdefault(policy, []).append(name)
    return [
        f"{', '.join(dict.fromkeys(names))}: {policy} drops after the question was read, and an answer is "
        "one letter, settled by then: its score says nothing of what it drops"
        for policy, names in found.items()
    ]


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
