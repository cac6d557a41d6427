"""One study from its command line to its results: runs what is missing, writes numbers, figure and README."""

import argparse
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import stdev
from typing import Any

from scipy.stats import t

from studies.answer import Answer, interval_text
from studies.asked import Found, settings
from studies.base import BASES, CPU, SMALL, TINY, Base
from studies.baselines import baseline_rows, named, not_learned
from studies.member import MOST_SEEDS, SEEDS, Member
from studies.work import ROOT, carry_out, chosen

Numbers = dict[str, Any]
"""What results.json holds."""


@dataclass(frozen=True)
class Study:
    """A question, what is trained and asked to answer it, and what is made of the answers."""

    here: Path
    """Its folder."""
    question: str
    members: Callable[[Base], list[Member]]
    """All of it; a name may stand there twice, asked in different ways."""
    needs: str
    """The setting that all others are measured against: without it there is nothing to write."""
    called: str
    """What that setting is called in a sentence."""
    rows: Callable[[Found, Base], list[dict[str, Any]]]
    """From what was answered to the rows of results.json."""
    answer: Callable[[Numbers, dict[str, Any]], Answer]
    """From results.json, and the row of that setting, to what they come to where it has learned something."""
    lines: Callable[[Numbers], list[str]]
    """From results.json to the README's table."""
    draw: Callable[[Numbers, Path], None]
    """From results.json to the figure."""
    extra: Callable[[Path], dict[str, Any]] = lambda runs: {}
    """What results.json holds besides, from the folder of the runs."""


def arguments(description: str, typed: Sequence[str] | None = None) -> argparse.Namespace:
    """What every study's script takes."""
    parser = argparse.ArgumentParser(description=description)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--cpu", action="store_true", help=f"{CPU.said}")
    size.add_argument("--tiny", action="store_true", help=f"{TINY.said}: minutes on a CPU")
    which = f"which seeds, of 0 to {MOST_SEEDS[-1]} (default: 0 1 2)"
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=SEEDS, choices=MOST_SEEDS, metavar="N", help=which
    )
    parser.add_argument("--only", nargs="+", help="settings by name, instead of all")
    parser.add_argument(
        "--repeat",
        type=int,
        metavar="SEED",
        help="train and ask once more at one seed, and say whether it lies where one more run is expected",
    )
    parser.add_argument("--jobs", type=int, default=1, help="commands at a time")
    parser.add_argument("--gpus", type=int, default=1, help="GPUs that they take turns on")
    parser.add_argument(
        "--runs", type=Path, default=Path("runs/studies"), help="folder of the runs of all sizes"
    )
    parser.add_argument("--seconds", type=float, default=math.inf, help="end what still runs after so long")
    parser.add_argument("--read", action="store_true", help="run nothing; write results from what is there")
    parser.add_argument("--out", type=Path, help="where results and figure go (default: beside the script)")
    options = parser.parse_args(typed)
    options.base = CPU if options.cpu else TINY if options.tiny else SMALL
    again = "" if options.repeat is None else "_repeated"
    options.runs = ROOT / options.runs / f"{options.base.name}{again}"
    if options.repeat is not None:
        options.seeds = (options.repeat,)
    return options


def main(study: Study, typed: Sequence[str] | None = None) -> int:
    """Runs what is missing; writes results, figure, and the README's table; or repeats and compares.

    Returns:
        The exit status: 1 where something failed or is missing, or a repeated number is outside.
    """
    options = arguments(study.question, typed)
    base: Base = options.base
    members = chosen(study.members(base), options)
    recorded = recorded_numbers(study, base, options) if options.repeat is not None else None
    if recorded is not None:
        members = repeatable(members, recorded, options.repeat)
    whole = carry_out(members, base, options)
    if recorded is None:
        return conclude(study, members, options, whole)
    found = settings(members, options.runs, base.benchmark)
    return 0 if compare(recorded, found, options.repeat) and whole else 1


def conclude(study: Study, members: Sequence[Member], options: argparse.Namespace, whole: bool) -> int:
    """Writes results, figure, and the README's table, from what some members answered.

    Returns:
        The exit status: 0 where the results are written and, as `whole` says, nothing is missing.
    """
    base: Base = options.base
    found = settings(members, options.runs, base.benchmark)
    if (study.needs, "") not in found:
        print(f"nothing is written: all is measured against {study.needs}, which has not answered yet")
        return 1
    numbers = collect(study, base, found, options.runs, members)
    folder, names = place(study, base, options)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / names[0]).write_text(json.dumps(numbers, indent=1) + "\n")
    study.draw(numbers, folder / names[1])
    table = written(study, numbers)
    if (folder / "README.md").exists():
        readme = folder / "README.md"
        readme.write_text(with_results(readme.read_text(), base, table))
    print("\n".join(table))
    return 0 if whole else 1


def collect(study: Study, base: Base, found: Found, runs: Path, members: Sequence[Member]) -> Numbers:
    """All that results.json holds."""
    numbers: Numbers = {"size": base.said, "benchmark": base.benchmark, **baseline_rows(found)}
    numbers |= {"rows": study.rows(found, base), **study.extra(runs)}
    against = named(numbers["rows"], study.needs)
    assert against is not None
    said = not_learned(against, study.called)
    answer = Answer(said, interval_text(against["interval"])) if said else study.answer(numbers, against)
    numbers["answer"] = {"text": answer.text, "interval": answer.interval}
    return numbers | provenance(members, base, runs)


