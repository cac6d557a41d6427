"""From a file to what a tower takes: a video's chosen frames with their times, or an image."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from vxl.errors import DataError
from vxl.video.container import VideoSource
from vxl.video.decode import Reader, open_video, read, read_on
from vxl.video.image import read_rgb
from vxl.video.probe import VideoInfo
from vxl.video.sample import Sampler, Selection
from vxl.video.transform import PixelSpec, resize_FCHW


@dataclass(frozen=True)
class Frames:
    """Decoded frames: uint8 [F, C, H, W], the seconds of each from the start, and what the file holds."""

    frames_FCHW: Tensor
    seconds: list[float]
    info: VideoInfo


@dataclass(frozen=True)
class FrameStream:
    """Frames to come, in pieces of uint8 [F, C, H, W]; the times and the file's facts are known already."""

    pieces: Iterator[Tensor]
    seconds: list[float]
    info: VideoInfo


def load_video(
    source: VideoSource,
    sampler: Sampler,
    pixels: PixelSpec | None,
    *,
    start: float | None = None,
    end: float | None = None,
    name: str | None = None,
    threads: int = 1,
) -> Frames:
    """Reads the frames that a sampler chooses.

    Args:
        source: Path, bytes, or open binary file.
        sampler: Which frames, and with which decoder; its device is where they are then.
        pixels: The size to bring them to; None for the video's own.
        start: Where the segment to read begins, in seconds; None for the file's start.
        end: Where it ends; None for the file's end.
        name: What to call the video in messages.
        threads: Threads of the decoder; 0 for as many as there are cores.

    Raises:
        DataError: The file can't be read, or has no frame between `start` and `end`.
    """
    video = sampler.config
    with open_video(source, decoder=video.decoder, device=video.device, name=name, threads=threads) as reader:
        selection = _select(sampler, reader, start, end)
        return Frames(read(reader, selection.indices, pixels), selection.seconds, reader.info)


def stream_video(
    source: VideoSource,
    sampler: Sampler,
    pixels: PixelSpec | None,
    *,
    piece: int,
    start: float | None = None,
    end: float | None = None,
    name: str | None = None,
    threads: int = 0,
) -> FrameStream:
    """Like `load_video`, but in pieces of `piece` frames (the last may be shorter), decoded when asked for.

    The memory is that of one piece, however long the video. The file is closed with the iterator, or when it
    ends.
    """
    video = sampler.config
    reader = open_video(source, decoder=video.decoder, device=video.device, name=name, threads=threads)
    reader.__enter__()
    try:
        selection = _select(sampler, reader, start, end)
    except DataError:
        reader.__exit__(None, None, None)
        raise

    def pieces() -> Iterator[Tensor]:
        try:
            frames: list[Tensor] = []
            for frame_CHW in read_on(reader, selection.indices, pixels):
                frames.append(frame_CHW)
                if len(frames) == piece:
                    yield torch.stack(frames)
                    frames = []
            if frames:
                yield torch.stack(frames)
        finally:
            reader.__exit__(None, None, None)

    return FrameStream(pieces(), selection.seconds, reader.info)


def _select(sampler: Sampler, reader: Reader, start: float | None, end: float | None) -> Selection:
    try:
        info = reader.info
        return sampler.select(info.frames, info.fps, start, end, begins=info.begins, times_F=info.times_F)
    except DataError as error:
        raise DataError(f"{reader.name}: {error}") from error


def load_image(source: VideoSource, pixels: PixelSpec | None, *, name: str | None = None) -> Tensor:
    """Reads an image, upright, as uint8 RGB [C, H, W].

    Raises:
        DataError: Absent, truncated, or not an image.
    """
    pixels_HWC = read_rgb(source, name)
    frame_1CHW = torch.from_numpy(pixels_HWC).permute(2, 0, 1)[None]
    return (frame_1CHW if pixels is None else resize_FCHW(frame_1CHW, pixels))[0].contiguous()
