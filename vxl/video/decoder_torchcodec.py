"""Frames through torchcodec, `video.decoder=torchcodec`."""

from collections.abc import Iterator, Sequence
from types import TracebackType

import numpy as np
from torch import Tensor

from vxl.errors import ConfigError, DataError
from vxl.video.probe import Source, VideoInfo, as_readable, probe, source_name

# Frames decoded by one call: as many as are in memory at once.
CALL = 16


class TorchcodecReader:
    """One video, opened; see `vxl.video.decoder_pyav.PyAVReader`."""

    name: str
    info: VideoInfo

    def __init__(self, source: Source, *, name: str | None = None, threads: int = 1) -> None:
        """Args: see `vxl.video.decode.open_video`."""
        try:
            from torchcodec.decoders import VideoDecoder  # ty: ignore[import-not-found]
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
        self._source, self.name, self._threads = source, name or source_name(source), threads

    def __enter__(self) -> "TorchcodecReader":
        self.info = probe(self._source, name=self.name)
        try:
            self._decoder = self._decoder_class(
                as_readable(self._source), seek_mode="exact", num_ffmpeg_threads=self._threads
            )
        except (RuntimeError, ValueError) as error:
            raise DataError(f"{self.name}: torchcodec can't read it as a video: {error}") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del self._decoder

    def frames(self, indices: Sequence[int] | np.ndarray) -> Iterator[Tensor]:
        """Decodes strictly ascending frames; yields uint8 RGB [1, C, H, W].

        Raises:
            DataError: The file ends or breaks off before the last of them.
        """
        wanted = [int(index) for index in indices]
        for some in (wanted[at : at + CALL] for at in range(0, len(wanted), CALL)):
            try:
                frames_FCHW = self._decoder.get_frames_at(indices=some).data
            except (RuntimeError, IndexError, ValueError) as error:
                raise DataError(
                    f"{self.name}: frames {some[0]} to {some[-1]} of {self.info.frames} can't be decoded: "
                    f"{error}"
                ) from error
            yield from frames_FCHW.split(1)
