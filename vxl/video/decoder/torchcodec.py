"""Frames through torchcodec, `video.decoder=torchcodec`: on the CPU, or by NVDEC with `video.device=cuda`."""

import contextlib
import logging
import os
from collections.abc import Iterator, Sequence
from functools import cache, cached_property
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vxl.errors import ConfigError, DataError
from vxl.video.container import VideoSource, as_readable, path_for_decoders
from vxl.video.decoder.alike import INSTEAD, refuse_other_picture
from vxl.video.decoder.pyav import PyAVReader, RgbConverter
from vxl.video.orientation import Orientation, orientation_of
from vxl.video.probe import VideoInfo

log = logging.getLogger(__name__)

# Frames decoded by one call: as many as are in memory at once.
CALL = 16

# Seconds by which a time stamp that torchcodec gives may differ from the frame's: it counts in floats.
SAME_TIME = 1e-4

# What torchcodec raises for a file, or a device, that it can't do.
REFUSED = (RuntimeError, ValueError)

CPU = torch.device("cpu")


def card_here() -> torch.device:
    """The CUDA card that this process decodes on.

    Raises:
        ConfigError: There is none.
    """
    if not torch.cuda.is_available():
        raise ConfigError(
            f"video.device=cuda: torch {torch.__version__} finds no CUDA card here to decode on.\n"
            "  type  video.device=cpu"
        )
    # With its number: another thread, which may do the decoding, would take the first card.
    return torch.device("cuda", torch.cuda.current_device())


def _absent(error: Exception) -> str:
    """The message for a torchcodec that is not there, or that is and does not fit this torch or FFmpeg."""
    install = f'  type  pip install "vxl[torchcodec]"  (and install FFmpeg), or {INSTEAD}'
    if isinstance(error, ModuleNotFoundError) and error.name == "torchcodec":
        without = "" if torch.version.cuda else '; beside a torch without CUDA  "torchcodec<0.14"'
        return f"decoder=torchcodec: torchcodec is not installed.\n{install}{without}"
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return (
        f"decoder=torchcodec: torchcodec can't be imported: {reason}\n{install}\n"
        f"  it has to be built for the CUDA of torch (here {torch.__version__}); for a torch "
        "without, the package index has torchcodec<0.14"
    )


