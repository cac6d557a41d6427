"""Answering on the model's thread: find or watch the video, ask, and tell each client as words come."""

import time
from collections.abc import Sequence
from typing import Any

import torch

from vxl.errors import LostError, VxlError
from vxl.generate import Context, Sampling, ask_all
from vxl.generate.loaded import Clip
from vxl.serve.config import ServeConfig
from vxl.serve.contexts import Contexts
from vxl.serve.job import Done, Job, Text
from vxl.serve.request_error import RequestError
from vxl.video.probe import probe


class GoneError(Exception):
    """Nobody waits for the answer any more."""


class Answerer:
    """Answers jobs.

    Args:
        config: The limits.
        contexts: What was watched before.
    """

    def __init__(self, config: ServeConfig, contexts: Contexts) -> None:
        self.config, self.contexts = config, contexts

    def answer(self, jobs: Sequence[Job]) -> None:
        """Answers jobs of one batch key; every one of them is sent its end."""
        until = time.monotonic() + self.config.request_seconds
        try:
            context, cached = self._context(jobs, until)
            self._ask(jobs, context, cached, until)
        except GoneError:
            return
        except RequestError as error:
            _refuse(jobs, error)
        except LostError as error:
            _refuse(jobs, RequestError(str(error), status=503))
        except VxlError as error:
            where = jobs[0].media[0].where if jobs[0].media else "messages"
            _refuse(jobs, RequestError(str(error), where))
        except (torch.OutOfMemoryError, MemoryError):
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            _refuse(
                jobs,
                RequestError("it needs more memory than there is; ask for fewer frames.", "messages"),
            )

    def _context(self, jobs: Sequence[Job], until: float) -> tuple[Context, bool]:
        """What the jobs are about, and whether it had been watched before."""
        job = jobs[0]
        found = self.contexts.find(job.context_key, job.loaded)
        if found is not None:
            return found, True

        def on_piece(done: int, total: int) -> None:
            self._go_on(jobs, until)

        looks = [Clip(media.source, media.kind, name=media.name) for media in job.media]
        for media in job.media:
            self._refuse_long(media)
        context = job.loaded.watch(*looks, on_piece=on_piece, head=job.head)
        self.contexts.keep(job.context_key, context)
        return context, False

    def _refuse_long(self, media: Any) -> None:
        if media.kind == "video":
            seconds = probe(media.source, name=media.name).seconds
            if seconds > self.config.max_seconds:
                raise RequestError(
                    f"{media.name} is {seconds:.0f} s long; allowed: {self.config.max_seconds} s.",
                    media.where,
                )

    def _go_on(self, jobs: Sequence[Job], until: float) -> None:
        if all(job.gone.is_set() for job in jobs):
            raise GoneError
        if time.monotonic() > until:
            raise RequestError(
                f"it took longer than {self.config.request_seconds} s; ask for fewer frames or tokens.",
                "messages",
            )

    def _ask(self, jobs: Sequence[Job], context: Context, cached: bool, until: float) -> None:
        first = jobs[0].request
        owner = [number for number, job in enumerate(jobs) for _ in range(job.request.rows)]
        starts = {number: owner.index(number) for number in range(len(jobs))}
        tails = [jobs[number].tail for number in owner]
        loaded = jobs[0].loaded
        prompt = loaded.prompt

        def on_token(row: int, token: int) -> None:
            self._go_on(jobs, until)

        def on_text(row: int, text: str) -> None:
            number = owner[row]
            jobs[number].send(Text(row - starts[number], text))

        answers = ask_all(
            context,
            tails,
            max_new_tokens=first.max_new_tokens or self.config.max_new_tokens,
            stop=(prompt.end, prompt.pad),
            stop_text=first.stop,
            sampling=Sampling(first.temperature, first.top_p, first.seed or 0),
            tokenizer=loaded.tokenizer,
            texts=[jobs[number].request.messages[-1].text for number in owner],
            on_token=on_token,
            on_text=on_text,
        )
        for number, job in enumerate(jobs):
            own = answers[starts[number] : starts[number] + job.request.rows]
            job.send(
                Done(
                    texts=tuple(answer.text for answer in own),
                    stopped=tuple(answer.stopped for answer in own),
                    prompt_tokens=context.tokens + len(job.tail),
                    cached_tokens=context.tokens if cached else 0,
                    completion_tokens=sum(len(answer.tokens) for answer in own),
                )
            )


def _refuse(jobs: Sequence[Job], error: RequestError) -> None:
    for job in jobs:
        job.send(error)
