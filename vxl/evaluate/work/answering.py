"""Asking: a video is watched once for all its questions, and for all members of a sweep that may share it."""

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from vxl.errors import ConfigError, DataError, one_line
from vxl.evaluate.benchmark import Benchmark
from vxl.evaluate.cost import PeakMemory
from vxl.evaluate.fingerprint import Protocol
from vxl.evaluate.item import BenchmarkItem, PromptParts
from vxl.evaluate.work.answers import AnswerFile, RawAnswer, read_answers
from vxl.evaluate.work.claims import Claims, queue
from vxl.evaluate.work.glance import Glance
from vxl.evaluate.work.variants import for_model, watch_key, with_system
from vxl.generate import Answer, Context, ask_all
from vxl.generate.loaded import Clip, LoadedModel
from vxl.llm.work import Work
from vxl.option.build import build
from vxl.video.probe import probe
from vxl.video.virtual import Virtual

log = logging.getLogger(__name__)

PARTS = 24
"""Parts of a video of which it is kept how much the cache held."""


@dataclass
class Member:
    """One set of answers: a model with its policies."""

    name: str
    """What tells it from the others of its group; empty where it is alone."""
    place: Path
    """Folder of its results."""
    loaded: LoadedModel
    protocol: Protocol
    work: Path
    """Folder of its raw answers."""
    answers: dict[str, RawAnswer] = field(default_factory=dict)
    """What is on disk, and what this worker added."""


@dataclass(frozen=True)
class Progressed:
    """What has been answered so far, for a bar."""

    videos: int
    of: int
    last: Sequence[tuple[Member, BenchmarkItem, RawAnswer]]


