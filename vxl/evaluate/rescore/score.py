"""`vxl benchmark check` and `vxl benchmark score`: annotations without a model, and answers without one."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from vxl.atomic import write_text
from vxl.data.batch.letter import parse_letter
from vxl.errors import ConfigError, DataError
from vxl.evaluate.benchmark import Benchmark
from vxl.evaluate.benchmarks.annotations import Counts
from vxl.evaluate.benchmarks.judged import judge
from vxl.evaluate.benchmarks.official import Official
from vxl.evaluate.item import BenchmarkItem
from vxl.evaluate.metrics import Metric, grouped, label_names, micro, position_bias
from vxl.evaluate.missing import missing_message
from vxl.evaluate.rescore.replies import Reply, read_replies
from vxl.evaluate.scoring import Graded
from vxl.statistics import Estimate, difference, holm


@dataclass(frozen=True)
class FileScores:
    """One result file, scored."""

    name: str
    graded: list[Graded]
    metrics: list[Metric]
    notes: list[str] = field(default_factory=list)


def check(benchmark: Official, console: Console) -> bool:
    """Reads a benchmark's annotations, compares them with the counts of the real file, looks for its videos.

    Returns:
        Whether all is as in the complete release, and every video there (where a folder is given).
    """
    items = benchmark.items()
    got = Counts.of(items)
    console.print(f"{benchmark.name}: {got.items} items, {got.videos} videos", highlight=False)
    for name, values in (("kind", got.kinds), ("right answer", got.golds), ("options", got.options)):
        if len(values) > 1:
            listed = ", ".join(f"{value} {count}" for value, count in values.items())
            console.print(f"by {name}: {listed}", markup=False, highlight=False)
    good = True
    if benchmark.counts is not None:
        parted = benchmark.counts.differences(got)
        good = not parted
        if good:
            console.print("counts are those of the authors' file")
        for line in parted:
            console.print(f"another revision, or not complete: {line}", markup=False, style="red")
    for name, lines in (
        ("mended", benchmark.mended),
        ("dropped", benchmark.dropped),
        ("note", benchmark.notes),
    ):
        for line in lines:
            console.print(f"{name}: {line}", markup=False, highlight=False)
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
        found = _by_annotations(replies, benchmark, items, path)
        seen = judge(benchmark, items, found, path.with_name(f"{path.stem}.judge.jsonl"))
        if seen.silent is not None:
            raise seen.silent
        return FileScores(path.name, seen.graded, benchmark.metrics(seen.graded), seen.notes)
    graded = [_graded(reply, number, path) for number, reply in enumerate(replies)]
    return FileScores(path.name, graded, benchmark.metrics(graded))


def show_scores(found: Sequence[FileScores], console: Console, json_path: Path | None = None) -> None:
    """Prints each file's numbers, then every later file against the first, item by item."""
    for scores in found:
        console.print(scores_table(scores))
        for note in scores.notes:
            console.print(note, markup=False, highlight=False)
    tests = []
    first = found[0]
    for other in found[1:]:
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
    if json_path is not None:
        write_text(json_path, json.dumps([scores_as_json(scores) for scores in found], indent=1) + "\n")
        console.print(f"written: {json_path}", markup=False, soft_wrap=True)


def scores_table(scores: FileScores) -> Table:
    """Metrics and labels of one file, with plain and clustered errors."""
    unparsed = sum(item.parsed is None for item in scores.graded if not item.judged)
    made = Table(
        title=escape(f"{scores.name} · {len(scores.graded)} answers, {unparsed} without a letter"),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    made.add_column("", overflow="fold")
    for column in ("items", "videos", "score", "SE iid", "SE clustered", "95 %"):
        made.add_column(column, justify="right", no_wrap=True)
    for metric in scores.metrics:
        made.add_row(escape(metric.name), *_cells(metric.estimate, metric.scale), style="bold")
    for name in label_names(scores.graded):
        groups = grouped(scores.graded, name)
        if name.startswith("_") or not 1 < len(groups) <= 40:
            continue
        made.add_section()
        for value, items in groups.items():
            made.add_row(escape(f"{name} {value}"), *_cells(micro(items).estimate, 100.0))
    made.add_section()
    for letter, (answered, gold) in position_bias(scores.graded).items():
        made.add_row(f"letter {letter}", "", "", f"{100 * answered:.1f}", "", "", f"right {100 * gold:.1f}")
    return made


def scores_as_json(scores: FileScores) -> dict[str, Any]:
    """For JSON."""
    return {
        "file": scores.name,
        "answers": len(scores.graded),
        "unparsed": sum(item.parsed is None for item in scores.graded),
        "metrics": [metric.plain() for metric in scores.metrics],
        "labels": {
            name: {
                value: micro(items).estimate.plain() for value, items in grouped(scores.graded, name).items()
            }
            for name in label_names(scores.graded)
            if not name.startswith("_")
        },
    }


def _cells(found: Estimate, scale: float) -> list[str]:
    interval = "too few videos"
    if found.interval is not None:
        interval = f"{scale * found.interval.low:.2f}–{scale * found.interval.high:.2f}"
    return [
        str(found.items),
        str(found.clusters),
        f"{scale * found.mean:.3f}",
        f"{scale * found.se_iid:.3f}",
        "-" if found.se is None else f"{scale * found.se:.3f}",
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
    said = {reply.key: reply.text for reply in replies}
    names = [{item.key: item for item in items}]
    tails: dict[str, BenchmarkItem] = {}
    for item in items:
        tails.setdefault(str(item.facts.get("uid", item.key.rpartition("/")[2])), item)
    if len(tails) == len(items):  # LVBench's uid alone
        names.append(tails)
    known = max(names, key=lambda table: len(table.keys() & said.keys()))
    if not known.keys() & said.keys():
        raise DataError(
            f"{path} and the annotations of {benchmark.name} have no key in common.\n"
            f"  the file's: {', '.join(list(said)[:3])}\n  expected: {', '.join(list(known)[:3])}"
        )
    strange = len(said.keys() - known.keys())
    if strange:
        raise DataError(
            f"{path}: {strange} of {len(said)} answers are to no item of {benchmark.name}: another split or "
            "revision.\n  score it without annotations=, or with its own"
        )
    by_item = {item.key: said.get(name) for name, item in known.items()}
    graded = [benchmark.grade(item, by_item[item.key] or "") for item in items]
    return [
        replace(found, failed="no answer in the file") if by_item[item.key] is None else found
        for item, found in zip(items, graded, strict=True)
    ]


def _graded(reply: Reply, number: int, path: Path) -> Graded:
    """Graded without annotations: by the gold letter in the file."""
    if reply.gold is None:
        raise DataError(
            f"{path} does not say which answers are right.\n  type  annotations=FILE_OR_FOLDER too"
        )
    options = reply.options
    if not options:
        last = (
            ascii_uppercase.index(reply.gold) if reply.gold in ascii_uppercase and len(reply.gold) == 1 else 0
        )
        options = ("",) * max(4, last + 1)
    kind = next(iter(reply.labels.values()), ("question",))[0]
    return Graded(
        key=reply.key,
        kind=kind,
        question="",
        options=options,
        answer=reply.gold,
        text=reply.text,
        parsed=parse_letter(reply.text, options),
        cluster=reply.cluster or reply.key,
        labels=dict(reply.labels),
        index=number,
    )
