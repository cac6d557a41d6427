"""`vxl benchmark check` and `vxl benchmark score`: annotations without a model, and answers without one."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from rich.console import Console
from rich.markup import escape

from vxl.atomic import write_text
from vxl.errors import ConfigError, DataError
from vxl.evaluate.benchmark import Benchmark
from vxl.evaluate.benchmarks.annotations import Counts
from vxl.evaluate.benchmarks.judged import judge
from vxl.evaluate.benchmarks.official import ANOTHER, Official
from vxl.evaluate.fingerprint import Protocol, unlike
from vxl.evaluate.item import BenchmarkItem
from vxl.evaluate.metrics import Metric, grouped, label_names, letters_line, micro
from vxl.evaluate.missing import missing_message
from vxl.evaluate.rescore.replies import Reply, protocol_of, read_replies
from vxl.evaluate.scoring import Graded
from vxl.statistics import Estimate, difference, holm
from vxl.table import Listing


@dataclass(frozen=True)
class FileScores:
    """One result file, scored."""

    name: str
    graded: list[Graded]
    metrics: list[Metric]
    notes: list[str] = field(default_factory=list)
    protocol: Protocol | None = None
    """How the answers came about, where the file says it: vxl's own does."""


def check(benchmark: Official, console: Console) -> bool:
    """Reads a benchmark's annotations, compares them with the counts of the real file, looks for its videos.

    Returns:
        Whether all is as in the complete release, and every video there (where a folder is given).
    """
    items = benchmark.items()
    counts = Counts.of(items)
    console.print(f"{benchmark.name}: {counts.items} items, {counts.videos} videos", highlight=False)
    for name, values in (("kind", counts.kinds), ("right answer", counts.golds), ("options", counts.options)):
        if len(values) > 1:
            shares = ", ".join(f"{value} {count}" for value, count in values.items())
            console.print(f"by {name}: {shares}", markup=False, highlight=False)
    good = True
    if benchmark.counts is not None:
        good = not benchmark.counts.differences(counts)
        if good:
            console.print("counts are those of the authors' file")
    for name, lines in (
        ("mended", benchmark.mended),
        ("dropped", benchmark.dropped),
        ("note", benchmark.notes),
    ):
        for line in lines:
            style = "red" if line.startswith(ANOTHER) else None
            console.print(f"{name}: {line}", markup=False, highlight=False, style=style)
    if benchmark.config.videos:
        missing = benchmark.missing(items)
        if missing:
            good = False
            console.print(missing_message(benchmark, missing, items), markup=False, highlight=False)
        else:
            console.print("every video is there")
    else:
        console.print("videos were not looked for: type  videos=FOLDER")
    protocol = benchmark.protocol()
    console.print(f"annotations sha256 {protocol['annotations'][:16]}", highlight=False)
    return good


def score(path: Path, benchmark: Benchmark) -> FileScores:
    """Reads and scores a result file.

    Args:
        path: Of any form that `read_replies` knows.
        benchmark: Its metrics; with annotations also its golds and options.

    Raises:
        DataError: The file and the annotations have no item in common, or the golds are not known.
        JudgeError: There is a judge, and it does not answer.
    """
    replies = read_replies(path)
    if isinstance(benchmark, Official) and _has_annotations(benchmark):
        items = benchmark.items()
        answers = _by_annotations(replies, benchmark, items, path)
        judgement = judge(benchmark, items, answers, path.with_name(f"{path.stem}.judge.jsonl"))
        if judgement.silent is not None:
            raise judgement.silent
        graded, notes = judgement.graded, judgement.notes
    else:
        graded = [_graded(reply, number, benchmark, path) for number, reply in enumerate(replies)]
        notes = []
    return FileScores(path.name, graded, benchmark.metrics(graded), notes, protocol_of(path))


def show_scores(files: Sequence[FileScores], console: Console, json_path: Path | None = None) -> None:
    """Prints each file's numbers, then every later file against the first, item by item."""
    for scores in files:
        scores_table(scores).show(console)
        for note in [*_bootstrap_line(scores.metrics), *letters_line(scores.graded), *scores.notes]:
            console.print(note, markup=False, highlight=False)
    tests = []
    first = files[0]
    for other in files[1:]:
        metric, theirs = first.metrics[0], other.metrics[0]
        tests.append((other, difference(metric.units, theirs.units, macro=metric.macro)))
    adjusted = holm([test.sign_flip for _, test in tests])
    for (other, test), p_value in zip(tests, adjusted, strict=True):
        mean, se = test.estimate.mean, test.estimate.se
        console.print(
            f"{other.name} - {first.name}: {100 * mean:+.3f} points, SE iid "
            f"{100 * test.estimate.se_iid:.3f}, "
            f"clustered {'-' if se is None else f'{100 * se:.3f}'}; only one right {test.first_only}/"
            f"{test.second_only}, McNemar p = "
            f"{'-' if test.mcnemar is None else f'{test.mcnemar:.3f}'}, sign flips by video p = {p_value:.3f}"
            + ("" if se is None else f"; below {100 * 2.8 * se:.2f} it would not have shown"),
            markup=False,
            highlight=False,
        )
        differing = []
        if first.protocol and other.protocol:
            differing = list(unlike(first.protocol.comparable(), other.protocol.comparable()))
        if differing:
            line = f"  not of one protocol: {', '.join(differing)} differ, beside models and policies"
            console.print(line, style="red", highlight=False)
    if json_path is not None:
        write_text(json_path, json.dumps([scores_as_json(scores) for scores in files], indent=1) + "\n")
        console.print(f"written: {json_path}", markup=False, soft_wrap=True)


