"""What a client sends inside its request: a video or an image in base64, or frames that it chose itself."""

import base64
import binascii
import hashlib
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import BinaryIO, cast

import torch
from torch import Tensor
from typing_extensions import override

from vxl.serve.asked.request import FramesWish, Visual
from vxl.serve.request_error import RequestError
from vxl.video.load import load_image
from vxl.video.probe import VideoInfo
from vxl.video.transform import PixelSpec
from vxl.video.virtual import Chosen, Virtual

IN_MEMORY = 1 << 22
"""Bytes of one medium that are held in memory while it waits; larger ones wait on disk."""


@dataclass(frozen=True)
class SentFrames(Virtual):
    """A video of which a client sends frames, as JPEG."""

    jpegs: Sequence[bytes]
    fps: float
    """Their rate: the whole video's where they are chosen among, else it only says how long it is."""

    @cached_property
    def info(self) -> VideoInfo:
        """As if it were a file."""
        first = load_image(self.jpegs[0], None, name="frame 0")
        return VideoInfo(len(self.jpegs), self.fps, first.shape[2], first.shape[1])

    @override
    def frames(self, indices: Sequence[int], pixels: PixelSpec | None) -> Tensor:
        return torch.stack([load_image(self.jpegs[n], pixels, name=f"frame {n}") for n in indices])


@dataclass(frozen=True)
class ChosenFrames(SentFrames, Chosen):
    """The same, of which every frame is shown, at its time."""

    seconds: tuple[float, ...]

    @property
    def shown_at(self) -> Sequence[float]:
        """The second of each."""
        return self.seconds


def read_data_url(visual: Visual, wish: FramesWish, most: int) -> tuple[BinaryIO | SentFrames, str]:
    """What a data URL holds, and a key of it.

    Args:
        visual: Where it stands.
        wish: What the client says of frames.
        most: Bytes that are allowed.

    Raises:
        RequestError: It is of another kind, no base64, or too large.
    """
    head, comma, text = visual.url.partition(",")
    kind, *options = head.removeprefix("data:").lower().split(";")
    if not comma or "base64" not in options:
        raise RequestError(f"expected: data:{visual.kind}/…;base64,…", visual.where)
    if kind.partition("/")[0] != visual.kind:
        raise RequestError(f"it is data:{kind}; expected: data:{visual.kind}/…;base64,…", visual.where)
    if len(text) * 3 // 4 > most + 3:
        raise too_large(most, visual.where)
    if kind != "video/jpeg":
        data = _decoded(text, visual.where)
        return spooled(data), hashlib.sha256(data).hexdigest()
    frames = [_decoded(part, visual.where) for part in text.split(",")]
    digest = hashlib.sha256(repr(wish).encode())
    for frame in frames:
        digest.update(hashlib.sha256(frame).digest())
    return _frames(frames, wish), digest.hexdigest()


def spooled(data: bytes) -> BinaryIO:
    """A file of bytes, in memory where they are few."""
    file = cast(BinaryIO, tempfile.SpooledTemporaryFile(IN_MEMORY))  # noqa: SIM115 -- its job closes it
    file.write(data)
    file.seek(0)
    return file


def too_large(most: int, where: str) -> RequestError:
    """What to say of a medium of too many bytes."""
    return RequestError(f"it is larger than {most:,} bytes; send less of it.", where, status=413)


def _decoded(text: str, where: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise RequestError(f"it is not base64: {error}.", where) from error
    if not data:
        raise RequestError("it holds nothing.", where)
    return data


def _frames(frames: list[bytes], wish: FramesWish) -> SentFrames:
    count, whole = len(frames), wish.total or len(frames)
    if wish.indices and len(wish.indices) != count:
        raise RequestError(
            f"{count} frames, but {len(wish.indices)} numbers of frames.",
            "media_io_kwargs.video.frames_indices",
        )
    rate = wish.fps
    if rate is None and wish.duration is not None:
        rate = (whole if wish.indices else count) / wish.duration
    if rate is None and wish.indices:
        raise RequestError(
            "frames_indices needs fps, or total_num_frames and duration.", "media_io_kwargs.video.fps"
        )
    rate = rate or 1.0
    if wish.sample:
        return SentFrames(tuple(frames), rate)
    seconds = [index / rate for index in (wish.indices or range(count))]
    return ChosenFrames(tuple(frames), rate, tuple(round(second, 1) for second in seconds))
