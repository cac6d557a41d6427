"""The page's own routes: its files, what it may offer, videos that are dropped on it, and their pictures."""

import asyncio
import io
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import torch
from PIL import Image
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from vxl.errors import VxlError
from vxl.serve.media.videos import EXAMPLE, Offered
from vxl.serve.request_error import RequestError
from vxl.serve.server import Server
from vxl.video.load import load_image, load_video
from vxl.video.probe import probe
from vxl.video.sample import Uniform, UniformConfig
from vxl.video.transform import PixelSpec

HERE = Path(__file__).parent
PICTURES = 12
"""Frames of a video that the page shows."""
FILES = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
}
POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob: data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}
SMALL = PixelSpec(size=96, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


class Page:
    """Answers the page.

    Args:
        server: The model.
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self.picture = lru_cache(64)(picture)

    def routes(self) -> list[Route]:
        """All of them."""
        return [
            *(Route(path, self.file) for path in FILES),
            Route("/page/about", self.about),
            Route("/page/videos", self.take, methods=["POST"]),
            Route("/page/facts", self.facts),
            Route("/page/strip", self.strip),
        ]

    async def file(self, request: Request) -> Response:
        """A file of the page; it holds nothing that needs a key."""
        name, kind = FILES[request.url.path]
        return Response((HERE / name).read_bytes(), media_type=kind, headers=HEADERS)

    async def about(self, request: Request) -> Response:
        """What the page shows before anything is chosen."""
        server = self.server
        server.guard.check(request)
        policy = server.loaded.config.kv
        return JSONResponse(
            {
                "model": server.name,
                "policy": policy.module,
                "keep": server.share,
                "keep_while_watching": not server.loaded.model.policy.keeps_all_watched,
                "examples": [EXAMPLE + name for name in server.opener.videos.examples],
                "max_mib": server.config.max_mib,
                "random": server.loaded.checkpoint is None,
            }
        )

    async def take(self, request: Request) -> Response:
        """Keeps a video that was dropped on the page."""
        self.server.guard.check(request)
        videos = self.server.opener.videos
        url = await videos.take(request.stream(), request.query_params.get("name", ""))
        try:
            return JSONResponse(await asyncio.to_thread(facts, url, videos.find(url, "body")))
        except VxlError as error:
            videos.forget(url)
            raise RequestError(str(error), "body") from error

    async def facts(self, request: Request) -> Response:
        """What the page says of a video."""
        self.server.guard.check(request)
        url = request.query_params.get("url", "")
        offered = self.server.opener.videos.find(url, "url")
        try:
            return JSONResponse(await asyncio.to_thread(facts, url, offered))
        except VxlError as error:
            raise RequestError(str(error), "url") from error

    async def strip(self, request: Request) -> Response:
        """Some frames of a video, side by side."""
        self.server.guard.check(request)
        offered = self.server.opener.videos.find(request.query_params.get("url", ""), "url")
        try:
            data = await asyncio.to_thread(self.picture, offered)
        except VxlError as error:
            raise RequestError(str(error), "url") from error
        return Response(data, media_type="image/jpeg", headers=HEADERS)


def facts(url: str, offered: Offered) -> dict[str, object]:
    """What the page says of a video or an image.

    Raises:
        DataError: It can't be read.
    """
    if offered.kind == "image":
        height, width = load_image(str(offered.path), None, name=offered.name).shape[1:]
        seconds = 0.0
    else:
        info = probe(str(offered.path), name=offered.name)
        width, height, seconds = info.width, info.height, round(info.seconds, 1)
    shape = {"width": width, "height": height, "seconds": seconds}
    return {"url": url, "name": offered.name, "kind": offered.kind, **shape}


def picture(offered: Offered) -> bytes:
    """Some frames of a video side by side, each squashed to a square, as JPEG.

    Raises:
        DataError: It can't be read.
    """
    if offered.kind == "image":
        frames_FCHW = load_image(str(offered.path), SMALL, name=offered.name)[None]
    else:
        sampler = Uniform(replace(UniformConfig(), max_frames=PICTURES))
        frames_FCHW = load_video(str(offered.path), sampler, SMALL, name=offered.name).frames_FCHW
    row_HWC = torch.cat(list(frames_FCHW.permute(0, 2, 3, 1)), dim=1)
    file = io.BytesIO()
    Image.fromarray(row_HWC.numpy()).save(file, "JPEG", quality=80)
    return file.getvalue()
