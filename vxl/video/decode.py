"""Chosen frames of a video, exact by number: all at once, or as a stream with bounded memory."""

import os
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from vxl.errors import ConfigError, DataError
from vxl.video.container import VideoSource
from vxl.video.decoder_opencv import OpenCVReader
from vxl.video.decoder_pyav import PyAVReader
from vxl.video.decoder_torchcodec import TorchcodecReader
from vxl.video.probe import VideoInfo
from vxl.video.transform import PixelSpec, resize_FCHW


class Reader(Protocol):
    """One opened video: its name in messages, what it holds, and its frames."""

    name: str
    info: VideoInfo

    def __enter__(self) -> "Reader": ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None: ...

    def frames(self, indices: Sequence[int] | np.ndarray) -> Iterator[Tensor]:
        """Yields uint8 [1, C, H, W] for each of the strictly ascending indices."""
        ...


def open_video(
    source: VideoSource, *, decoder: str = "pyav", name: str | None = None, threads: int = 1
) -> Reader:
    """A video to read from in a `with` block. Open it in the process that reads, and once a use.

    Args:
        source: Path, bytes, or open binary file.
        decoder: "pyav", "opencv" or "torchcodec".
        name: What to call the video in messages, by default its path.
        threads: Threads of the decoder; 0 for as many as there are cores.

    Raises:
        ConfigError: There is no such decoder, or it is not installed.
    """
    readers = {"pyav": PyAVReader, "opencv": OpenCVReader, "torchcodec": TorchcodecReader}
    if decoder not in readers:
        raise ConfigError(f"decoder={decoder} does not exist.\n  choose one of: {', '.join(readers)}")
    if not isinstance(source, str | os.PathLike | bytes) and not source.seekable():
        source = source.read()  # a pipe can be read once, a reader may have to start over
    return readers[decoder](source, name=name, threads=threads)


def decode(
    source: VideoSource,
    indices: Sequence[int] | np.ndarray,
    *,
    pixels: PixelSpec | None = None,
    decoder: str = "pyav",
    name: str | None = None,
    threads: int = 1,
) -> Tensor:
    """Decodes frames of a video.

    Args:
        source: Path, bytes, or open binary file.
        indices: Which frames, as a straight read counts them; in any order, repeats allowed.
        pixels: The size to bring them to; None for the video's own.
        decoder: "pyav", "opencv" or "torchcodec".
        name: What to call the video in messages.
        threads: Threads of the decoder; 0 for as many as there are cores.

    Returns:
        uint8 RGB [F, C, H, W], in the order of `indices`.

    Raises:
        DataError: The file can't be read, or has not all of these frames.
    """
    with open_video(source, decoder=decoder, name=name, threads=threads) as reader:
        return read(reader, indices, pixels)


def read(reader: Reader, indices: Sequence[int] | np.ndarray, pixels: PixelSpec | None) -> Tensor:
    """Decodes frames of an opened video; see `decode`."""
    if len(indices) == 0:
        raise DataError("no frames are wanted.\n  expected: at least 1 index")
    unique_U, back_F = np.unique(np.asarray(indices, dtype=np.int64), return_inverse=True)
    _check(unique_U, reader)
    out_UCHW: Tensor | None = None
    for position, frame_1CHW in enumerate(reader.frames(unique_U)):
        if pixels is not None:
            frame_1CHW = resize_FCHW(frame_1CHW, pixels)
        if out_UCHW is None:
            out_UCHW = torch.empty(len(unique_U), *frame_1CHW.shape[1:], dtype=torch.uint8)
        elif out_UCHW.shape[1:] != frame_1CHW.shape[1:]:
            raise DataError(
                f"frame {unique_U[position]} is {tuple(frame_1CHW.shape[2:])}, the first one "
                f"{tuple(out_UCHW.shape[2:])}: the size changes within the video.\n  read it at a fixed size"
            )
        out_UCHW[position] = frame_1CHW[0]
    assert out_UCHW is not None, "a reader yields every frame or raises"
    return out_UCHW if len(unique_U) == len(back_F) and (np.diff(back_F) > 0).all() else out_UCHW[back_F]


def decode_stream(
    source: VideoSource,
    indices: Sequence[int] | np.ndarray,
    *,
    pixels: PixelSpec | None = None,
    decoder: str = "pyav",
    name: str | None = None,
    threads: int = 1,
) -> Iterator[Tensor]:
    """Yields the frames [C, H, W] one by one: hours of video in the memory of a few frames.

    Arguments and errors as for `decode`, but the indices have to ascend. The file stays open until the
    iterator ends or is closed.
    """
    with open_video(source, decoder=decoder, name=name, threads=threads) as reader:
        yield from read_on(reader, indices, pixels)


def read_on(
    reader: Reader, indices: Sequence[int] | np.ndarray, pixels: PixelSpec | None
) -> Iterator[Tensor]:
    """Yields frames of an opened video; see `decode_stream`."""
    wanted_F = np.asarray(indices, dtype=np.int64)
    if (np.diff(wanted_F) <= 0).any():
        raise DataError("the frames of a stream have to be asked for in ascending order, each once")
    _check(wanted_F, reader)
    for frame_1CHW in reader.frames(wanted_F):
        yield (frame_1CHW if pixels is None else resize_FCHW(frame_1CHW, pixels))[0].contiguous()


def _check(ascending_F: np.ndarray, reader: Reader) -> None:
    frames = reader.info.frames
    if len(ascending_F) and (ascending_F[0] < 0 or ascending_F[-1] >= frames):
        wrong = ascending_F[0] if ascending_F[0] < 0 else ascending_F[-1]
        raise DataError(
            f"{reader.name}: frame {wrong} is wanted of a video of {frames} frames (0 to {frames - 1})"
        )
