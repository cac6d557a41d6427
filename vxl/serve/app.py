"""The endpoint: routes, who may use them, and how a request becomes a job and an answer."""

import asyncio
import contextlib
import hmac
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator
from functools import lru_cache
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from vxl.evaluate.work.variants import with_system
from vxl.generate.loaded import LoadedModel
from vxl.generate.saved import weights_fingerprint
from vxl.serve.answering import Answerer
from vxl.serve.config import ServeConfig
from vxl.serve.contexts import MIB, Contexts
from vxl.serve.fields import parse_json
from vxl.serve.job import Done, Event, Job, sampled, turns_of
from vxl.serve.media import Opener
from vxl.serve.reply import Reply
from vxl.serve.request import ChatRequest, Visual, read_request
from vxl.serve.request_error import RequestError
from vxl.serve.worker import Worker

log = logging.getLogger(__name__)


class Server:
    """A model that is served.

    Args:
        loaded: The model.
        config: How.
        name: What clients call it.
    """

    def __init__(self, loaded: LoadedModel, config: ServeConfig, name: str) -> None:
        self.loaded, self.config, self.name = loaded, config, name
        self.created = int(time.time())
        self.contexts = Contexts(
            None if config.contexts is None else config.contexts.expanduser(),
            config.memory_mib * MIB,
            config.disk_mib * MIB,
        )
        self.worker = Worker(Answerer(config, self.contexts).answer, config.batch)
        self.opener = Opener(config)
        self.weights = weights_fingerprint(loaded.model)
        self.key = config.key()
        self.admitted = 0
        self.with_system = lru_cache(16)(lambda system: with_system(loaded, system))

    def app(self) -> Starlette:
        """The ASGI application."""
        routes = [
            Route("/v1/models", self.models),
            Route("/v1/models/{name:path}", self.model),
            Route("/v1/chat/completions", self.chat, methods=["POST"]),
            Route("/health", self.health),
        ]
        handlers: dict[Any, Any] = {RequestError: refused, HTTPException: no_route, Exception: failed}
        return Starlette(routes=routes, exception_handlers=handlers, lifespan=self._lifespan)

    @contextlib.asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncGenerator[None]:
        self.worker.start()
        yield
        await asyncio.to_thread(self.worker.end)
        await asyncio.to_thread(self.contexts.close)

    async def health(self, request: Request) -> Response:
        """Whether the server is up."""
        return JSONResponse({"status": "ok"})

    async def models(self, request: Request) -> Response:
        """The models: this one."""
        self._let_in(request)
        return JSONResponse({"object": "list", "data": [self._about()]})

    async def model(self, request: Request) -> Response:
        """One model."""
        self._let_in(request)
        self._refuse_other(request.path_params["name"])
        return JSONResponse(self._about())

    async def chat(self, request: Request) -> Response:
        """A chat completion."""
        self._let_in(request)
        if self.admitted >= self.config.queue:
            raise RequestError("the queue is full; try again later.", status=429)
        self.admitted += 1
        job: Job | None = None
        try:
            asked = read_request(parse_json(await self._body(request)), most_media=self.config.max_media)
            self._refuse_other(asked.model)
            job = await self._job(asked, request)
            self.worker.add(job)
            reply = Reply(asked.model, asked.rows, asked.include_usage)
            events = job.events()
            first = await self._unless_gone(anext(events), request)
            if asked.stream:
                self.admitted += 1  # until the stream ends
                return StreamingResponse(
                    self._streaming(reply, first, events, job), media_type="text/event-stream"
                )
            return JSONResponse(reply.whole(await self._unless_gone(_last(first, events), request)))
        except BaseException:
            if job is not None:
                job.gone.set()
            raise
        finally:
            self.admitted -= 1

    async def _streaming(
        self, reply: Reply, first: Event, events: AsyncIterator[Event], job: Job
    ) -> AsyncIterator[bytes]:
        try:
            async for piece in reply.stream(first, events):
                yield piece
        finally:
            job.gone.set()
            self.admitted -= 1

    async def _job(self, asked: ChatRequest, request: Request) -> Job:
        system, turns = turns_of(asked)
        loaded: LoadedModel = self.with_system(system)
        video = sampled(loaded.config.video, asked, self.config.max_frames)
        loaded = loaded.sampling(video)
        visuals = [part for message in asked.messages for part in message.parts if isinstance(part, Visual)]
        media = [await asyncio.to_thread(self.opener.open, visual, asked.frames) for visual in visuals]
        peer = request.client.host if request.client else ""
        return Job(asked, media, loaded, turns, (peer, asked.user), self.weights)

    async def _body(self, request: Request) -> bytes:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise RequestError(
                f"Content-Type is {kind or 'missing'}; expected: application/json.", status=415
            )
        most = self.config.max_media * 4 * self.config.max_mib * MIB // 3 + MIB
        body = bytearray()
        async for piece in request.stream():
            body += piece
            if len(body) > most:
                raise RequestError(f"the body is longer than {most:,} bytes.", status=413)
        return bytes(body)

    async def _unless_gone(self, coming: Any, request: Request) -> Any:
        """What is coming, unless the client goes before."""
        task = asyncio.ensure_future(coming)
        watch = asyncio.ensure_future(_gone(request))
        try:
            await asyncio.wait((task, watch), return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise ClientDisconnect
            return task.result()
        finally:
            task.cancel()
            watch.cancel()

    def _let_in(self, request: Request) -> None:
        if self.key is None:
            return
        given = request.headers.get("authorization", "").removeprefix("Bearer ").strip()
        if not hmac.compare_digest(given.encode(), self.key.encode()):
            raise RequestError("the key is missing or wrong:  Authorization: Bearer KEY", status=401)

    def _refuse_other(self, name: str) -> None:
        if name != self.name:
            raise RequestError(
                f"the model {name!r} is not served here; there is {self.name!r}.",
                "model",
                status=404,
                code="model_not_found",
            )

    def _about(self) -> dict[str, Any]:
        return {"id": self.name, "object": "model", "created": self.created, "owned_by": "vxl"}


async def _last(first: Event, events: AsyncIterator[Event]) -> Done:
    event = first
    while not isinstance(event, Done):
        event = await anext(events)
    return event


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def refused(request: Request, error: Exception) -> Response:
    """The response to what is refused."""
    assert isinstance(error, RequestError)
    headers = {"Retry-After": "1"} if error.status == 429 else {}
    return JSONResponse(error.body, error.status, headers)


async def no_route(request: Request, error: Exception) -> Response:
    """The response to an address or a method that there is not."""
    assert isinstance(error, HTTPException)
    what = f"{request.method} {request.url.path}"
    return JSONResponse(
        RequestError(f"{what}: {error.detail}.", status=error.status_code).body, error.status_code
    )


async def failed(request: Request, error: Exception) -> Response:
    """The response to a defect of the server."""
    return JSONResponse(RequestError("the server failed; its log says where.", status=500).body, 500)