def scores_table(scores: FileScores) -> Listing:
    """Metrics and labels of one file, with plain and clustered errors."""
    unparsed = sum(item.parsed is None for item in scores.graded if not item.judged)
    table = Listing(
        escape(f"{scores.name} · {len(scores.graded)} answers, {unparsed} without a letter"),
        ("", "items", "videos", "score", "SE iid", "clustered", "95 %"),
        words=("",),
    )
    for metric in scores.metrics:
        table.add(escape(metric.name), *_cells(metric.estimate, metric.scale), style="bold")
    for name in label_names(scores.graded):
        groups = grouped(scores.graded, name)
        if name.startswith("_") or not 1 < len(groups) <= 40:
            continue
        table.end_section()
        table.add(escape(name), *6 * [""], style="dim")
        for value, items in groups.items():
            table.add(escape(f" {value}"), *_cells(micro(items).estimate, 100.0))
    return table


def scores_as_json(scores: FileScores) -> dict[str, Any]:
    """For JSON."""
    return {
        "file": scores.name,
        "answers": len(scores.graded),
        "unparsed": sum(item.parsed is None for item in scores.graded),
        "metrics": [metric.plain() for metric in scores.metrics],
        "bootstrap": scores.metrics[0].bootstrap if scores.metrics else None,
        "labels": {
            name: {
                value: micro(items).estimate.plain() for value, items in grouped(scores.graded, name).items()
            }
            for name in label_names(scores.graded)
            if not name.startswith("_")
        },
    }


def _bootstrap_line(metrics: Sequence[Metric]) -> list[str]:
    """What the headline's interval is without a formula; none where videos are too few."""
    interval = metrics[0].bootstrap if metrics else None
    if interval is None:
        return []
    low, high = (f"{metrics[0].scale * end:.2f}" for end in interval)
    return [f"{metrics[0].name}, 95 % by drawing videos (bootstrap): {low}–{high}"]


def _cells(estimate: Estimate, scale: float) -> list[str]:
    interval = "too few videos"
    if estimate.interval is not None:
        interval = f"{scale * estimate.interval.low:.2f}–{scale * estimate.interval.high:.2f}"
    return [
        str(estimate.items),
        str(estimate.clusters),
        f"{scale * estimate.mean:.3f}",
        f"{scale * estimate.se_iid:.3f}",
        "-" if estimate.se is None else f"{scale * estimate.se:.3f}",
        interval,
    ]


def _has_annotations(benchmark: Official) -> bool:
    try:
        return benchmark.place.exists()
    except ConfigError:
        return False


def _by_annotations(
    replies: Sequence[Reply], benchmark: Official, items: Sequence[BenchmarkItem], path: Path
) -> list[Graded]:
    """Graded as the benchmark grades; items without a reply are wrong, and counted as unparsed."""
    text_of = {reply.key: reply.text for reply in replies}
    names = [{item.key: item for item in items}]
    tails: dict[str, BenchmarkItem] = {}
    for item in items:
        tails.setdefault(str(item.facts.get("uid", item.key.rpartition("/")[2])), item)
    if len(tails) == len(items):  # LVBench's uid alone
        names.append(tails)
    item_of = max(names, key=lambda table: len(table.keys() & text_of.keys()))
    if not item_of.keys() & text_of.keys():
        raise DataError(
            f"{path} and the annotations of {benchmark.name} have no key in common.\n"
            f"  the file's: {', '.join(list(text_of)[:3])}\n  expected: {', '.join(list(item_of)[:3])}"
        )
    strange = len(text_of.keys() - item_of.keys())
    if strange:
        raise DataError(
            f"{path}: {strange} of {len(text_of)} answers are to no item of {benchmark.name}: another split "
            "or revision.\n  score it without annotations=, or with its own"
        )
    by_item = {item.key: text_of.get(name) for name, item in item_of.items()}
    graded = [benchmark.grade(item, by_item[item.key] or "") for item in items]
    return [
        replace(each, failed="no answer in the file") if by_item[item.key] is None else each
        for item, each in zip(items, graded, strict=True)
    ]


def _graded(reply: Reply, number: int, benchmark: Benchmark, path: Path) -> Graded:
    """Graded without annotations: by the gold letter in the file.

    Raises:
        DataError: The file has no right answers, or right answers that are no letters.
    """
    if reply.gold is None:
        raise DataError(
            f"{path} does not say which answers are right.\n  type  annotations=FILE_OR_FOLDER too"
        )
    if len(reply.gold) != 1 or reply.gold not in ascii_uppercase:
        raise DataError(
            f"{path}: the right answer to {reply.key} is {reply.gold[:80]!r}, which is no letter.\n"
            "  type  annotations=FILE_OR_FOLDER too"
        )
    item = BenchmarkItem(
        key=reply.key,
        index=number,
        video=reply.cluster or reply.key,
        cluster=reply.cluster or reply.key,
        kind=next(iter(reply.labels.values()), ("question",))[0],
        labels=dict(reply.labels),
        question="",
        options=reply.options or ("",) * max(4, ascii_uppercase.index(reply.gold) + 1),
        gold=reply.gold,
        accepted=(reply.gold,),
    )
    # Not the benchmark's own way to grade, which may need more of an item than such files have.
    if isinstance(benchmark, Official):
        return Official.grade(benchmark, item, reply.text)
    return Benchmark.grade(benchmark, item, reply.text)
