"""What is sent back: a chat completion whole, or chunk after chunk as server-sent events."""

import asyncio
import json
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import asdict
from typing import Any

from vxl.serve.job import Done, Event, Progress, Text
from vxl.serve.request_error import RequestError

QUIET = 10.0
"""Seconds of silence after which a stream says that it is still there, and notices that its client is not."""


class Reply:
    """The answer to one request, as OpenAI's clients read it.

    Args:
        model: What the client calls the model.
        rows: Answers that it gets.
        include_usage: Whether a stream ends with what it took.
    """

    def __init__(self, model: str, rows: int, include_usage: bool) -> None:
        self.model, self.rows, self.include_usage = model, rows, include_usage
        self.id, self.created = f"chatcmpl-{secrets.token_hex(12)}", int(time.time())

    def whole(self, done: Done) -> dict[str, Any]:
        """A chat completion."""
        choices = [
            {
                "index": row,
                "message": {"role": "assistant", "content": text},
                "logprobs": None,
                "finish_reason": "stop" if stopped else "length",
            }
            for row, (text, stopped) in enumerate(zip(done.texts, done.stopped, strict=True))
        ]
        whole = {**self._head("chat.completion"), "choices": choices, "usage": usage(done)}
        return {**whole, "vxl": done.facts} if done.facts else whole

    async def stream(self, first: Event, rest: AsyncIterator[Event]) -> AsyncIterator[bytes]:
        """The events of a stream."""
        begun = False
        try:
            async for event in _chained(first, rest):
                if event is None:
                    yield b": still there\n\n"
                elif isinstance(event, Progress):
                    yield self._beside({"progress": asdict(event)})
                    continue
                if not begun:
                    for row in range(self.rows):
                        yield self._chunk(row, {"role": "assistant", "content": ""})
                    begun = True
                if isinstance(event, Text):
                    yield self._chunk(event.row, {"content": event.text})
                elif isinstance(event, Done):
                    for row, stopped in enumerate(event.stopped):
                        yield self._chunk(row, {}, "stop" if stopped else "length")
                    if event.facts:
                        yield self._beside(event.facts)
                    if self.include_usage:
                        head = self._head("chat.completion.chunk")
                        yield sse({**head, "choices": [], "usage": usage(event)})
        except RequestError as error:
            yield sse(error.body)
        yield b"data: [DONE]\n\n"

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model}

    def _chunk(self, row: int, delta: dict[str, str], reason: str | None = None) -> bytes:
        choice = {"index": row, "delta": delta, "logprobs": None, "finish_reason": reason}
        return sse({**self._head("chat.completion.chunk"), "choices": [choice]})

    def _beside(self, facts: dict[str, Any]) -> bytes:
        """What the page asked for, in a chunk without choices."""
        return sse({**self._head("chat.completion.chunk"), "choices": [], "vxl": facts})


def usage(done: Done) -> dict[str, Any]:
    """What an answer took, in tokens."""
    return {
        "prompt_tokens": done.prompt_tokens,
        "completion_tokens": done.completion_tokens,
        "total_tokens": done.prompt_tokens + done.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": done.cached_tokens},
    }


def sse(value: Any) -> bytes:
    """An event of a stream."""
    return f"data: {json.dumps(value)}\n\n".encode()


async def _chained(first: Event, rest: AsyncIterator[Event]) -> AsyncIterator[Event | None]:
    """All events; None where none came for a while."""
    event = first
    while True:
        yield event
        if isinstance(event, Done):
            return
        coming = asyncio.ensure_future(anext(rest))
        try:
            while not (await asyncio.wait((coming,), timeout=QUIET))[0]:
                yield None
            event = coming.result()
        finally:
            coming.cancel()
