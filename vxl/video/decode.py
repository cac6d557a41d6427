"""Chosen frames of a video, exact by number: all at once, or as a stream with bounded memory."""

import contextlib
import importlib
import os
import platform
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import islice
from types import TracebackType
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from vxl.errors import ConfigError, DataError
from vxl.store import in_use
from vxl.video.container import VideoSource, identity_of, source_name
from vxl.video.decoder.device import refuse_device
from vxl.video.decoder.opencv import OpenCVReader
from vxl.video.decoder.parallel import ParallelReader, cores_here, decoding_threads
from vxl.video.decoder.pyav import PyAVReader
from vxl.video.decoder.torchcodec import CPU, TorchcodecReader, card_here
from vxl.video.frame_cache import SHORT, Entry, FrameCache
from vxl.video.probe import VideoInfo
from vxl.video.transform import PixelSpec, resize_FCHW


class Reader(Protocol):
    """One opened video: its name in messages, what it holds, and its frames."""

    name: str
    info: VideoInfo
    damaged: bool
    """Whether damage was met: what is shown behind it depends on the frames that are decoded before."""

    def __enter__(self) -> "Reader": ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None: ...

    def frames(self, indices: Sequence[int] | np.ndarray) -> Iterator[Tensor]:
        """Yields uint8 [1, C, H, W] for each of the strictly ascending indices."""
        ...


def open_video(
    source: VideoSource,
    *,
    decoder: str = "pyav",
    device: str = "cpu",
    name: str | None = None,
    threads: int = 1,
) -> Reader:
    """A video to read from in a `with` block. Open it in the process that reads, and once a use.

    Args:
        source: Path, bytes, or open binary file.
        decoder: "pyav", "opencv" or "torchcodec".
        device: Where frames are decoded and resized, and stay: "cpu", or with torchcodec "cuda".
        name: What to call the video in messages, by default its path.
        threads: Threads of the decoder; 0 for as many as there are cores.

    Raises:
        ConfigError: There is no such decoder or device, or it is not installed.
    """
    readers = {"pyav": PyAVReader, "opencv": OpenCVReader, "torchcodec": TorchcodecReader}
    if decoder not in readers:
        raise ConfigError(f"decoder={decoder} does not exist.\n  choose one of: {', '.join(readers)}")
    refuse_device(decoder, device)
    place = card_here() if device == "cuda" else CPU
    if not isinstance(source, str | os.PathLike | bytes) and not source.seekable():
        source = source.read()  # a pipe can be read once, a reader may have to start over
    reader: Reader
    if decoder == "pyav" and decoding_threads() == "auto" and isinstance(source, str | os.PathLike | bytes):
        reader = ParallelReader(source, name=name, workers=cores_here())
    elif decoder == "torchcodec":
        reader = TorchcodecReader(source, name=name, threads=threads, device=place)
    else:
        reader = readers[decoder](source, name=name, threads=threads)
    cache = in_use(FrameCache)
    if cache is None:
        return reader
    return KeptReader(cache, source, decoder, name or source_name(source), reader, place)


class KeptReader:
    """A video whose frames may be known already: it is opened only where something of it is not.

    Args:
        cache: Where its frames are kept.
        source: Path, bytes, or open binary file.
        decoder: What decodes it.
        name: What to call the video in messages.
        reader: Reads it, and is not opened yet.
        place: Where it gives the frames.
    """

    info: VideoInfo
    damaged = False

    def __init__(
        self,
        cache: FrameCache,
        source: VideoSource,
        decoder: str,
        name: str,
        reader: Reader,
        place: torch.device,
    ) -> None:
        self.name, self._place = name, place
        self._cache, self._source, self._decoder = cache, source, decoder
        self._reader, self._is_open = reader, False
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "KeptReader":
        self._identity = identity_of(self._source)
        info_before = self._cache.infos.get(self._video) if self._identity else None
        self.info = info_before or self.opened().info
        if info_before is None and self._identity:
            self._cache.remember(self._video, self.info)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._stack.__exit__(kind, error, trace)

    def frames(self, indices: Sequence[int] | np.ndarray) -> Iterator[Tensor]:
        """Yields uint8 [1, C, H, W] for each of the strictly ascending indices."""
        return self.opened().frames(indices)

    def entry(self, wanted_U: np.ndarray, pixels: PixelSpec) -> Entry | None:
        """Where frames of ascending numbers are kept; None where the video's content can't be told."""
        if self._identity is None:
            return None
        short = self.info.frames <= SHORT
        numbers_N = np.arange(self.info.frames) if short else wanted_U
        return Entry(self._cache, self._video, pixels, numbers_N, self._place)

    def whole(self) -> bool:
        """Whether it is unchanged, and nothing that was decoded of it is damaged."""
        return self.unchanged() and not self.opened().damaged

    def unchanged(self) -> bool:
        """Whether the video is still the one that was opened."""
        return identity_of(self._source) == self._identity

    @property
    def _video(self) -> str:
        """What the pixels of a frame follow from before it is resized."""
        module = importlib.import_module({"pyav": "av", "opencv": "cv2"}.get(self._decoder, self._decoder))
        # A card's pictures are its own, and what its NVDEC can't decode; it resizes by matrix products.
        facts = [self._identity, self._decoder, module.__version__, platform.machine()]
        if self._place.type == "cuda":
            facts += [torch.cuda.get_device_name(self._place), torch.get_float32_matmul_precision()]
        return " ".join(map(str, facts))

    def opened(self) -> Reader:
        """The video itself."""
        if not self._is_open:
            self._stack.enter_context(self._reader)
            self._is_open = True
        return self._reader


