"""The settings of `vxl serve`: where it listens, what it may read, and how much of everything."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_type_hints

import yaml

from vxl.errors import ConfigError
from vxl.option.rebuild import rebuild

LOOPBACK = ("127.0.0.1", "localhost", "::1")
KEY = "VXL_SERVE_KEY"
"""The variable of the environment that may hold the key."""


@dataclass(frozen=True, kw_only=True)
class ServeConfig:
    """How a model is served. Every limit is one request's, where nothing else is said."""

    host: str = "127.0.0.1"
    """Address to listen at; 0.0.0.0 for every network of this machine, which needs a key."""
    port: int = 8000
    """Port; 0 for a free one."""
    name: str | None = None
    """What clients call the model; null: the run's name."""
    key_file: Path | None = None
    """File whose first line is the key that clients must send; the variable VXL_SERVE_KEY may hold it."""
    open: bool = False
    """Let everybody in who reaches a host other than this machine, without a key."""
    hosts: tuple[str, ...] = ()
    """Names by which browsers may reach the server, beside `host` and this machine's own."""
    files: tuple[Path, ...] = ()
    """Folders below which file:// may read, as a|b; none: file:// is refused."""
    domains: tuple[str, ...] = ()
    """Hosts that http(s):// may fetch from, as a.org|*.b.org|c.org:8443; none: it is refused."""
    contexts: Path | None = Path(".cache/vxl/contexts")
    """Folder that keeps what was watched over restarts; null: memory alone."""
    memory_mib: int = 2048
    """Mebibytes of what was watched, on the model's device."""
    disk_mib: int = 16384
    """Mebibytes of what was watched, on disk."""
    max_mib: int = 128
    """Mebibytes of one video or image that a client sends, or has fetched."""
    max_seconds: int = 14400
    """Length of a video in seconds."""
    max_frames: int = 10000
    """Frames that are looked at of a video, whatever a client asks for."""
    max_media: int = 16
    """Videos and images of a request."""
    max_new_tokens: int = 4096
    """Longest answer, which requests that name none get."""
    fetch_seconds: int = 30
    """Seconds that fetching a video may take, and sending a request."""
    request_seconds: int = 600
    """Seconds that the model may work on a request."""
    queue: int = 64
    """Requests that may be waiting or worked on; more are refused with 429."""
    batch: int = 8
    """Questions about one video that are answered together at most."""

    page: bool = True
    """Whether there is a page to try the model at /."""
    examples: Path | None = None
    """Folder of videos that the page offers."""
    upload_mib: int = 1024
    """Mebibytes of videos that were dropped on the page; the oldest go first."""

    def __post_init__(self) -> None:
        """All that can't be, at once."""
        problems = [
            f"{name}={getattr(self, name)} is too small.\n  allowed: 1 or more"
            for name, kind in get_type_hints(type(self)).items()
            if kind is int and name not in ("port", "memory_mib", "disk_mib") and getattr(self, name) < 1
        ]
        problems += [
            f"{name}={getattr(self, name)} is too small.\n  allowed: 0 or more"
            for name in ("memory_mib", "disk_mib")
            if getattr(self, name) < 0
        ]
        if not 0 <= self.port < 65536:
            problems.append(f"port={self.port} is no port.\n  allowed: 0 to 65535")
        folders = [("files", folder) for folder in self.files] + [("examples", self.examples)]
        problems += [
            f"{name}={folder} is no folder.\n  name one that is there"
            for name, folder in folders
            if folder is not None and not folder.expanduser().is_dir()
        ]
        problems += [
            f"domains={domain} is no host.\n  e.g.  domains=videos.example.org|*.example.net"
            for domain in self.domains
            if not domain or "/" in domain or "@" in domain or domain == "*"
        ]
        try:
            key = self.key()
        except OSError as error:
            problems.append(f"key_file={self.key_file} can't be read: {error.strerror or error}")
        else:
            if key == "":
                problems.append(
                    f"{f'key_file={self.key_file}' if self.key_file else KEY} holds no key.\n"
                    "  write one line into it"
                )
            if key is None and self.host not in LOOPBACK and not self.open:
                problems.append(
                    f"host={self.host} lets other machines in, and there is no key.\n"
                    f"  set one:  key_file=FILE   or the variable {KEY}\n"
                    "  or let everybody in:  open=true"
                )
        if problems:
            raise ConfigError("\n\n".join(problems))

    def key(self) -> str | None:
        """What clients must send; None where anybody is let in.

        Raises:
            OSError: The file can't be read.
        """
        if self.key_file is not None:
            lines = self.key_file.expanduser().read_text(encoding="utf-8", errors="replace").splitlines()
            return lines[0].strip() if lines else ""
        return os.environ.get(KEY)


def serve_config(settings: Mapping[str, str]) -> ServeConfig:
    """The settings of words `key=value`; lists are written a|b.

    Raises:
        ConfigError: Everything that does not fit, at once.
    """
    kinds = get_type_hints(ServeConfig)
    values: dict[str, Any] = {}
    for key, text in settings.items():
        kind = kinds[key]
        if text == "null":
            values[key] = None
        elif kind in (int, bool):
            values[key] = yaml.safe_load(text) if len(text) < 20 else text
        elif kind in (tuple[str, ...], tuple[Path, ...]):
            values[key] = [part.strip() for part in text.split("|") if part.strip()]
        else:
            values[key] = text
    return rebuild(ServeConfig, values)


SETTINGS = tuple(field.name for field in fields(ServeConfig))
