"""One question on its way: what is to be watched and asked, whom it is for, and what came of it so far."""

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from vxl.data.batch.chat import Chat, Said, said
from vxl.data.batch.encoded import Encoded, Shown
from vxl.evaluate.fingerprint import digest
from vxl.evaluate.work.variants import watch_key
from vxl.generate.loaded import LoadedModel
from vxl.option.rebuild import plain
from vxl.serve.asked.request import ChatRequest
from vxl.serve.media.opener import Media
from vxl.serve.request_error import RequestError
from vxl.video.sample import VideoConfig, by_rate


@dataclass(frozen=True)
class Progress:
    """How far watching is."""

    frames: int
    """Decoded."""
    of_frames: int
    """That are looked at; those of images left out."""
    groups: int
    """Prefilled."""
    of_groups: int
    cache_bytes: int
    """Of the cache."""


@dataclass(frozen=True)
class Text:
    """A piece of an answer."""

    row: int
    text: str


@dataclass(frozen=True)
class Done:
    """The answers, row by row, and what they took; no rows where a video was only watched."""

    texts: tuple[str, ...]
    stopped: tuple[bool, ...]
    prompt_tokens: int
    cached_tokens: int
    """Of them, those that had been watched before."""
    completion_tokens: int
    facts: dict[str, Any] = field(default_factory=dict)
    """What the page shows beside it."""


Event = Progress | Text | Done | RequestError


@dataclass(eq=False)
class Job:
    """A request that waits for the model or is answered by it."""

    request: ChatRequest
    question: str
    """The last words, which some kinds of relevance look at."""
    media: Sequence[Media]
    loaded: LoadedModel
    """The model with the parts that the request wants."""
    chat: Chat
    turns: Sequence[Said]
    client: tuple[str, ...]
    """Whose it is, from the outermost: clients take turns, and users of a client among themselves."""
    gone: threading.Event = field(default_factory=threading.Event)
    """Set when its client waits no longer."""
    tail: list[int] = field(default_factory=list)
    """Tokens after the last visual."""
    told: bool = False
    """Whether words of the answer were sent."""
    context_key: str = ""
    """Of what is watched: equal keys are equal contexts."""

    def __post_init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._events: asyncio.Queue[Event] = asyncio.Queue()

    def write_down(self, weights: str) -> None:
        """Fills in `tail` and `context_key`.

        Args:
            weights: Fingerprint of the model's weights.
        """
        blank = [Shown("image")] * len(self.media)
        head, self.tail = self.chat.conversation(self.turns, blank, goes_on=self.request.goes_on)
        self.context_key = digest(
            {
                "weights": weights,
                "parts": watch_key(self.loaded),
                "prompt": plain(self.loaded.config.prompt),
                "text": head.tokens,
                "media": [(media.kind, media.key) for media in self.media],
            }
        )

    @property
    def batch_key(self) -> tuple[Any, ...]:
        """Jobs of one such key are answered together: the same video, the same settings, greedily."""
        request = self.request
        if request.temperature > 0 or request.wishes.watch:
            return (id(self),)
        return self.context_key, id(self.loaded.model), request.max_new_tokens, request.stop, request.goes_on

    def head(self, shown: Sequence[Shown]) -> Encoded:
        """The conversation up to the last visual."""
        return self.chat.conversation(self.turns, shown, goes_on=self.request.goes_on)[0]

    def send(self, event: Event) -> None:
        """Tells those who wait; from any thread."""
        self.told = self.told or isinstance(event, Text)
        if not self.gone.is_set() and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._events.put_nowait, event)

    async def events(self) -> AsyncIterator[Event]:
        """What comes of it; ends with `Done`.

        Raises:
            RequestError: It could not be answered.
        """
        while True:
            event = await self._events.get()
            if isinstance(event, RequestError):
                raise event
            yield event
            if isinstance(event, Done):
                return


def turns_of(request: ChatRequest) -> tuple[str | None, list[Said]]:
    """(the system turn, None for the model's own; the other turns)."""
    system = [message.text for message in request.messages if message.role == "system"]
    turns = [
        said(message.role, [part if isinstance(part, str) else None for part in message.parts])
        for message in request.messages
        if message.role != "system"
    ]
    return "\n".join(system) if system else None, turns


def sampled(config: VideoConfig, request: ChatRequest, most: int) -> VideoConfig:
    """How frames are chosen for a request.

    Args:
        config: The model's own way.
        request: What the client asks for.
        most: Frames that are allowed.
    """
    wish = request.frames
    count = config.max_frames if wish.num_frames is None else wish.num_frames
    count = min(count or most, most)
    if wish.fps is not None:
        return replace(by_rate(config), fps=wish.fps, max_fps=None, max_frames=count)
    return config if count == config.max_frames else replace(config, max_frames=count)