class TorchcodecReader:
    """One video, opened; see `vxl.video.decoder.pyav.PyAVReader`.

    Frames are numbered by PyAV's index and asked for by their time stamps, since torchcodec counts packets.
    The first picture is compared with PyAV's, which is decoded for its orientation anyhow.
    """

    name: str
    info: VideoInfo
    damaged = False

    def __init__(
        self, source: VideoSource, *, name: str | None = None, threads: int = 1, device: torch.device = CPU
    ) -> None:
        """Args: see `vxl.video.decode.open_video`; `device` is where the frames are decoded, and stay."""
        try:
            import torchcodec  # ty: ignore[import-not-found]  # late: torchcodec, an optional package
            from torchcodec.decoders import VideoDecoder  # ty: ignore[import-not-found]  # late: torchcodec
        except (ImportError, RuntimeError, OSError) as error:  # the latter without FFmpeg
            raise ConfigError(_absent(error)) from error
        self._decoder_class, self._version = VideoDecoder, torchcodec.__version__
        self._source, self._threads, self._device = source, threads, device
        self._reference = PyAVReader(source, name=name)

    def __enter__(self) -> "TorchcodecReader":
        self._reference.__enter__()
        self.name, self.info = self._reference.name, self._reference.info
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__dict__.pop("_decoder", None)
        self._reference.__exit__(kind, error, trace)

    def frames(self, indices: Sequence[int] | np.ndarray) -> Iterator[Tensor]:
        """Decodes strictly ascending frames; yields uint8 RGB [1, C, H, W] on the device, upright.

        Raises:
            DataError: The file ends or is damaged where one of them should be, its frames can't be told by
                time stamps, or torchcodec gives another picture than FFmpeg.
            ConfigError: This torchcodec or driver can't decode on the device.
        """
        frame_numbers = [int(index) for index in indices]
        picture = next(self._reference.pictures(frame_numbers[:1]))
        orientation, turns = orientation_of(picture), round(picture.rotation / 90) % 4
        expected_1CHW: Tensor | None = RgbConverter()(picture)
        for some in (frame_numbers[at : at + CALL] for at in range(0, len(frame_numbers), CALL)):
            for frame_1CHW in self._decoded(some).split(1):
                if orientation.mirrored:
                    frame_1CHW = _upright(frame_1CHW, orientation, turns)
                if expected_1CHW is not None:
                    refuse_other_picture(
                        frame_1CHW,
                        expected_1CHW,
                        name=self.name,
                        decoder=f"torchcodec {self._version} on {self._device.type}",
                        number=some[0],
                    )
                    expected_1CHW = None
                yield frame_1CHW

    @cached_property
    def _decoder(self) -> Any:
        """Made by the thread that decodes, since a thread's own context is what NVDEC decodes in."""
        try:
            decoder = self._opened(self._device)
        except torch.OutOfMemoryError:  # a RuntimeError, and not the file's fault
            raise
        except REFUSED as error:
            if self._device.type == "cuda":
                with contextlib.suppress(*REFUSED):
                    self._opened(CPU)
                    raise ConfigError(
                        f"video.device=cuda: torchcodec {self._version} can't decode on {self._device}: "
                        f"{error}\n  it has to be built for the CUDA of torch (here {torch.__version__})\n"
                        "  or type  video.device=cpu"
                    ) from error
            raise DataError(f"{self.name}: torchcodec can't read it as a video: {error}") from error
        if self._device.type == "cuda" and decoder.cpu_fallback:
            why = str(decoder.cpu_fallback)
            if "nvcuvid" in why.lower():
                raise ConfigError(
                    "video.device=cuda: the driver's library for NVDEC, libnvcuvid, is not found.\n"
                    "  in a container it takes  NVIDIA_DRIVER_CAPABILITIES=compute,utility,video\n"
                    "  or type  video.device=cpu"
                )
            _say_fallback(self._reference.stream.codec_context.name, why, self.name)
        return decoder

    def _opened(self, device: torch.device) -> Any:
        is_path = isinstance(self._source, str | os.PathLike)
        return self._decoder_class(
            path_for_decoders(self._source) if is_path else as_readable(self._source),
            stream_index=self._reference.stream.index,
            seek_mode="exact",
            num_ffmpeg_threads=self._threads,
            device=str(device),
        )

    def _decoded(self, some: list[int]) -> Tensor:
        """frames_FCHW of a few numbers."""
        stamps = [stamp for number in some if (stamp := self._reference.stamp(number)) is not None]
        if len(stamps) < len(some):
            raise DataError(
                f"{self.name}: its frames have no time stamps, so torchcodec can't be told which one is "
                f"meant.\n  {INSTEAD}"
            )
        try:
            frames_FCHW, decoded_stamps = self._played_at(stamps)
        except torch.OutOfMemoryError:
            raise
        except (*REFUSED, IndexError) as error:
            raise DataError(
                f"{self.name}: frames {some[0]} to {some[-1]} of {self.info.frames} can't be decoded: {error}"
                f"\n  {INSTEAD}, unless the file is damaged"
            ) from error
        for number, stamp, decoded_stamp in zip(some, stamps, decoded_stamps, strict=True):
            if abs(decoded_stamp - stamp) > SAME_TIME:
                raise DataError(
                    f"{self.name}: frame {number} of {self.info.frames} is wanted, but torchcodec can't "
                    f"decode it.\n  {INSTEAD}, unless the file is truncated or damaged"
                )
        return frames_FCHW

    def _played_at(self, stamps: list[float]) -> tuple[Tensor, list[float]]:
        """The frames shown at ascending time stamps, and the stamps that they have."""
        within = [stamp + SAME_TIME for stamp in stamps]
        within = [second for second in within if second < self._decoder.metadata.end_stream_seconds]
        batches = [self._decoder.get_frames_played_at(seconds=within)] if within else []
        if rest := len(stamps) - len(within):  # the last one, where its packet says no duration
            batches.append(self._decoder.get_frames_at(indices=[len(self._decoder) - 1] * rest))
        frames = [batch.data for batch in batches]
        decoded_stamps = [stamp for batch in batches for stamp in batch.pts_seconds.tolist()]
        return frames[0] if len(frames) == 1 else torch.cat(frames), decoded_stamps


@cache
def _say_fallback(codec: str, why: str, name: str) -> None:
    """Says once what NVDEC does not decode; the frames are right all the same, and on the card."""
    log.warning("%s: NVDEC does not decode this %s video, so the CPU does (%s)", name, codec, why)


def _upright(turned_1CHW: Tensor, orientation: Orientation, turns: int) -> Tensor:
    """A mirrored picture that torchcodec has turned: turned back, then mirrored."""
    stored_HWC = turned_1CHW[0].permute(1, 2, 0).rot90(-turns, dims=(0, 1))
    return orientation.upright(stored_HWC).contiguous().permute(2, 0, 1)[None]
