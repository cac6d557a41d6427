"""What the studies share: members are trained, then asked, several at a time; nothing is made twice.

A member is a run of `train.py` and some evaluations of it. Members of all studies lie in one folder and have
one base, so that a run that two studies name is trained once, and a study that was ended goes on.
"""

import argparse
import hashlib
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from vxl.compare.score import score_of
from vxl.statistics import Interval, ItemScore, difference, over_seeds, spread
from vxl.statistics.seeds import Error, around, mean_scores, seed_errors, t_test

ROOT = Path(__file__).parents[1]
SEEDS = (0, 1, 2)
CHANCE = (6 * 0.25 + 1 / 3) / 7
"""Of the seven kinds of question, one of which has three options and the others four."""

DATA = (
    "data=long data.together=true data.described=true data.minutes=[2.13,2.13] data.needle_seconds=8 "
    "data.cache=frames data.max_tokens=4096 video.fps=0.25 video.max_fps=null video.max_frames=32 logger=csv"
)
"""Two minutes of which a frame every four seconds is seen: each shape in two of 32."""
SMALL = (
    "model=small vision.size=112 llm.attention=varlen trainer.precision=bf16-mixed "
    "data.videos=2000 data.held_out_videos=60 data.batch=16 data.workers=4 data.held_out=42 "
    "stage.train=[compressor,projector,llm] stage.lr=1e-3 "
    "stage.part_lr.llm=5e-4 trainer.max_steps=500 trainer.val_every=500 checkpoint.every=500 "
    "checkpoint.keep_last=1"
)
TINY = (
    "model=tiny data.videos=4 data.held_out_videos=2 data.batch=2 data.workers=0 data.held_out=4 "
    "trainer.max_steps=2 trainer.val_every=2 checkpoint.every=2"
)


@dataclass(frozen=True)
class Member:
    """A setting at one seed: what is typed behind the base, and how the run is asked afterwards."""

    name: str
    words: str = ""
    seed: int = 0
    asked: tuple[str, ...] = ("",)
    """Words of one evaluate.py each; commas in them make several variants. Empty for a run that others only
    start from."""
    after: str | None = None
    """The run whose weights it starts from."""
    cost: float = 1.0
    """How long it takes, roughly: long ones start first."""

    @property
    def run(self) -> str:
        """Its folder below the folder of runs."""
        return f"{self.name}_{self.seed}"


def seeds(name: str, words: str, *, after: str | None = None, **more: Any) -> list[Member]:
    """A setting at every seed; `after` is the name of a setting with the same seeds."""
    return [
        Member(name, words, seed, after=None if after is None else f"{after}_{seed}", **more)
        for seed in SEEDS
    ]


