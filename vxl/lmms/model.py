"""The model that lmms-eval calls: `--model vxl --model_args run=NAME,kv=snapkv,kv.keep=0.25`."""

import gc
import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import torch
from lmms_eval.api.instance import GenerationResult, TokenCounts
from lmms_eval.api.model import lmms

from vxl.checkpoint.load import load
from vxl.data.batch.chat import Chat
from vxl.data.batch.encoded import Encoded, Shown
from vxl.errors import ConfigError
from vxl.generate import Context, Sampling, ask_all
from vxl.generate.loaded import LoadedModel
from vxl.lmms.answers import AnswerFile, Kept, model_key, request_key
from vxl.lmms.messages import Asked, read_messages
from vxl.option.words import as_typed
from vxl.video.sample import with_sampling

LONGEST = 128
"""Tokens of an answer, where a task does not say."""


class VxlModel(lmms):
    """A run or a folder of weights. Each distinct video is watched once, whatever the order of requests.

    Args:
        run: A run (its name or path), or a folder of weights.
        checkpoint: Which of a run's: last, best, or a step.
        max_num_frames: Most frames of a video; as the model was trained where it is not given.
        fps: Frames a second to aim at.
        answers: Folder of the answers to resume from.
        runs: The folder of runs.
        device: auto, cpu, cuda, cuda:N; each process takes the GPU of its rank.
        batch_size: Not used: rows of one video share what was watched.
        max_batch_size: Not used.
        **overrides: Changes to the config: `kv=snapkv,kv.keep=0.25`.
    """

    is_simple = False

    def __init__(
        self,
        run: str | None = None,
        checkpoint: str | int = "last",
        max_num_frames: int | None = None,
        fps: float | None = None,
        answers: str = ".cache/vxl/lmms_eval",
        runs: str = "runs",
        device: str = "auto",
        batch_size: Any = 1,
        max_batch_size: Any = None,
        **overrides: Any,
    ) -> None:
        super().__init__()
        if run is None:
            raise ConfigError("which model?\n  type  --model_args run=NAME   or  run=FOLDER_OF_WEIGHTS")
        self._rank = int(os.environ.get("RANK", 0))
        self._world_size = int(os.environ.get("WORLD_SIZE", 1))
        if device in ("auto", "cuda") and torch.cuda.is_available():
            device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}"
        changes = sorted(overrides.items(), key=lambda change: "." in change[0])  # kv=… before kv.keep=…
        words = [f"{key}={as_typed(value)}" for key, value in changes]
        loaded = load(run, checkpoint=checkpoint, device=device, overrides=words, runs=runs)
        self.loaded: LoadedModel | None = loaded.sampling(
            with_sampling(loaded.config.video, max_num_frames, fps)
        )
        self.loaded.use_threads_of_training()
        self.device = loaded.model.device
        self.kept = AnswerFile(Path(answers), model_key(self.loaded), self._rank)

    def generate_until(self, requests: Sequence[Any]) -> list[GenerationResult]:
        """Answers, in the order of the requests.

        Raises:
            DataError: A video is not there or can't be read, or a request has audio.
        """
        jobs = [self._job(request) for request in requests]
        order = sorted(range(len(jobs)), key=lambda number: jobs[number][0].watched)
        found: list[GenerationResult | None] = [None] * len(jobs)
        for _, numbers in groupby(order, key=lambda number: jobs[number][0].watched):
            context: Context | None = None
            for number in numbers:
                asked, settings, about = jobs[number]
                key = request_key(asked, settings)
                kept = self.kept.known.get(key)
                if kept is None:
                    context = self._watched(asked) if context is None else context
                    kept = self._answer(context, asked, settings)
                    self.kept.write(key, kept, about)
                counts = TokenCounts(input_tokens=kept.input_tokens, output_tokens=kept.output_tokens)
                found[number] = GenerationResult(text=kept.text, token_counts=counts)
                self.cache_hook.add_partial("generate_until", requests[number].args, kept.text)
        return [result for result in found if result is not None]

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        """Not there: tasks of video models generate."""
        raise NotImplementedError("--model vxl generates answers; it has no loglikelihood")

    def generate_until_multi_round(self, requests: Sequence[Any]) -> list[str]:
        """Not there."""
        raise NotImplementedError("--model vxl answers requests of one round")

    def clean(self) -> None:
        """Frees the model's memory, for a judge that follows."""
        self.loaded = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    @property
    def _ready(self) -> LoadedModel:
        assert self.loaded is not None, "the model was cleaned away"
        return self.loaded

    def _job(self, request: Any) -> tuple[Asked, dict[str, Any], dict[str, Any]]:
        """(the conversation, how it is generated, what it is of)."""
        _, doc_to_messages, generation, doc_id, task, split = request.args
        asked = read_messages(doc_to_messages(self.task_dict[task][split][doc_id]), f"{task} {doc_id}")
        settings = dict(generation)  # requests share it
        until = settings.get("until") or ()
        return (
            asked,
            {
                "max_new_tokens": int(settings.get("max_new_tokens") or LONGEST),
                "temperature": float(settings.get("temperature") or 0) if settings.get("do_sample") else 0.0,
                "top_p": float(1.0 if settings.get("top_p") is None else settings["top_p"]),
                "until": (until,) if isinstance(until, str) else tuple(until),
            },
            {"task": task, "split": split, "doc_id": doc_id},
        )

    def _chat(self, asked: Asked) -> Chat:
        loaded = self._ready
        written = loaded.config.prompt
        if asked.system is not None:
            written = replace(written, system=asked.system)
        return Chat(written, loaded.tokenizer, loaded.prompt.plan)

    def _written(self, asked: Asked, shown: Sequence[Shown]) -> tuple[Encoded, list[int]]:
        goes_on = asked.turns[-1].role == "assistant"
        return self._chat(asked).conversation(asked.turns, shown, goes_on=goes_on)

    def _watched(self, asked: Asked) -> Context:
        def head(asked: Asked, shown: Sequence[Shown]) -> Encoded:
            return self._written(asked, shown)[0]

        return self._ready.watch(*(visual.clip() for visual in asked.visuals), head=partial(head, asked))

    def _answer(self, context: Context, asked: Asked, settings: dict[str, Any]) -> Kept:
        loaded = self._ready
        _, tail = self._written(asked, [Shown("image")] * len(asked.visuals))
        (answer,) = ask_all(
            context,
            [tail],
            max_new_tokens=settings["max_new_tokens"],
            stop=(loaded.prompt.end, loaded.prompt.pad),
            stop_text=settings["until"],
            sampling=Sampling(settings["temperature"], settings["top_p"]),
            tokenizer=loaded.tokenizer,
            texts=[asked.turns[-1].texts[-1].strip()],
        )
        return Kept(answer.text, context.tokens + len(tail), len(answer.tokens))
