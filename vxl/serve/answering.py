"""Answering on the model's thread: find or watch the video, ask, and tell each client as words come."""

import secrets
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from vxl.data.batch.encoded import Encoded, Shown
from vxl.errors import LostError, VxlError
from vxl.generate import Answer, Context, Sampling, ask_all
from vxl.generate.attended import attended_shares
from vxl.generate.loaded import Clip
from vxl.llm.cache import Cache
from vxl.serve.config import ServeConfig
from vxl.serve.contexts import Contexts
from vxl.serve.job import Done, Job, Progress, Text
from vxl.serve.metrics import Metrics
from vxl.serve.request_error import RequestError

PARTS = 24
"""Parts of a video of which the page shows how much was kept and looked at."""


CLIENTS = (RequestError, VxlError, torch.OutOfMemoryError, MemoryError)
"""Errors that a request meets by what it asks for; any other is a defect."""


class GoneError(Exception):
    """The client waits for the answer no longer."""


class Answerer:
    """Answers jobs.

    Args:
        config: The limits.
        contexts: What was watched before.
        metrics: Gets what it took.
    """

    def __init__(self, config: ServeConfig, contexts: Contexts, metrics: Metrics) -> None:
        self.config, self.contexts, self.metrics = config, contexts, metrics

    def answer(self, jobs: Sequence[Job]) -> None:
        """Answers jobs of one batch key; every one of them is sent its end."""
        until = time.monotonic() + self.config.request_seconds
        try:
            context, cached = self._context(jobs, until)
        except GoneError:
            return
        except CLIENTS as error:
            for job in jobs:
                job.send(refusal(error, job))
            return
        if jobs[0].request.wishes.watch:
            _send_watched(jobs[0], context, cached)
        elif not self._asked(jobs, context, cached, until) and len(jobs) > 1:
            for job in jobs:  # one question that is too long, say, costs the others nothing
                self._asked([job], context, cached, until)

    def _asked(self, jobs: Sequence[Job], context: Context, cached: bool, until: float) -> bool:
        """Asks; False where it failed and several clients may do better one by one."""
        try:
            self._ask(jobs, context, cached, until)
        except GoneError:
            return True
        except CLIENTS as error:
            if len(jobs) > 1 and not any(job.told for job in jobs) and not isinstance(error, RequestError):
                return False
            for job in jobs:
                job.send(refusal(error, job))
        return True

    def _context(self, jobs: Sequence[Job], until: float) -> tuple[Context, bool]:
        """What the jobs are about, and whether it had been watched before."""
        job = jobs[0]
        names = tuple(media.name for media in job.media)
        found = self.contexts.find(job.context_key, job.loaded)
        if found is not None:
            return replace(found, names=names), True
        if any(media.source is None for media in job.media):  # it was there when the request came
            raise RequestError("what was watched is gone; send the request again.", status=409)
        watching = _Watching(jobs)

        def on_piece(done: int, total: int) -> None:
            self._go_on(jobs, until)
            watching.tell(done, total)

        looks = [Clip(media.source, media.kind, name=media.name) for media in job.media]
        context = job.loaded.watch(
            *looks,
            on_piece=on_piece,
            through=watching.through,
            head=partial(self._head, job),
            into=watching.fill,
        )
        self.metrics.watch_seconds.observe(context.watch_ms / 1000)
        self.contexts.keep(job.context_key, context)
        return context, False

    def _head(self, job: Job, shown: Sequence[Shown]) -> Encoded:
        """The job's conversation up to its last visual, before anything is decoded."""
        for media, one in zip(job.media, shown, strict=True):
            if one.kind == "video" and one.seconds[-1] > self.config.max_seconds:
                raise RequestError(
                    f"{media.name} is {one.seconds[-1]:.0f} s long; allowed: {self.config.max_seconds} s.",
                    media.where,
                )
        return job.head(shown)

    def _go_on(self, jobs: Sequence[Job], until: float) -> None:
        if all(job.gone.is_set() for job in jobs):
            raise GoneError
        if time.monotonic() > until:
            raise RequestError(
                f"it took longer than {self.config.request_seconds} s; ask for fewer frames or tokens.",
                "messages",
            )

    def _ask(self, jobs: Sequence[Job], context: Context, cached: bool, until: float) -> None:
        chat, loaded, first = jobs[0].chat, jobs[0].loaded, jobs[0].request
        rows = [(job, row) for job in jobs for row in range(job.request.rows)]
        wanted = first.max_new_tokens or self.config.max_new_tokens
        if wanted > self.config.max_new_tokens:
            raise RequestError(
                f"{wanted} tokens are more than is answered here; allowed: {self.config.max_new_tokens}.",
                "max_tokens",
            )

        seed = secrets.randbits(62) if first.seed is None else first.seed

        def on_text(number: int, text: str) -> None:
            job, row = rows[number]
            job.send(Text(row, text))

        answers = ask_all(
            context,
            [job.tail for job, _ in rows],
            max_new_tokens=wanted,
            stop=(chat.end, chat.pad),
            stop_text=first.stop,
            sampling=Sampling(first.temperature, first.top_p, seed),
            tokenizer=loaded.tokenizer,
            texts=[job.question for job, _ in rows],
            kept=(chat.plan, PARTS) if any(job.request.wishes.strip for job in jobs) else None,
            bare=not first.goes_on,
            on_token=lambda row, token: self._go_on(jobs, until),
            on_text=on_text,
        )
        for job in jobs:
            own = [answer for answer, (whose, _) in zip(answers, rows, strict=True) if whose is job]
            self._send(job, own, context, cached)

    def _send(self, job: Job, answers: Sequence[Answer], context: Context, cached: bool) -> None:
        facts = {}
        if job.request.wishes.strip:
            shares = attended_shares(context, job.tail, job.chat.plan, PARTS, text=job.question)
            facts = {
                "kept": [round(share, 4) for share in answers[0].kept],
                "attended": [round(share, 4) for share in shares],
                "cache_bytes": answers[0].cache_bytes,
                "first_token_ms": round(answers[0].prefill_ms, 1),
            }
        done = Done(
            texts=tuple(answer.text for answer in answers),
            stopped=tuple(answer.stopped for answer in answers),
            prompt_tokens=context.tokens + len(job.tail),
            cached_tokens=context.tokens if cached else 0,
            completion_tokens=sum(len(answer.tokens) for answer in answers),
            facts=facts,
        )
        self.metrics.took(done.prompt_tokens, done.cached_tokens, done.completion_tokens)
        job.send(done)


