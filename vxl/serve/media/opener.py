"""What a URL of a request names: a file, a fetched one, or bytes and frames that came along; and its key."""

import asyncio
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any, Literal
from urllib.parse import urlsplit

from vxl.evaluate.fingerprint import digest
from vxl.serve.asked.request import FramesWish, Visual
from vxl.serve.config import ServeConfig
from vxl.serve.media.fetch import Fetcher
from vxl.serve.media.files import Files
from vxl.serve.media.sent import SentFrames, read_data_url
from vxl.serve.media.videos import Videos
from vxl.serve.request_error import RequestError
from vxl.units import MIB


@dataclass(frozen=True)
class Media:
    """What is to be watched."""

    kind: Literal["video", "image"]
    source: Any
    """A path, an open file, or frames; None where it is still to be fetched."""
    key: str
    """Of its content: equal keys are equal pixels."""
    name: str
    """What to call it in messages."""
    where: str
    """Its field in the request."""
    url: str | None = None
    """Where it is fetched from, of what is."""


class Opener:
    """Opens what requests name.

    Args:
        config: What is allowed.
    """

    def __init__(self, config: ServeConfig) -> None:
        self.config = config
        self.files = Files(config.files)
        self.videos = Videos(config.examples, config.max_mib * MIB, config.upload_mib * MIB)
        self.fetcher = Fetcher(config.domains, config.max_mib * MIB, config.fetch_seconds)

    async def open(self, visual: Visual, wish: FramesWish) -> Media:
        """What a URL names.

        Raises:
            RequestError: Its kind is not allowed or unknown, or it can't be read.
        """
        scheme = visual.url.partition(":")[0].lower()
        if scheme == "file":
            return await asyncio.to_thread(self._file, visual)
        if scheme == "vxl":
            offered = self.videos.find(visual.url, visual.where)
            key = await asyncio.to_thread(self.files.content, offered.path)
            return Media(offered.kind, str(offered.path), key, offered.name, visual.where)
        if scheme == "data":
            source, key = await asyncio.to_thread(read_data_url, visual, wish, self.config.max_mib * MIB)
            if isinstance(source, SentFrames) and len(source.jpegs) > self.config.max_frames:
                raise RequestError(
                    f"{len(source.jpegs)} frames; allowed: {self.config.max_frames}.", visual.where
                )
            return Media(visual.kind, source, key, f"the {visual.kind} that was sent", visual.where)
        if scheme in ("http", "https"):
            self.fetcher.refuse_other(visual.url, visual.where)
            name = PurePosixPath(urlsplit(visual.url).path).name or f"the {visual.kind}"
            media = Media(visual.kind, None, _own(visual) or "", name, visual.where, visual.url)
            return media if media.key else await self.fetched(media)
        raise RequestError(
            f"expected: file:///PATH, http(s)://…, or data:{visual.kind}/…;base64,…", visual.where
        )

    async def fetched(self, media: Media) -> Media:
        """The same with what its address gives, if it has one.

        Raises:
            RequestError: It can't be fetched.
        """
        if media.url is None or media.source is not None:
            return media
        source, key = await self.fetcher.fetch(media.url, media.where)
        return replace(media, source=source, key=media.key or key)

    def _file(self, visual: Visual) -> Media:
        path = self.files.find(visual.url, visual.where)
        try:
            key = _own(visual) or self.files.content(path)
        except OSError as error:
            raise RequestError(f"{path.name}: {error.strerror or error}.", visual.where) from error
        return Media(visual.kind, str(path), key, path.name, visual.where)


def _own(visual: Visual) -> str | None:
    """A key of the client's name for what is behind a URL; with the URL, so that it names nothing else."""
    return None if visual.uuid is None else digest(["uuid", visual.uuid, visual.url])
