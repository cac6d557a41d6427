"""A model that is served: what it shares between requests, and how a request becomes a job."""

import asyncio
import copy
from dataclasses import replace
from functools import lru_cache

from vxl.data.batch.chat import Chat
from vxl.errors import VxlError
from vxl.evaluate.work.variants import variant
from vxl.generate.loaded import LoadedModel
from vxl.generate.saved import weights_fingerprint
from vxl.kv.budget import KeepsShare
from vxl.kv.scored.config import ScoredConfig
from vxl.serve.answering import Answerer
from vxl.serve.asked.request import ChatRequest, Visual
from vxl.serve.config import ServeConfig
from vxl.serve.contexts import Contexts
from vxl.serve.guard import Guard
from vxl.serve.job import Job, sampled, turns_of
from vxl.serve.media.opener import Opener
from vxl.serve.metrics import Metrics
from vxl.serve.request_error import RequestError
from vxl.serve.worker import Worker
from vxl.units import MIB


class Server:
    """A model that is served.

    Args:
        loaded: The model.
        config: How.
        name: What clients call it.

    Raises:
        CheckpointError: The folder of contexts can't be used.
    """

    def __init__(self, loaded: LoadedModel, config: ServeConfig, name: str) -> None:
        self.loaded, self.config, self.name = loaded, config, name
        self.metrics = Metrics()
        self.contexts = Contexts(
            None if config.contexts is None else config.contexts.expanduser(),
            config.memory_mib * MIB,
            config.disk_mib * MIB,
            self.metrics.found,
        )
        self.worker = Worker(Answerer(config, self.contexts, self.metrics).answer, config.batch)
        self.opener = Opener(config)
        self.guard = Guard(config.key(), config.hosts)
        self.admitted = 0
        """Requests that are being read, wait, or are worked on."""
        self._weights = weights_fingerprint(loaded.model)
        # With a tokenizer of its own, as the model's thread decodes with the other one meanwhile.
        self._chat = Chat(loaded.config.prompt, copy.deepcopy(loaded.tokenizer), loaded.prompt.plan)
        self._model = lru_cache(16)(self._model_for)
        self._show()

    def start(self) -> None:
        """Begins to work."""
        self.worker.start()

    def end(self) -> None:
        """Ends the work, and waits until what was watched is on disk."""
        self.worker.end()
        self.opener.videos.close()
        self.contexts.close()

    async def job(self, asked: ChatRequest, peer: str) -> Job:
        """What the model has to do for a request.

        Args:
            asked: The request.
            peer: The address that it came from.

        Raises:
            RequestError: What it names can't be had.
        """
        visuals = [part for message in asked.messages for part in message.parts if isinstance(part, Visual)]
        media = [await self.opener.open(visual, asked.frames) for visual in visuals]
        loaded, chat = await asyncio.to_thread(self._wanted, asked)
        job = Job(
            request=replace(asked, messages=()),  # what came along is in files by now
            question=asked.messages[-1].text,
            media=media,
            loaded=loaded,
            chat=chat,
            turns=turns_of(asked)[1],
            client=(peer, asked.user),
        )
        await asyncio.to_thread(job.write_down, self._weights)
        if job.context_key not in self.contexts:
            job.media = [await self.opener.fetched(one) for one in media]
        return job

    def _wanted(self, asked: ChatRequest) -> tuple[LoadedModel, Chat]:
        """The model and the prompt that a request wants."""
        try:
            loaded = self._model(asked.wishes.keep)
        except VxlError as error:
            raise RequestError(str(error), "vxl.keep") from error
        system, chat = turns_of(asked)[0], self._chat
        if system is not None:
            prompt = replace(loaded.config.prompt, system=system)
            loaded = replace(loaded, config=replace(loaded.config, prompt=prompt))
            chat = copy.copy(chat)
            chat.config = prompt
        return loaded.sampling(sampled(loaded.config.video, asked, self.config.max_frames)), chat

    def _model_for(self, keep: float | None) -> LoadedModel:
        """The model with another share of its cache kept."""
        if keep is None:
            return self.loaded
        if not self.keeps_share:
            raise RequestError("this model's policy has no share that it keeps; leave it out.", "vxl.keep")
        of_visual = ["kv.of=visual"] if isinstance(self.loaded.config.kv, ScoredConfig) else []
        return variant(self.loaded, [f"kv.keep={keep}", *of_visual])

    @property
    def keeps_share(self) -> bool:
        """Whether the model's policy keeps a share of what was watched (`kv.keep`)."""
        return self.share is not None

    @property
    def share(self) -> float | None:
        """The share of what was watched that the policy keeps (`kv.keep`); None where it has none."""
        policy = self.loaded.config.kv
        return policy.keep if isinstance(policy, KeepsShare) else None

    def _show(self) -> None:
        shown = self.metrics.gauge
        shown("queue_waiting", "Requests that wait for the model.", lambda: len(self.worker))
        shown("requests_admitted", "Requests that are read, wait or are answered.", lambda: self.admitted)
        shown("contexts_memory_bytes", "What was watched, in memory.", lambda: self.contexts.memory_used)
        shown("contexts_disk_bytes", "What was watched, on disk.", lambda: self.contexts.disk_used)