class Questioner:
    """Answers a benchmark's questions with the members of one group, which share the weights.

    Args:
        benchmark: What is asked.
        items: Its items, those of missing videos left out.
        members: At least one.
        preset: The wording.
        most: Longest answer, in tokens.
        worker: This process's name.
        blind: Whether questions are asked without their video.
        skip: Whether a video that can't be read fails alone; otherwise it ends the evaluation.
    """

    def __init__(
        self,
        benchmark: Benchmark,
        items: Sequence[BenchmarkItem],
        members: Sequence[Member],
        *,
        preset: str,
        most: int,
        worker: str,
        blind: bool = False,
        skip: bool = False,
    ) -> None:
        self.benchmark, self.members, self.preset, self.most = benchmark, list(members), preset, most
        self.worker, self.blind, self.skip = worker, blind, skip
        self.units: dict[str, list[BenchmarkItem]] = {}
        for item in items:
            self.units.setdefault(benchmark.unit(item), []).append(item)
        # The longest first, so that no worker is left with a long one at the end; ties in the file's order.
        weight = {unit: max(i.shown for i in own) * len(own) for unit, own in self.units.items()}
        self.order = sorted(self.units, key=lambda unit: -weight[unit])

    def run(self) -> Iterator[Progressed]:
        """Answers what is not answered yet, by any worker; yields after each video.

        Raises:
            CheckpointError: The folder of answers can't be written.
            DataError: A video can't be read.
        """
        files = [AnswerFile(member.work, member.protocol.fingerprint, self.worker) for member in self.members]
        try:
            claims = Claims(self.members[0].work / "claims", self.worker)
            for unit in queue(self.order, claims, self._answered):
                fresh: list[tuple[Member, BenchmarkItem, RawAnswer]] = []
                for member, answers in self._answer(self._lacking(self.members, unit), unit):
                    files[self.members.index(member)].add([answer for _, answer in answers])
                    member.answers |= {answer.key: answer for _, answer in answers}
                    fresh += [(member, item, answer) for item, answer in answers]
                yield Progressed(len(self._done()), len(self.units), fresh)
        finally:
            for file in files:
                file.close()

    def _answered(self) -> set[str]:
        """Units that every member has wholly answered, read anew."""
        for member in self.members:
            member.answers = read_answers(member.work, member.protocol.fingerprint) | member.answers
        return self._done()

    def _done(self) -> set[str]:
        return {unit for unit in self.units if all(self._has(member, unit) for member in self.members)}

    def _lacking(self, members: Sequence[Member], unit: str) -> list[Member]:
        """Those that have not answered all of a unit."""
        return [member for member in members if not self._has(member, unit)]

    def _has(self, member: Member, unit: str) -> bool:
        return all(item.key in member.answers for item in self.units[unit])

    def _answer(
        self, members: Sequence[Member], unit: str
    ) -> Iterator[tuple[Member, list[tuple[BenchmarkItem, RawAnswer]]]]:
        """Each member's answers about one video; members of one watch key share what was watched."""
        items = self.units[unit]
        groups: dict[str, list[Member]] = {}
        for member in members:
            groups.setdefault(watch_key(member.loaded), []).append(member)
        for together in groups.values():
            try:
                yield from self._ask(together, items)
            except torch.OutOfMemoryError:
                log.warning("out of memory at %s; once more, alone", items[0].video)
                torch.cuda.empty_cache()
                for member in self._lacking(together, unit):
                    yield member, self._alone(member, items)
            except ConfigError as error:  # a policy that can't keep its budget, say: the others go on
                if len(self.members) == 1:
                    raise
                for member in self._lacking(together, unit):
                    yield member, [(item, self._failed(item, one_line(str(error)))) for item in items]
            except DataError as error:
                if not self.skip:
                    raise
                for member in self._lacking(together, unit):
                    yield member, [(item, self._failed(item, one_line(str(error)))) for item in items]

    def _alone(self, member: Member, items: Sequence[BenchmarkItem]) -> list[tuple[BenchmarkItem, RawAnswer]]:
        """A second try after memory ran out."""
        try:
            return next(iter(self._ask([member], items)))[1]
        except torch.OutOfMemoryError as error:
            torch.cuda.empty_cache()
            return [(item, self._failed(item, one_line(str(error)))) for item in items]

    def _ask(
        self, members: Sequence[Member], items: Sequence[BenchmarkItem]
    ) -> Iterator[tuple[Member, list[tuple[BenchmarkItem, RawAnswer]]]]:
        """Watches once, then asks every member every question."""
        first = members[0].loaded
        looks = [] if self.blind else self.benchmark.looks(items[0])
        times = times_of(first, looks) if self.benchmark.needs_times and looks else ()
        prompts = [self.benchmark.ask(item, self.preset, times) for item in items]
        watcher = with_system(first, prompts[0].system)
        memory, work, glance = PeakMemory(first.model.device), Work(first.model.llm), Glance()
        with memory, work:
            context = watcher.watch(*looks, through=glance.through)
        glance_file = glance.write(members[0].work, self.benchmark.unit(items[0]))
        watching, operations_to_watch = memory.bytes, work.operations
        for number, member in enumerate(members):
            own = for_model(context, with_system(member.loaded, prompts[0].system))
            answers = []
            for at, (item, words) in enumerate(zip(items, prompts, strict=True)):
                with memory, work:
                    answer = ask_greedily(
                        member.loaded, own, words, self.most, on_token=lambda *_: work.stop()
                    )
                peak, first_one = max(watching, memory.bytes), at == 0 and number == 0
                flops = operations_to_watch + work.operations + work.of_logits
                raw = self._raw(item, answer, own, peak, flops, fresh=first_one)
                answers.append((item, replace(raw, shown=glance_file if number == 0 else "")))
            yield member, answers

    def _raw(
        self, item: BenchmarkItem, answer: Answer, context: Context, peak: int, flops: float, *, fresh: bool
    ) -> RawAnswer:
        cost = {
            "watch_ms": context.watch_ms if fresh else 0.0,
            "video_ms": context.watch_ms,
            "video_prefill_ms": context.prefill_ms,
            "question_ms": answer.prefill_ms,
            "decode_ms": answer.decode_ms,
            "new_tokens": len(answer.tokens) + answer.stopped,
            "cache_bytes": answer.cache_bytes,
            "cache_room_bytes": answer.cache_room_bytes,
            "visual_tokens": context.visual_tokens,
            "tokens": context.tokens,
            "frames": context.frames,
            "peak_bytes": peak,
            "flops": flops,
        }
        return RawAnswer(
            key=item.key,
            text=answer.text,
            tokens=len(answer.tokens),
            cost=cost,
            worker=self.worker,
            kept=[round(share, 3) for share in answer.kept],
        )

    def _failed(self, item: BenchmarkItem, why: str) -> RawAnswer:
        return RawAnswer(key=item.key, text="", worker=self.worker, failed=why)


def ask_greedily(
    loaded: LoadedModel,
    context: Context,
    prompt_parts: PromptParts,
    most: int,
    on_token: Callable[[int, int], None] | None = None,
) -> Answer:
    """One question, greedily; the assistant's turn begins with the prefill."""
    prompt = loaded.prompt
    words = prompt.tail(prompt_parts.user, after_visual=context.frames > 0)
    if prompt_parts.prefill:
        words = [*words, *loaded.tokenizer.encode(prompt_parts.prefill, add_special_tokens=False)]
    (answer,) = ask_all(
        context,
        [words],
        max_new_tokens=most,
        stop=(prompt.end, prompt.pad),
        tokenizer=loaded.tokenizer,
        texts=[prompt_parts.user],
        on_token=on_token,
        kept=(prompt.plan, PARTS),
    )
    return answer


def times_of(loaded: LoadedModel, looks: Sequence[Clip]) -> list[float]:
    """Seconds of the frames that will be shown of the first video, counted in the file."""
    look = looks[0]
    info = look.media.info if isinstance(look.media, Virtual) else probe(look.media)
    selection = build(loaded.config.video).select(
        info.frames, info.fps, look.start, look.end, begins=info.begins, times_F=info.times_F
    )
    first = look.start or 0.0  # the times of a part count from where it begins
    return [first + second for second in selection.seconds]