def arguments(description: str) -> argparse.Namespace:
    """What every study's script takes."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--tiny", action="store_true", help="model=tiny and two steps: minutes on a CPU")
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="how many seeds (default: %(default)s)")
    parser.add_argument("--only", nargs="+", help="settings by name, instead of all")
    parser.add_argument("--jobs", type=int, default=1, help="commands at a time")
    parser.add_argument("--gpus", type=int, default=1, help="GPUs that they take turns on")
    parser.add_argument("--runs", type=Path, default=Path("runs/studies"), help="folder of the runs")
    parser.add_argument("--seconds", type=float, default=math.inf, help="end what still runs after so long")
    parser.add_argument("--read", action="store_true", help="run nothing; write results from what is there")
    parser.add_argument("--out", type=Path, help="where results and figure go (default: beside the script)")
    return parser.parse_args()


@dataclass(frozen=True)
class Task:
    """A command, what must be there before it, and the file that says that it is done."""

    name: str
    command: tuple[str, ...]
    needs: Path | None
    done: Path
    urgency: float


def carry_out(members: Sequence[Member], options: argparse.Namespace) -> list[Member]:
    """Trains and asks all members of which something is missing, and says what failed.

    Returns:
        The members that were asked for, whole or not.
    """
    chosen = [
        member
        for member in members
        if member.seed < options.seeds and (options.only is None or member.name in options.only)
    ]
    needed = {member.after for member in chosen}
    chosen += [member for member in members if member.run in needed and member not in chosen]
    if not options.read:
        waiting = {task.done: task for member in chosen for task in tasks(member, options)}
        _work_off([task for task in waiting.values() if not task.done.exists()], options)
    return chosen


def tasks(member: Member, options: argparse.Namespace) -> list[Task]:
    """What is to be done for a member; answers come before trainings, long trainings before short ones."""
    run = options.runs / member.run
    base = f"{TINY if options.tiny else SMALL} {DATA} {member.words} seed={member.seed} name={member.run}"
    trained, start, needs = run / "RESULT.json", [], None
    if member.after is not None:
        start, needs = (
            [f"init_from={options.runs / member.after}"],
            options.runs / member.after / "RESULT.json",
        )
    paths = f"paths.runs={options.runs}"
    train = (sys.executable, "train.py", *base.split(), *start, paths)
    found = [Task(f"train {member.run}", train, needs, trained, member.cost)]
    for asked in member.asked:
        done = run / f"asked_{hashlib.sha256(asked.encode()).hexdigest()[:8]}"
        words = (f"run={member.run}", "benchmark=long", *asked.split(), paths)
        ask = (sys.executable, "evaluate.py", *words)
        found.append(Task(f"ask {member.run} {asked}".strip(), ask, trained, done, math.inf))
    return found


def _work_off(waiting: list[Task], options: argparse.Namespace) -> None:
    """Runs tasks, the most urgent of those that can be begun first, until all are done or the time is up."""
    running: list[tuple[Task, subprocess.Popen[bytes], int, float]] = []
    places = list(range(options.jobs))
    ending = time.monotonic() + options.seconds
    while True:
        for entry in [entry for entry in running if entry[1].poll() is not None]:
            task, process, place, started = entry
            running.remove(entry)
            places.append(place)
            if process.returncode == 0:
                task.done.touch()
            word = "" if process.returncode == 0 else f"  FAILED ({process.returncode}): see {_log(task)}"
            print(f"{time.monotonic() - started:6.0f} s  {task.name}{word}", flush=True)
        if time.monotonic() > ending:
            break
        ready = [task for task in waiting if task.needs is None or task.needs.exists()]
        if not ready and not running:
            break
        for task in sorted(ready, key=lambda task: -task.urgency)[: len(places)]:
            waiting.remove(task)
            place = places.pop(0)
            running.append((task, _start(task, place % options.gpus), place, time.monotonic()))
        time.sleep(0.2)
    for task, process, _, _ in running:
        process.terminate()
        print(f"ended for want of time: {task.name}")
    for _, process, _, _ in running:
        process.wait()
    for task in waiting:
        print(f"not begun: {task.name}")


def _start(task: Task, gpu: int) -> subprocess.Popen[bytes]:
    environment = dict(os.environ, OMP_NUM_THREADS="1", HF_HUB_OFFLINE="1", CUDA_VISIBLE_DEVICES=str(gpu))
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    task.done.parent.parent.mkdir(parents=True, exist_ok=True)
    with _log(task).open("ab") as lines:
        return subprocess.Popen(task.command, cwd=ROOT, stdout=lines, stderr=lines, env=environment)


def _log(task: Task) -> Path:
    return task.done.parent.with_suffix(".log")


def answers(run: Path) -> dict[str, tuple[ItemScore, ...]]:
    """Of every variant that a run was asked as (empty: as it was trained), the score of every question."""
    scores = {}
    for path in sorted((run / "evaluate").rglob("long.json")):
        report = json.loads(path.read_text())
        score = score_of("long", report)
        if score is not None:
            scores[report["member"]] = score.units
    return scores


@dataclass(frozen=True)
class Setting:
    """What the seeds of a setting answered, under one variant."""

    name: str
    variant: str
    seeds: tuple[tuple[ItemScore, ...], ...]

    @property
    def accuracies(self) -> list[float]:
        """Of every seed."""
        return [sum(item.score for item in one) / len(one) for one in self.seeds]

    @property
    def items(self) -> list[ItemScore]:
        """Every question's mean score over the seeds."""
        return mean_scores(self.seeds)

    @property
    def kinds(self) -> list[str]:
        """What was asked."""
        return list(dict.fromkeys(item.stratum for item in self.seeds[0]))

    def of(self, *kinds: str) -> "Setting":
        """The questions of some kinds alone."""
        chosen = tuple(tuple(item for item in one if item.stratum in kinds) for one in self.seeds)
        return Setting(self.name, self.variant, chosen)

    def plain(self) -> dict[str, Any]:
        """For the JSON: accuracy with its interval over questions and seeds."""
        found = over_seeds(self.seeds)
        return {
            "name": self.name,
            "variant": self.variant,
            "accuracy": found.estimate.mean,
            "interval": _ends(found.interval),
            "seeds": self.accuracies,
            "questions": found.estimate.items,
            "videos": found.estimate.clusters,
        }