def place(study: Study, base: Base, options: argparse.Namespace) -> tuple[Path, tuple[str, str]]:
    """Where results go, and how they and the figure are called there."""
    names = base.files or BASES["small"].files
    assert names is not None
    kept = study.here if base.files else options.runs / "results" / study.here.name
    return options.out or kept, names


def written(study: Study, numbers: Numbers) -> list[str]:
    """The part of the README that is made of the results."""
    answer = numbers["answer"]
    commits = ", ".join(commit[:7] for commit in numbers["commits"])
    return [
        f"**{numbers['size']}:** {answer['text']}.",
        f"95 % intervals over seeds and questions: {answer['interval']}. Commit {commits}.",
        "",
        *study.lines(numbers),
    ]


def recorded_numbers(study: Study, base: Base, options: argparse.Namespace) -> Numbers:
    """The results that a repetition is held against."""
    folder, names = place(study, base, options)
    path = folder / names[0]
    if not path.exists():
        raise SystemExit(f"{path} is not there: at this size nothing was recorded that could be repeated")
    numbers = json.loads(path.read_text())
    known = sorted({int(seed) for row in numbers["rows"] for seed in row["seeds"]})
    if options.repeat not in known:
        raise SystemExit(f"--repeat {options.repeat}: recorded are the seeds {', '.join(map(str, known))}")
    return numbers


def repeatable(members: Sequence[Member], recorded: Numbers, seed: int) -> list[Member]:
    """The members of which something is recorded at a seed, and those that they start from."""
    rows = [*recorded["rows"], *recorded["baselines"].values()]
    names = {row["name"] for row in rows if str(seed) in row["seeds"]}
    first = {member.after for member in members if member.name in names}
    return [member for member in members if member.name in names or member.run in first]


def compare(recorded: Numbers, found: Found, seed: int) -> bool:
    """Says of every repeated setting whether it lies where one more run is expected.

    Returns:
        Whether there are any, and all of them do.
    """
    rows = {(row["name"], row["variant"]): row for row in recorded["rows"]}
    rows |= {(row["name"], row["variant"]): row for row in recorded["baselines"].values()}
    verdicts = []
    for key, setting in found.items():
        row = rows.get(key)
        if row is None or str(seed) not in row["seeds"]:
            continue
        again, before, interval = setting.accuracies[0], row["seeds"][str(seed)], of_one_more(row)
        inside = interval is not None and interval[0] <= again <= interval[1]
        verdicts.append(inside)
        print(
            f"{' '.join(key).strip()}, seed {seed}: {100 * again:.1f} % (recorded {100 * before:.1f} %), "
            f"{'inside' if inside else 'OUTSIDE'} the interval {interval_text(interval)}"
        )
    if not verdicts:
        print(f"nothing was repeated that is recorded for seed {seed}")
    return bool(verdicts) and all(verdicts)


def of_one_more(row: dict[str, Any]) -> list[float] | None:
    """The interval in which one more run is expected in 95 of 100 cases.

    A row's own interval is of the mean over its seeds; a single run lies further from it. Where seeds lie
    close by chance, or there is one, the row's own, which has the questions' error, is wider and counts.
    """
    interval, accuracies = row["interval"], list(row["seeds"].values())
    if interval is None or len(accuracies) < 2:
        return interval
    half = t.ppf(0.975, len(accuracies) - 1) * stdev(accuracies) * math.sqrt(1 + 1 / len(accuracies))
    low, high = row["accuracy"] - half, row["accuracy"] + half
    return [float(max(0.0, min(interval[0], low))), float(min(1.0, max(interval[1], high)))]


def provenance(members: Sequence[Member], base: Base, runs: Path) -> dict[str, Any]:
    """Where numbers come from: what was typed, machines, versions, commits."""
    found = []
    for member in members:
        path = runs / member.run / "provenance.json"
        if path.exists():
            found += json.loads(path.read_text())["sessions"]
    # A later session of a run says in words that something is as in the first.
    packages = [one["packages"] for one in found if isinstance(one["packages"], dict)]
    states = [one["git"] or {} for one in found if not isinstance(one["git"], str)]
    return {
        "base": base.words,
        "aligned": base.aligned,
        "processors": sorted({one["hardware"]["processor"] for one in found}),
        "gpus": sorted({gpu for one in found for gpu in one["hardware"]["gpus"]}),
        "torch": sorted({one["torch"] for one in packages}),
        "transformers": sorted({one["transformers"] for one in packages}),
        "commits": sorted({state.get("commit") or "unknown" for state in states}),
    }


def with_results(text: str, base: Base, lines: Sequence[str]) -> str:
    """A README with its results of one size replaced, or added at its end."""
    begin, end = f"<!-- results: {base.name} -->", f"<!-- end of results: {base.name} -->"
    before, mark, rest = text.partition(begin)
    after = rest.partition(end)[2] if mark else "\n"
    return f"{before.rstrip()}\n\n{begin}\n" + "\n".join(lines) + f"\n{end}{after}"
