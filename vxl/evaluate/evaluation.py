"""One benchmark on one model: what is to be asked, answered under each member's parts, and reported."""

import os
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from vxl.atomic import why_not
from vxl.errors import CheckpointError, ConfigError, DataError, JudgeError
from vxl.evaluate.benchmark import Benchmark
from vxl.evaluate.benchmarks.judged import judge
from vxl.evaluate.config import EvaluateConfig
from vxl.evaluate.cost import summarise
from vxl.evaluate.fingerprint import Protocol, hash_checkpoint
from vxl.evaluate.item import BenchmarkItem
from vxl.evaluate.keep import keep
from vxl.evaluate.missing import missing_message
from vxl.evaluate.report import Report
from vxl.evaluate.scoring import Graded, accuracy, by
from vxl.evaluate.screen import show_report
from vxl.evaluate.subjects import Subject, changed_settings, computing, load_subject, members_of
from vxl.evaluate.work.answering import Member, Questioner
from vxl.evaluate.work.answers import RawAnswer, read_answers, set_aside
from vxl.evaluate.work.changes import RUNNING, label, say_refused
from vxl.evaluate.work.variants import variant
from vxl.evaluate.work.workers import WORKER
from vxl.option.build import build
from vxl.terminal.screen import prose


@dataclass
class Pending:
    """A member before its model is loaded."""

    change: tuple[str, ...]
    name: str
    path: Path
    """Its report: `evaluate/<benchmark>.json`."""
    protocol: Protocol
    failure: str | None = None

    @property
    def work(self) -> Path:
        """Folder of its raw answers."""
        return self.path.with_suffix("")

    @property
    def reload(self) -> tuple[str, ...]:
        """Changes that need the weights loaded anew."""
        return tuple(word for word in self.change if word.partition("=")[0] in RUNNING)


