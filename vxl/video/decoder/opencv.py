"""Frames through OpenCV, `video.decoder=opencv`: reads straight on, since its seeking is not exact."""

import contextlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vxl.errors import ConfigError, DataError
from vxl.video.container import VideoSource, as_readable, path_for_decoders
from vxl.video.decoder.alike import refuse_other_picture
from vxl.video.decoder.pyav import PyAVReader, RgbConverter
from vxl.video.orientation import orientation_of
from vxl.video.probe import VideoInfo

# Milliseconds by which a time stamp that OpenCV gives may differ from the frame's: it counts in floats.
SAME_TIME = 1.0


class OpenCVReader:
    """One video, opened; see `vxl.video.decoder.pyav.PyAVReader`.

    Frames are numbered by PyAV's index and found by their time stamps. OpenCV reports success for pictures
    that it could not convert (5.0.0 for interlaced video), so the first one, and every one of an interlaced
    video, is compared with PyAV's.
    """

    name: str
    info: VideoInfo
    damaged = False

    def __init__(self, source: VideoSource, *, name: str | None = None, threads: int = 1) -> None:
        """Args: see `vxl.video.decode.open_video`. OpenCV chooses its threads by itself if `threads` is 0."""
        try:
            import cv2  # ty: ignore[import-not-found]  # late: cv2, an optional package
        except ImportError as error:
            raise ConfigError(
                "decoder=opencv: OpenCV is not installed.\n"
                '  type  pip install "vxl[opencv]"  or use  video.decoder=pyav'
            ) from error
        self._cv2 = cv2
        self._source, self._threads = source, threads
        self._reference = PyAVReader(source, name=name)
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "OpenCVReader":
        try:
            self._stack.enter_context(self._reference)
            self.name, self.info = self._reference.name, self._reference.info
            stream = self._reference.stream
            if stream is not stream.container.streams.video[0]:
                raise DataError(
                    f"{self.name}: its video is not the first picture stream of the file, and OpenCV reads "
                    "no other.\n  use  video.decoder=pyav"
                )
            if isinstance(self._source, str | os.PathLike):
                self._path = path_for_decoders(self._source)
            else:  # OpenCV opens nothing but paths
                file = self._stack.enter_context(tempfile.NamedTemporaryFile(suffix=".video"))
                file.write(as_readable(self._source).read())
                file.flush()
                self._path = f"file:{file.name}"
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def frames(self, indices: Sequence[int] | np.ndarray) -> Iterator[Tensor]:
        """Decodes strictly ascending frames; yields uint8 RGB [1, C, H, W], upright.

        Raises:
            DataError: The file ends or is damaged where one of them should be, or OpenCV gives another
                picture than FFmpeg.
        """
        cv2, reference = self._cv2, self._reference
        frame_numbers = [int(index) for index in indices]
        is_interlaced = reference.stream.codec_context.field_order > 1
        pictures = reference.pictures(frame_numbers if is_interlaced else frame_numbers[:1])
        expected, to_rgb = next(pictures), RgbConverter()
        orientation = orientation_of(expected)
        parameters = [cv2.CAP_PROP_N_THREADS, self._threads] if self._threads else []
        capture = cv2.VideoCapture(self._path, cv2.CAP_FFMPEG, parameters)
        capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 0)  # it would turn mirrored pictures
        try:
            for count, _ in enumerate(self._grabbed(capture, frame_numbers)):
                _, pixels_HWC = capture.retrieve()
                rgb_HWC = torch.from_numpy(cv2.cvtColor(pixels_HWC, cv2.COLOR_BGR2RGB))
                frame_1CHW = orientation.upright(rgb_HWC).contiguous().permute(2, 0, 1)[None]
                if count == 0 or is_interlaced:
                    refuse_other_picture(
                        frame_1CHW,
                        to_rgb(expected),
                        name=self.name,
                        decoder=f"OpenCV {cv2.__version__}",
                        number=frame_numbers[count],
                    )
                    expected = next(pictures, expected)
                yield frame_1CHW
        finally:
            capture.release()

    def _grabbed(self, capture: Any, frame_numbers: list[int]) -> Iterator[int]:
        """Reads on to each of the wanted frames in turn; yields its number when it can be retrieved."""
        stream = self._reference.stream
        begin = float((stream.start_time or 0) * (stream.time_base or 0))  # OpenCV counts from there
        count = 0
        for target in frame_numbers:
            stamp = self._reference.stamp(target)
            due = None if stamp is None else 1000.0 * (stamp - begin)
            while True:
                if not capture.grab():
                    raise self._lost(target, count)
                count += 1
                if due is None:
                    if count > target:
                        break
                    continue
                ahead = capture.get(self._cv2.CAP_PROP_POS_MSEC) - due
                if ahead > SAME_TIME:
                    raise self._lost(target, count)
                if ahead >= -SAME_TIME:
                    break
            yield target

    def _lost(self, target: int, count: int) -> DataError:
        return DataError(
            f"{self.name}: frame {target} of {self.info.frames} is wanted, but OpenCV can't decode it; "
            f"{count} frames could be.\n  the file is truncated or damaged: copy it again, or leave it out"
        )
