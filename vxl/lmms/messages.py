"""lmms-eval's messages: what they show, what is asked, and what both are known by."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image

from vxl.data.batch.chat import Said, said
from vxl.errors import DataError
from vxl.generate.loaded import Clip
from vxl.video.image import rgb_of


@dataclass(frozen=True)
class Visual:
    """A video, or the part of it between two times, or an image."""

    kind: str
    source: Any
    """A path, or an image's bytes."""
    start: float | None
    end: float | None
    key: tuple[str, float, float]
    """What it is known by, and ordered by: its address and the part."""

    def clip(self) -> Clip:
        """It, to be watched."""
        return Clip(self.source, "image" if self.kind == "image" else "video", self.start, self.end)


@dataclass(frozen=True)
class Asked:
    """A request's conversation."""

    system: str | None
    turns: tuple[Said, ...]
    visuals: tuple[Visual, ...]

    @property
    def watched(self) -> tuple[Any, ...]:
        """What all requests have in common that need to watch only once, in the order of their videos."""
        return tuple(visual.key for visual in self.visuals), self.system or ""


def read_messages(messages: Sequence[Mapping[str, Any]], where: str) -> Asked:
    """The conversation of a request.

    Args:
        messages: With a `role`, and a `content` of texts, videos and images.
        where: What to call the request in messages of errors.

    Raises:
        DataError: A part is audio or of an unknown kind, or what it shows is not there.
    """
    system: list[str] = []
    turns: list[Said] = []
    visuals: list[Visual] = []
    for message in messages:
        content = message["content"]
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        written: list[str | None] = []
        for part in parts:
            if part["type"] == "text":
                written.append(part["text"])
            else:
                visuals.append(_visual(part, where))
                written.append(None)
        if message["role"] == "system":
            system += [text for text in written if text is not None]
        else:
            turns.append(said(message["role"], written))
    return Asked("\n".join(system) if system else None, tuple(turns), tuple(visuals))


def _visual(part: Mapping[str, Any], where: str) -> Visual:
    kind, source = part["type"], part.get("url")
    if kind not in ("video", "image"):
        raise DataError(
            f"{where}: a part of type {kind!r}.\n  allowed: text, video, image; these models do not hear"
        )
    if isinstance(source, Image.Image):
        file = BytesIO()
        Image.fromarray(rgb_of(source)).save(file, "PNG")
        data = file.getvalue()
        return Visual("image", data, None, None, (hashlib.sha256(data).hexdigest(), -1.0, -1.0))
    if not isinstance(source, str):
        raise DataError(f"{where}: the {kind} is a {type(source).__name__}.\n  expected: the path of a file")
    path = source.removeprefix("file://")
    if "://" in path:
        raise DataError(f"{where}: {path[:80]} is not read: nothing is fetched.\n  expected: a file's path")
    if not Path(path).is_file():
        raise DataError(f"{where}: no such file: {path}\n  no question is answered without its {kind}")
    start, end = (
        None if part.get(name) is None else float(part[name]) for name in ("start_time", "end_time")
    )
    places = (-1.0 if start is None else start, -1.0 if end is None else end)
    return Visual(kind, path, start, end, (path, *places))