class _Watching:
    """Looks at what is watched, and tells the clients that want to know.

    Args:
        jobs: Theirs.
    """

    def __init__(self, jobs: Sequence[Job]) -> None:
        self.jobs = [job for job in jobs if job.request.wishes.progress]
        self.frames = self.of_frames = 0
        self.cache: Cache | None = None

    def fill(self, cache: Cache) -> None:
        """Notes the cache that will be filled."""
        self.cache = cache

    def through(self, total: int, pieces: Iterable[Tensor]) -> Iterator[Tensor]:
        """Counts a video's frames on their way."""
        self.of_frames += total
        return self._counted(pieces)

    def _counted(self, pieces: Iterable[Tensor]) -> Iterator[Tensor]:
        for piece in pieces:
            self.frames += 1 if piece.ndim == 3 else len(piece)
            yield piece

    def tell(self, done: int, total: int) -> None:
        """Tells how far it is."""
        held = 0 if self.cache is None else self.cache.used_bytes()
        for job in self.jobs:
            job.send(Progress(self.frames, self.of_frames, done, total, held))


def _send_watched(job: Job, context: Context, cached: bool) -> None:
    """Ends a job that only watches."""
    facts = {
        "frames": context.frames,
        "cache_bytes": context.cache_bytes,
        "watch_ms": round(context.watch_ms, 1),
    }
    job.send(Done((), (), context.tokens, context.tokens if cached else 0, 0, facts))


def refusal(error: BaseException, job: Job) -> RequestError:
    """What a client hears of an error that is one of `CLIENTS`."""
    if isinstance(error, RequestError):
        return error
    if isinstance(error, LostError):
        return RequestError(str(error), status=503)
    if isinstance(error, VxlError):
        return RequestError(str(error), job.media[0].where if job.media else "messages")
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    return RequestError("it needs more memory than there is; ask for fewer frames.", "messages")