Found = dict[tuple[str, str], Setting]
"""By name of the setting, and by what was changed when it was asked (empty: as it was trained)."""


def settings(members: Sequence[Member], runs: Path) -> Found:
    """What is there of a study, by name and variant; only questions that all seeds were asked."""
    found: dict[tuple[str, str], list[tuple[ItemScore, ...]]] = {}
    for member in members:
        for variant, units in answers(runs / member.run).items():
            found.setdefault((member.name, variant), []).append(units)
    return {key: Setting(*key, tuple(one)) for key, one in found.items()}


def _ends(interval: Interval | None) -> list[float] | None:
    return None if interval is None else list(interval)


def provenance(members: Sequence[Member], options: argparse.Namespace) -> dict[str, Any]:
    """Where numbers come from: what was typed, cards, versions, commits."""
    found = []
    for member in members:
        path = options.runs / member.run / "provenance.json"
        if path.exists():
            found += json.loads(path.read_text())["sessions"]
    return {
        "base": f"{TINY if options.tiny else SMALL} {DATA}",
        "gpus": sorted({gpu for one in found for gpu in one["hardware"]["gpus"]}),
        "torch": sorted({one["packages"]["torch"] for one in found}),
        "transformers": sorted({one["packages"]["transformers"] for one in found}),
        "commits": sorted({(one["git"] or {}).get("commit") or "unknown" for one in found}),
    }


MARKS = "<!-- results -->", "<!-- end of results -->"


def run_study(
    here: Path,
    description: str,
    members: Sequence[Member],
    result: Callable[[Found, Path], dict[str, Any]],
    lines: Callable[[dict[str, Any]], list[str]],
    draw: Callable[[dict[str, Any], Path], None],
) -> None:
    """Runs what is missing; writes results.json, the figure, and the table of the README beside the script.

    Args:
        here: Folder of the study.
        description: What it asks.
        members: All of it; a name may stand there twice, asked in different ways.
        result: From what was answered, and the folder of the runs, to what results.json holds.
        lines: From that to the README's table.
        draw: From that to the figure.
    """
    options = arguments(description)
    chosen = carry_out(members, options)
    numbers = result(settings(chosen, options.runs), options.runs) | provenance(chosen, options)
    folder = options.out or here
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(numbers, indent=1) + "\n")
    if (folder / "README.md").exists():
        readme = folder / "README.md"
        readme.write_text(with_results(readme.read_text(), lines(numbers)))
    draw(numbers, folder / "figure.png")
    print("\n".join(lines(numbers)))


def with_results(text: str, lines: Sequence[str]) -> str:
    """A README with its results replaced."""
    before, _, rest = text.partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    return f"{before}{MARKS[0]}\n" + "\n".join(lines) + f"\n{MARKS[1]}{after}"


def points(value: float, interval: Sequence[float] | None, *, signed: bool = False) -> str:
    """`53.1 (48.0 to 58.2)`, in per cent."""
    sign = "+" if signed else ""
    if interval is None:
        return f"{100 * value:{sign}.1f}"
    low, high = interval
    return f"{100 * value:{sign}.1f} ({100 * low:{sign}.1f} to {100 * high:{sign}.1f})"


