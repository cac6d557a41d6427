"""The endpoint: routes, and how a request is answered, refused, or dropped when its client goes."""

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from vxl.serve.asked.fields import parse_json
from vxl.serve.asked.request import read_request
from vxl.serve.job import Done, Event, Job
from vxl.serve.page.routes import Page
from vxl.serve.reply import Reply
from vxl.serve.request_error import RequestError
from vxl.serve.server import Server
from vxl.units import MIB

CLIENT_WENT = 499
"""Status of what no client waited for, as nginx writes it; for the metrics alone."""


def make_app(server: Server) -> Starlette:
    """The ASGI application of a server."""
    endpoint = Endpoint(server)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncGenerator[None]:
        server.start()
        yield
        await asyncio.to_thread(server.end)

    routes = [
        Route("/v1/models", endpoint.models),
        Route("/v1/models/{name:path}", endpoint.model),
        Route("/v1/chat/completions", endpoint.chat, methods=["POST"]),
        Route("/health", endpoint.health),
        Route("/metrics", endpoint.metrics),
    ]
    if server.config.page:
        routes += Page(server).routes()
    handlers: dict[Any, Any] = {RequestError: refused, HTTPException: no_route, Exception: failed}
    app = Starlette(routes=routes, exception_handlers=handlers, lifespan=lifespan)
    app.state.server = server
    return app


class Endpoint:
    """What OpenAI's clients call.

    Args:
        server: The model.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self.created = int(time.time())

    async def health(self, request: Request) -> Response:
        """Whether the server is up."""
        return JSONResponse({"status": "ok"})

    async def metrics(self, request: Request) -> Response:
        """What it counts."""
        self.server.guard.check(request)
        return Response(self.server.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def models(self, request: Request) -> Response:
        """The models: this one."""
        self.server.guard.check(request)
        return JSONResponse({"object": "list", "data": [self._about()]})

    async def model(self, request: Request) -> Response:
        """One model."""
        self.server.guard.check(request)
        self._refuse_other(request.path_params["name"])
        return JSONResponse(self._about())

    async def chat(self, request: Request) -> Response:
        """A chat completion."""
        try:
            self.server.guard.check(request)
            response = await self._answer(request)
        except RequestError as error:
            self.server.metrics.answered(error.status)
            raise
        except ClientDisconnect:
            response = Response(status_code=CLIENT_WENT)
        if not isinstance(response, Stream):
            self.server.metrics.answered(response.status_code)
        return response

    async def _answer(self, request: Request) -> Response:
        server, began = self.server, time.monotonic()
        if server.admitted >= server.config.queue:
            raise RequestError("the queue is full; try again later.", status=429)
        server.admitted += 1
        job: Job | None = None
        response: Response | None = None
        try:
            try:
                async with asyncio.timeout(server.config.fetch_seconds):
                    sent = await self._body(request)
            except TimeoutError as error:
                message = f"the body did not come within {server.config.fetch_seconds} s."
                raise RequestError(message, status=408) from error
            body = parse_json(sent)
            asked = read_request(body, most_media=server.config.max_media)
            self._refuse_other(asked.model)
            job = await server.job(asked, request.client.host if request.client else "")
            server.worker.add(job)
            reply = Reply(asked.model, asked.rows, asked.include_usage)
            events = job.events()
            first = await _unless_gone(anext(events), request)
            server.metrics.first_token_seconds.observe(time.monotonic() - began)
            if asked.stream:
                response = Stream(reply.stream(first, events), lambda: self._ended(job, began, 200))
                return response
            done = await _unless_gone(_last(first, events), request)
            return JSONResponse(reply.whole(done))
        finally:
            if response is None:
                self._ended(job, began)

    def _ended(self, job: Job | None, began: float, status: int | None = None) -> None:
        """Whatever came of a request."""
        self.server.admitted -= 1
        self.server.metrics.request_seconds.observe(time.monotonic() - began)
        if job is not None:
            job.gone.set()
        if status is not None:
            self.server.metrics.answered(status)

    async def _body(self, request: Request) -> bytes:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            got = f"Content-Type is {kind or 'missing'}"
            raise RequestError(f"{got}; expected: application/json.", status=415)
        most = 4 * self.server.config.max_mib * MIB // 3 + MIB
        body = bytearray()
        async for piece in request.stream():
            body += piece
            if len(body) > most:
                raise RequestError(f"the body is longer than {most:,} bytes; send less of it.", status=413)
        return bytes(body)

    def _refuse_other(self, name: str) -> None:
        served = self.server.name
        if name != served:
            message = f"the model {name!r} is not served here; there is {served!r}."
            raise RequestError(message, "model", status=404, code="model_not_found")

    def _about(self) -> dict[str, Any]:
        return {"id": self.server.name, "object": "model", "created": self.created, "owned_by": "vxl"}


class Stream(StreamingResponse):
    """A stream of events that says when it ends, however it ends.

    Args:
        events: They.
        ended: Called once.
    """

    def __init__(self, events: AsyncIterator[bytes], ended: Callable[[], None]) -> None:
        # Proxies that gather pieces would make words wait for each other.
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(events, headers=headers, media_type="text/event-stream")
        self.ended = ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends it."""
        try:
            await super().__call__(scope, receive, send)
        except ClientDisconnect:
            pass
        finally:
            self.ended()


async def _unless_gone(coming: Awaitable[Any], request: Request) -> Any:
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
    why = f"{request.method} {request.url.path}: {error.detail}."
    return JSONResponse(RequestError(why, status=error.status_code).body, error.status_code)


async def failed(request: Request, error: Exception) -> Response:
    """The response to a defect of the server."""
    return JSONResponse(RequestError("the server failed; its log says where.", status=500).body, 500)
