"""Frames through OpenCV, `video.decoder=opencv`: reads straight on, since its seeking is not exact."""

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from types import TracebackType

import numpy as np
import torch
from torch import Tensor

from vxl.errors import ConfigError, DataError
from vxl.video.probe import Source, VideoInfo, as_readable, probe, source_name


class OpenCVReader:
    """One video, opened; see `vxl.video.decoder_pyav.PyAVReader`."""

    name: str
    info: VideoInfo

    def __init__(self, source: Source, *, name: str | None = None, threads: int = 1) -> None:
        """Args: see `vxl.video.decode.open_video`. OpenCV chooses its threads by itself if `threads` is 0."""
        try:
            import cv2  # ty: ignore[import-not-found]
        except ImportError as error:
            raise ConfigError(
                "decoder=opencv: OpenCV is not installed.\n"
                '  type  pip install "vxl[opencv]"  or use decoder=pyav'
            ) from error
        self._cv2 = cv2
        self._source, self.name, self._threads = source, name or source_name(source), threads
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "OpenCVReader":
        self.info = probe(self._source, name=self.name)
        readable = as_readable(self._source)
        if not isinstance(readable, str):  # OpenCV opens nothing but paths
            file = self._stack.enter_context(tempfile.NamedTemporaryFile(suffix=".video"))
            file.write(readable.read())
            file.flush()
            readable = file.name
        self._path = os.fspath(readable)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def frames(self, indices: Sequence[int] | np.ndarray) -> Iterator[Tensor]:
        """Decodes strictly ascending frames; yields uint8 RGB [1, C, H, W].

        Raises:
            DataError: The file ends or breaks off before the last of them.
        """
        cv2 = self._cv2
        parameters = [cv2.CAP_PROP_N_THREADS, self._threads] if self._threads else []
        capture = cv2.VideoCapture(self._path, cv2.CAP_FFMPEG, parameters)
        try:
            count = 0
            for target in map(int, indices):
                while count <= target:
                    if not capture.grab():
                        raise DataError(
                            f"{self.name}: frame {target} of {self.info.frames} is wanted, but OpenCV "
                            f"decodes only {count}.\n  the file is truncated or damaged: copy it again, or "
                            "leave it out"
                        )
                    count += 1
                _, pixels_HWC = capture.retrieve()
                yield torch.from_numpy(cv2.cvtColor(pixels_HWC, cv2.COLOR_BGR2RGB)).permute(2, 0, 1)[None]
        finally:
            capture.release()