def against(base: Setting, other: Setting) -> dict[str, Any]:
    """How far a setting is from another on the same questions, with its error of questions and seeds.

    Where both are evaluations of the same trainings, what counts of the seeds is how unlike their
    differences are.
    """
    test = difference(base.items, other.items)
    if test.estimate.se is None:
        return {"difference": test.estimate.mean, "difference_interval": None, "p": test.sign_flip}
    first, second = base.accuracies, other.accuracies
    paired = base.name == other.name and len(first) == len(second)
    spreads = (
        [spread([b - a for a, b in zip(first, second, strict=True)])]
        if paired
        else [spread(first), spread(second)]
    )
    errors = [Error(test.estimate.se, test.estimate.clusters - 1), *seed_errors(*spreads)]
    return {
        "difference": test.estimate.mean,
        "difference_interval": list(around(test.estimate.mean, errors, bounded=False)),
        "p": test.sign_flip if len(errors) == 1 else max(test.sign_flip, t_test(test.estimate.mean, errors)),
    }


def kept(base: Setting, other: Setting, chance: float = CHANCE, draws: int = 4000) -> dict[str, Any]:
    """What share of `base`'s accuracy above chance another has; bootstrap of videos and seeds."""
    keys = [item.key for item in base.items]
    clusters = {item.key: item.cluster for item in base.items}
    names = list(dict.fromkeys(clusters.values()))
    rows_I = np.array([names.index(clusters[key]) for key in keys])
    tables = []
    for setting in (base, other):
        by_key = [{item.key: item.score for item in one} for one in setting.seeds]
        tables.append(np.array([[one[key] for key in keys] for one in by_key]))
    means = [table_SI.mean() - chance for table_SI in tables]
    generator = np.random.default_rng(20241)
    shares = []
    for _ in range(draws):
        weights_I = np.bincount(generator.integers(0, len(names), len(names)), minlength=len(names))[rows_I]
        drawn = [
            table_SI[generator.integers(0, len(table_SI), len(table_SI))].mean(0)
            @ weights_I
            / weights_I.sum()
            for table_SI in tables
        ]
        shares.append((drawn[1] - chance) / (drawn[0] - chance))
    low, high = np.quantile(shares, (0.025, 0.975))
    return {"kept": means[1] / means[0], "kept_interval": [float(low), float(high)]}


def bars(axis: Any, rows: Sequence[dict[str, Any]], x: Sequence[float], label: str, colour: str) -> None:
    """Accuracies with their intervals, in per cent."""
    y = [100 * row["accuracy"] for row in rows]
    ends = [row["interval"] or (row["accuracy"], row["accuracy"]) for row in rows]
    lengths = [[value - 100 * low for value, (low, _) in zip(y, ends, strict=True)]]
    lengths += [[100 * high - value for value, (_, high) in zip(y, ends, strict=True)]]
    axis.errorbar(x, y, yerr=lengths, color=colour, marker="o", capsize=3, label=label, linewidth=1.5)


def chance_line(axis: Any) -> None:
    """Where answers by chance lie."""
    axis.axhline(100 * CHANCE, color="black", linestyle=":", linewidth=1)


def draw_side_by_side(rows: Sequence[dict[str, Any]], labels: Sequence[str], path: Path) -> None:
    """A figure of settings beside one another, each with its label in the legend."""
    figure, axis = plt.subplots(figsize=(7, 3.6), layout="constrained")
    for place, (row, label) in enumerate(zip(rows, labels, strict=True)):
        bars(axis, [row], [place], label, f"C{place}")
    chance_line(axis)
    axis.set_xticks([])
    axis.set_ylabel("right answers, %")
    axis.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    save_figure(figure, path)


def axis_of_shares(axis: Any, shares: Sequence[float], label: str) -> None:
    """An axis of what is kept, by powers of two: 1/2, 1/4, ..., with chance across."""
    chance_line(axis)
    axis.set_xscale("log", base=2)
    axis.set_xticks(shares, ["1" if share == 1 else f"1/{round(1 / share)}" for share in shares])
    axis.set_xlabel(label)
    axis.grid(alpha=0.3)


def save_figure(figure: Any, path: Path) -> None:
    """Writes a figure and lets it go."""
    figure.savefig(path, dpi=150)
    plt.close(figure)
