"""Fetching what a URL of the web names: from allowed hosts alone, within a size and a time."""

import asyncio
import hashlib
from collections.abc import Sequence
from typing import BinaryIO
from urllib.parse import urlsplit

import httpx2

from vxl.serve.media.sent import spooled, too_large
from vxl.serve.request_error import RequestError

REDIRECTS = 3
USUAL = {"http": 80, "https": 443}


class Fetcher:
    """Fetches media.

    Args:
        domains: Hosts that may be asked: `a.org`, `*.b.org` (those below it), `c.org:8443` (another port).
        most: Bytes that are allowed.
        seconds: That it may take, redirects included.
    """

    def __init__(self, domains: Sequence[str], most: int, seconds: float) -> None:
        self.domains, self.most, self.seconds = [domain.lower() for domain in domains], most, seconds

    async def fetch(self, url: str, where: str) -> tuple[BinaryIO, str]:
        """What is behind a URL, and its SHA-256.

        Args:
            url: Of the scheme http or https.
            where: Its field in the request.

        Raises:
            RequestError: The host is not allowed, or does not give it.
        """
        try:
            async with asyncio.timeout(self.seconds), httpx2.AsyncClient(timeout=self.seconds) as client:
                for _ in range(REDIRECTS + 1):
                    self.refuse_other(url, where)
                    async with client.stream("GET", url, follow_redirects=False) as response:
                        if response.is_redirect:
                            url = str(response.url.join(response.headers["location"]))
                            continue
                        if response.status_code != 200:
                            raise RequestError(f"its host answers with {response.status_code}.", where)
                        return await self._read(response, where)
        except TimeoutError as error:
            raise RequestError(f"fetching it took longer than {self.seconds:g} s.", where) from error
        except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
            raise RequestError(f"it can't be fetched: {type(error).__name__}.", where) from error
        raise RequestError(f"it is behind more than {REDIRECTS} redirects.", where)

    def refuse_other(self, url: str, where: str) -> None:
        """Raises RequestError unless a URL's host is allowed."""
        if not self.domains:
            raise RequestError(
                "http:// is not allowed here; the server allows hosts with  domains=HOST", where
            )
        try:
            parts = urlsplit(url)
            host, port = (parts.hostname or "").rstrip(".").lower(), parts.port
        except ValueError as error:
            raise RequestError(f"it is no URL: {error}.", where) from error
        usual = parts.scheme in USUAL and port in (None, USUAL[parts.scheme])
        if (
            parts.scheme not in USUAL
            or not host
            or not any(_is(host, port, usual, one) for one in self.domains)
        ):
            raise RequestError(f"{host or 'its host'} is none of the hosts that are allowed here.", where)

    async def _read(self, response: httpx2.Response, where: str) -> tuple[BinaryIO, str]:
        file, digest, size = spooled(b""), hashlib.sha256(), 0
        async for piece in response.aiter_bytes():
            size += len(piece)
            if size > self.most:
                raise too_large(self.most, where)
            digest.update(piece)
            file.write(piece)
        file.seek(0)
        return file, digest.hexdigest()


def _is(host: str, port: int | None, usual: bool, allowed: str) -> bool:
    """Whether a host is one that is allowed."""
    name, _, own = allowed.partition(":")
    fits = host.endswith(name[1:]) if name.startswith("*.") else host == name
    return fits and (str(port) == own if own else usual)