def decode(
    source: VideoSource,
    indices: Sequence[int] | np.ndarray,
    *,
    pixels: PixelSpec | None = None,
    decoder: str = "pyav",
    device: str = "cpu",
    name: str | None = None,
    threads: int = 1,
) -> Tensor:
    """Decodes frames of a video.

    Args:
        source: Path, bytes, or open binary file.
        indices: Which frames, as a straight read counts them; in any order, repeats allowed.
        pixels: The size to bring them to; None for the video's own.
        decoder: "pyav", "opencv" or "torchcodec".
        device: Where frames are decoded and resized, and stay; see `open_video`.
        name: What to call the video in messages.
        threads: Threads of the decoder; 0 for as many as there are cores.

    Returns:
        uint8 RGB [F, C, H, W], in the order of `indices`.

    Raises:
        DataError: The file can't be read, or has not all of these frames.
    """
    with open_video(source, decoder=decoder, device=device, name=name, threads=threads) as reader:
        return read(reader, indices, pixels)


def read(reader: Reader, indices: Sequence[int] | np.ndarray, pixels: PixelSpec | None) -> Tensor:
    """Decodes frames of an opened video; see `decode`."""
    if len(indices) == 0:
        raise DataError("no frames are wanted.\n  expected: at least 1 index")
    unique_U, back_F = np.unique(np.asarray(indices, dtype=np.int64), return_inverse=True)
    _check(unique_U, reader)
    entry = _entry(reader, unique_U, pixels)
    out_UCHW = None if entry is None else entry.find(unique_U)
    sized = _sized(reader, unique_U, pixels, entry) if out_UCHW is None else ()
    for position, frame_1CHW in enumerate(sized):
        if out_UCHW is None:
            shape = (len(unique_U), *frame_1CHW.shape[1:])
            out_UCHW = torch.empty(shape, dtype=torch.uint8, device=frame_1CHW.device)
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
    device: str = "cpu",
    name: str | None = None,
    threads: int = 1,
) -> Iterator[Tensor]:
    """Yields the frames [C, H, W] one by one: hours of video in the memory of a few frames.

    Arguments and errors as for `decode`, but the indices have to ascend. The file stays open until the
    iterator ends or is closed.
    """
    with open_video(source, decoder=decoder, device=device, name=name, threads=threads) as reader:
        yield from read_on(reader, indices, pixels)


def read_on(
    reader: Reader, indices: Sequence[int] | np.ndarray, pixels: PixelSpec | None
) -> Iterator[Tensor]:
    """Yields frames of an opened video; see `decode_stream`."""
    wanted_F = np.asarray(indices, dtype=np.int64)
    if (np.diff(wanted_F) <= 0).any():
        raise DataError("the frames of a stream have to be asked for in ascending order, each once")
    _check(wanted_F, reader)
    entry = _entry(reader, wanted_F, pixels)
    count = 0
    if entry is not None:  # piece by piece, as nothing is given out before it is checked
        while count < len(wanted_F) and (piece := entry.find(wanted_F[count : count + SHORT])) is not None:
            yield from piece
            count += len(piece)
    if count < len(wanted_F):
        for frame_1CHW in islice(_sized(reader, wanted_F, pixels, entry), count, None):
            yield frame_1CHW[0].contiguous()


def _entry(reader: Reader, wanted_U: np.ndarray, pixels: PixelSpec | None) -> Entry | None:
    """Where frames of ascending numbers are kept; None where they are not."""
    return None if pixels is None or not isinstance(reader, KeptReader) else reader.entry(wanted_U, pixels)


def _sized(
    reader: Reader, wanted_U: np.ndarray, pixels: PixelSpec | None, entry: Entry | None = None
) -> Iterator[Tensor]:
    """Yields frames of ascending numbers at their size, [1, C, H, W]; keeps them where there is an entry."""
    if entry is None:
        yield from _decoded(reader.opened() if isinstance(reader, KeptReader) else reader, wanted_U, pixels)
        return
    assert isinstance(reader, KeptReader)
    if reader.info.frames > SHORT:
        yield from entry.written(_sized(reader, wanted_U, pixels), reader.unchanged)
        return
    try:  # a short video whole; it is not damaged, or what is wanted of it is decoded by itself
        frames = list(entry.written(_sized(reader, entry.numbers_N, pixels), reader.whole))
        wanted = [frames[number] for number in wanted_U] if reader.whole() else None
    except DataError:
        wanted = None
    yield from wanted or _sized(reader, wanted_U, pixels)


def _decoded(reader: Reader, wanted_U: np.ndarray, pixels: PixelSpec | None) -> Iterator[Tensor]:
    if pixels is None:
        return reader.frames(wanted_U)
    resize = partial(resize_FCHW, spec=pixels)
    if isinstance(reader, ParallelReader):
        return reader.mapped(wanted_U, resize)
    return map(resize, reader.frames(wanted_U))


def _check(ascending_F: np.ndarray, reader: Reader) -> None:
    frames = reader.info.frames
    if len(ascending_F) and (ascending_F[0] < 0 or ascending_F[-1] >= frames):
        wrong = ascending_F[0] if ascending_F[0] < 0 else ascending_F[-1]
        raise DataError(
            f"{reader.name}: frame {wrong} is wanted of a video of {frames} frames (0 to {frames - 1})"
        )