class Evaluation:
    """One benchmark on one model, with all changes of it that are asked for.

    Args:
        config: The command's.
        subject: The model.
        console: Where to print.
    """

    def __init__(self, config: EvaluateConfig, subject: Subject, console: Console) -> None:
        self.config, self.subject, self.console = config, subject, console
        data = subject.values.get("data") or {}
        self.benchmark: Benchmark = build(config.benchmark, data=data, cache=Path(config.paths.cache))
        self.began = time.monotonic()
        self.silent: JudgeError | None = None

    def reports(self, failures: list[tuple[str, str]]) -> list[Report]:
        """Answers what is not answered yet, and reports every member.

        Args:
            failures: Members that can't be built are added, with the reason, where others go on.

        Raises:
            JudgeError: A judge does not answer; what needs none is reported before.
        """
        changes = members_of(self.subject, self.config)
        items, missing = self._items()
        preset = self.benchmark.preset(self.subject.family)
        pending: list[Pending] = []
        for change in changes:
            try:
                pending.append(self._pending(change, preset, items))
            except ConfigError as error:
                if len(changes) == 1:
                    raise
                failures.append((label(change), say_refused(label(change), error)))
        self._prepare(pending)
        self._answer(pending, items, preset, failures, alone=len(changes) == 1)
        if os.environ.get(WORKER):
            return []
        reports = []
        for one in pending:
            if one.failure is None:
                report = self._report(one, items, missing)
                if len(changes) > 1 and len(report.failed) == len(report.graded):
                    failures.append((one.name, str(report.failed[0].failed)))
                    continue
                reports.append(report)
                alone = self.console if len(changes) == 1 else None  # a group has one table, and one line
                if alone is not None:
                    show_report(report, alone)
                keep(report, one.path, self.benchmark, self.subject, alone)
        if self.silent is not None:
            raise self.silent
        return reports

    def _items(self) -> tuple[list[BenchmarkItem], list[BenchmarkItem]]:
        """(items to ask, items whose video is not there), before any model is loaded."""
        items = self.benchmark.items()[: self.config.limit]
        missing = [] if self.config.blind else self.benchmark.missing(items)
        if missing and (not self.benchmark.skips_missing or len(missing) == len(items)):
            raise DataError(missing_message(self.benchmark, missing, items))
        missing_keys = {item.key for item in missing}
        return [item for item in items if item.key not in missing_keys], missing

    def _pending(self, change: tuple[str, ...], preset: str, items: Sequence[BenchmarkItem]) -> "Pending":
        """A member with its protocol, which needs no weights."""
        values = changed_settings(self.subject, change)
        first = items[0]
        wording = self.benchmark.ask(first, preset, [0.0])
        benchmark_protocol = self.benchmark.protocol()
        parts = ("video", "vision", "compressor", "prune", "selector", "llm", "prefill", "kv", "relevance")
        answering = {
            "checkpoint": hash_checkpoint(self.subject.folder),
            "parts": {part: values.get(part) for part in (*parts, "prompt")},
            "preset": preset,
            "first_prompt": list(wording),
            "generation": {"greedy": True, "max_new_tokens": self.longest},
            "blind": self.config.blind,
            **computing(self.config),
            **{k: v for k, v in benchmark_protocol.items() if k not in ("scoring", "judge")},
        }
        scoring = {
            "parser": benchmark_protocol.get("scoring", "correct"),
            **({"judge": benchmark_protocol["judge"]} if "judge" in benchmark_protocol else {}),
            "items": len(items),
            "dropped": self.benchmark.dropped,
            "mended": self.benchmark.mended,
        }
        name = label(change)
        place = self.subject.place / name if name else self.subject.place
        stem = self.benchmark.name + (".blind" if self.config.blind else "")
        return Pending(change, name, place / f"{stem}.json", Protocol(answering, scoring))

    @property
    def longest(self) -> int:
        """Longest answer, in tokens."""
        return self.config.max_new_tokens or self.benchmark.max_new_tokens or 8

    def _prepare(self, pending: Sequence["Pending"]) -> None:
        """Makes sure that results can be written, and puts answers of other protocols aside.

        Raises:
            CheckpointError: They can't be written.
        """
        for one in pending:
            try:
                one.work.mkdir(parents=True, exist_ok=True)
                probe = one.work / f".writable.{os.getpid()}"
                probe.write_text("")
                probe.unlink()
                if os.environ.get(WORKER):
                    continue
                others = set_aside(one.work, one.protocol.fingerprint, anew=not self.config.resume)
            except OSError as error:
                reason = f"{why_not(error)}\n  or:  output=FOLDER"
                raise CheckpointError(f"{one.work} can't be written: {reason}") from error
            if others:
                self.console.print(
                    f"{one.work}: answers of another protocol ({', '.join(m[:8] for m in others)}) were put "
                    "aside; they are kept",
                    markup=False,
                )

    def _answer(
        self,
        pending: Sequence["Pending"],
        items: Sequence[BenchmarkItem],
        preset: str,
        failures: list[tuple[str, str]],
        *,
        alone: bool,
    ) -> None:
        """Loads the model only where answers are lacking, once for all members that can share it."""
        keys = {item.key for item in items}
        open_ones = [one for one in pending if keys - read_answers(one.work, one.protocol.fingerprint).keys()]
        reloads = dict.fromkeys(one.reload for one in open_ones)
        for reload in reloads:
            base = load_subject(self.subject, self.config, reload)
            members = []
            for one in [one for one in open_ones if one.reload == reload]:
                try:
                    model = variant(base, [word for word in one.change if word not in reload])
                except ConfigError as error:
                    if alone:
                        raise
                    one.failure = say_refused(one.name, error)
                    failures.append((one.name, one.failure))
                    continue
                members.append(Member(one.name, one.path.parent, model, one.protocol, one.work))
            if members:
                self._watch(members, items, preset)
            del base, members

    def _watch(self, members: list[Member], items: Sequence[BenchmarkItem], preset: str) -> None:
        """Runs the questioner under a bar over videos."""
        questioner = Questioner(
            self.benchmark,
            items,
            members,
            preset=preset,
            most=self.longest,
            worker=f"{socket.gethostname()}-{os.getpid()}",
            blind=self.config.blind,
            skip=self.benchmark.skips_missing,
        )
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[right]}"),
            TimeRemainingColumn(),
        )
        console = self.console
        total = len(questioner.units)
        every = max(1, total // 4)  # a file or a SLURM log gets a line now and then instead of a bar
        scores: list[float] = []
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
            bar = progress.add_task("videos", total=total, right="")
            for count, so_far in enumerate(questioner.run(), 1):
                answered = [(item, raw.text) for _, item, raw in so_far.last if raw.failed is None]
                scores += [self.benchmark.grade(item, text).score for item, text in answered]
                state = f"{100 * sum(scores) / len(scores):.1f} % right" if scores else ""
                progress.update(bar, completed=so_far.videos, right=state)
                if not console.is_terminal and (count % every == 0 or so_far.videos == total):
                    line = f"video {so_far.videos} of {total} · {len(scores)} answers · {state}"
                    prose(console, line)

    def _report(
        self, one: "Pending", items: Sequence[BenchmarkItem], missing: Sequence[BenchmarkItem]
    ) -> Report:
        """Reads, scores and sums up the raw answers on disk."""
        raw = read_answers(one.work, one.protocol.fingerprint)
        preset = self.benchmark.preset(self.subject.family)
        judgement = judge(
            self.benchmark, items, list(self._graded(items, raw, preset)), one.work / "judge.jsonl"
        )
        self.silent = self.silent or judgement.silent
        graded = judgement.graded
        automatic = [each for each in graded if not each.judged]
        return Report(
            benchmark=one.path.stem,
            run=self.subject.name,
            checkpoint=self.subject.folder.name,
            status=self.subject.status,
            member=one.name,
            settings={
                "max_new_tokens": self.longest,
                "limit": self.config.limit,
                "preset": preset,
                "scoring": one.protocol.scoring["parser"],
                "changes": list(one.change),
                **computing(self.config),
            },
            protocol=one.protocol,
            overall=accuracy(automatic),
            kinds=by(automatic, lambda item: item.kind),
            metrics=self.benchmark.metrics(graded) if any(g.answer for g in graded) else [],
            cost=summarise(
                [raw[item.key] for item in items],
                "cuda" if computing(self.config)["device"] == "cuda" else "process",
            ),
            graded=graded,
            missing=[item.key for item in missing],
            dropped=list(self.benchmark.dropped),
            mended=list(self.benchmark.mended),
            notes=[*self.benchmark.notes, *judgement.notes],
            seconds=time.monotonic() - self.began,
        )

    def _graded(
        self, items: Sequence[BenchmarkItem], raw: dict[str, RawAnswer], preset: str
    ) -> Iterator[Graded]:
        for item in items:
            answer = raw[item.key]
            needs = self.benchmark.needs_times
            prefill = "" if needs else self.benchmark.ask(item, preset).prefill
            graded = self.benchmark.grade(item, answer.text, prefill, tokens=answer.tokens)
            if answer.failed is not None:
                graded = replace(graded, parsed=None, failed=answer.failed, given=graded.given and 0.0)
            yield graded
