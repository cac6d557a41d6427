"""Frames through torchcodec, `video.decoder=torchcodec`."""

import os
from collections.abc import Iterator, Sequence
from types import TracebackType

import numpy as np
from torch import Tensor

from vxl.errors import ConfigError, DataError
from vxl.video.container import VideoSource, as_readable, path_for_decoders
from vxl.video.decoder.pyav import PyAVReader
from vxl.video.orientation import Orientation, orientation_of
from vxl.video.probe import VideoInfo

# Frames decoded by one call: as many as are in memory at once.
CALL = 16

# Seconds by which a time stamp that torchcodec gives may differ from the frame's: it counts in floats.
SAME_TIME = 1e-4


class TorchcodecReader:
    """One video, opened; see `vxl.video.decoder.pyav.PyAVReader`.

    Frames are numbered by PyAV's index and asked for by their time stamps, since torchcodec counts packets.
    """

    name: str
    info: VideoInfo
    damaged = False

    def __init__(self, source: VideoSource, *, name: str | None = None, threads: int = 1) -> None:
        """Args: see `vxl.video.decode.open_video`."""
        try:
            from torchcodec.decoders import VideoDecoder  # ty: ignore[import-not-found]  # late: torchcodec
        except (
            ImportError,
            RuntimeError,
            OSError,
        ) as error:  # the latter without FFmpeg
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise ConfigError(
                f"decoder=torchcodec: torchcodec can't be imported: {reason}\n"
                '  type  pip install "vxl[torchcodec]"  (and install FFmpeg), or use decoder=pyav'
            ) from error
        self._decoder_class = VideoDecoder
        self._source, self._threads = source, threads
        self._reference = PyAVReader(source, name=name)

    def __enter__(self) -> "TorchcodecReader":
        self._reference.__enter__()
        self.name, self.info = self._reference.name, self._reference.info
        is_path = isinstance(self._source, str | os.PathLike)
        readable = path_for_decoders(self._source) if is_path else as_readable(self._source)
        try:
            self._decoder = self._decoder_class(
                readable,
                stream_index=self._reference.stream.index,
                seek_mode="exact",
                num_ffmpeg_threads=self._threads,
            )
        except (RuntimeError, ValueError) as error:
            self._reference.__exit__(None, None, None)
            raise DataError(f"{self.name}: torchcodec can't read it as a video: {error}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del self._decoder
        self._reference.__exit__(kind, error, trace)

    def frames(self, indices: Sequence[int] | np.ndarray) -> Iterator[Tensor]:
        """Decodes strictly ascending frames; yields uint8 RGB [1, C, H, W], upright.

        Raises:
            DataError: The file ends or is damaged where one of them should be.
        """
        frame_numbers = [int(index) for index in indices]
        picture = next(self._reference.pictures(frame_numbers[:1]))
        orientation, turns = orientation_of(picture), round(picture.rotation / 90) % 4
        for some in (frame_numbers[at : at + CALL] for at in range(0, len(frame_numbers), CALL)):
            for frame_1CHW in self._decoded(some).split(1):
                yield _upright(frame_1CHW, orientation, turns) if orientation.mirrored else frame_1CHW

    def _decoded(self, some: list[int]) -> Tensor:
        """frames_FCHW of a few numbers."""
        stamps = [stamp for number in some if (stamp := self._reference.stamp(number)) is not None]
        try:
            if len(stamps) < len(some):
                return self._decoder.get_frames_at(indices=some).data
            batch = self._decoder.get_frames_played_at(seconds=[stamp + SAME_TIME for stamp in stamps])
        except (RuntimeError, IndexError, ValueError) as error:
            raise DataError(
                f"{self.name}: frames {some[0]} to {some[-1]} of {self.info.frames} can't be decoded: {error}"
            ) from error
        for number, stamp, decoded_stamp in zip(some, stamps, batch.pts_seconds.tolist(), strict=True):
            if abs(decoded_stamp - stamp) > SAME_TIME:
                raise DataError(
                    f"{self.name}: frame {number} of {self.info.frames} is wanted, but torchcodec can't "
                    "decode it.\n  the file is truncated or damaged: copy it again, or leave it out"
                )
        return batch.data


def _upright(turned_1CHW: Tensor, orientation: Orientation, turns: int) -> Tensor:
    """A mirrored picture that torchcodec has turned: turned back, then mirrored."""
    stored_HWC = turned_1CHW[0].permute(1, 2, 0).rot90(-turns, dims=(0, 1))
    return orientation.upright(stored_HWC).contiguous().permute(2, 0, 1)[None]
