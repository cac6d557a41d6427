"""Exact frames of a video through PyAV: reads straight on, or jumps to key frames where that is cheaper."""

import contextlib
import logging
import sys
from collections.abc import Generator, Iterator, Sequence
from types import TracebackType

import av
import av.container
import av.video.frame
import av.video.stream
import numpy as np
import torch
from av.video.reformatter import VideoReformatter
from torch import Tensor

from vxl.errors import DataError
from vxl.video.container import VideoSource, open_container, packets_of
from vxl.video.frame_index import FrameIndex, header_index, index_frames
from vxl.video.orientation import Orientation, orientation_of
from vxl.video.probe import VideoInfo, describe_video

log = logging.getLogger(__name__)

# Costs in decoded frames, measured on H.264 at 480 x 270: a jump flushes the decoder, which then has to fill
# up again (its delay: B-frames); numbering a frame by its packet costs 2 us against 150 us for decoding it.
JUMP = 6
NUMBERING = 0.03

# How many key frames to go back where seeking leads past the one that was asked for.
TRIES = 3


class _LostError(Exception):
    """Seeking did not lead where the packets' time stamps say. Reading straight on always does."""


class PyAVReader:
    """One video, opened. Use it in a `with` block, inside the worker that reads it."""

    name: str
    info: VideoInfo
    damaged = False

    def __init__(self, source: VideoSource, *, name: str | None = None, threads: int = 1) -> None:
        """Args: see `vxl.video.decode.open_video`."""
        self._source, self._given_name, self._threads = source, name, threads
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> "PyAVReader":
        self._open()
        self._walked = False  # whether the index comes from all packets, so that it leads to key frames
        try:
            index = header_index(self._container, self._stream)
            if index is None:
                self._index = self._numbered()
            else:
                self._fresh = False  # its first packets have been read
                self._index = index
            self.info = describe_video(self._container, self._stream, self._index, self.name)
        except BaseException:
            if not self._stack.__exit__(*sys.exc_info()):  # which may put FFmpeg's error into our words
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._stack.__exit__(kind, error, trace)

    def frames(self, indices: Sequence[int] | np.ndarray) -> Iterator[Tensor]:
        """Decodes frames one by one, holding no more than the decoder does.

        A frame is identified by its time stamp wherever the file has them, so that a number is the same
        picture however it is reached, also behind damage.

        Args:
            indices: Strictly ascending numbers of frames, in the order in which they are shown.

        Yields:
            uint8 RGB [1, C, H, W] with the channels last in memory, upright.

        Raises:
            DataError: The file ends or is damaged where one of them should be.
        """
        to_rgb = RgbConverter()
        for picture in self.pictures(indices):
            yield to_rgb(picture)

    def pictures(self, indices: Sequence[int] | np.ndarray) -> Iterator[av.video.frame.VideoFrame]:
        """Like `frames`, but FFmpeg's own pictures, as they are stored."""
        frame_numbers = [int(index) for index in indices]
        given_out = 0
        if self._worth_jumping(frame_numbers):
            index = self._numbered()
            if index.seekable and frame_numbers[-1] < index.frames:
                try:
                    for frame in self._jump(frame_numbers, index):
                        yield frame
                        given_out += 1
                except (_LostError, av.FFmpegError) as reason:
                    self.damaged = True
                    log.debug("%s: reading straight on, seeking failed: %s", self.name, reason)
        while given_out < len(frame_numbers):
            try:
                for frame in self._straight(frame_numbers[given_out:]):
                    yield frame
                    given_out += 1
            except _LostError as reason:  # the table in the header is not what the packets are
                index = self._numbered()
                if index.frames != self.info.frames:
                    raise DataError(
                        f"{self.name}: {self.info.frames} frames by its header, {index.frames} in it "
                        f"({reason}).\n"
                        "  the file is damaged: copy it again, or leave it out"
                    ) from reason

    @contextlib.contextmanager
    def beside(self) -> Generator["PyAVReader"]:
        """Another reader of the file, which has been numbered: it need not be again."""
        other = PyAVReader(self._source, name=self._given_name, threads=self._threads)
        other._open()
        other._index, other._walked, other.info = self._index, self._walked, self.info
        with other._stack:
            yield other

    @property
    def stream(self) -> av.video.stream.VideoStream:
        """The file's video as FFmpeg describes it."""
        return self._stream

    def stamp(self, number: int) -> float | None:
        """The time stamp of a frame in seconds, as the container has it; None where it has none."""
        if not self._index.stamped:
            return None
        return float(int(self._index.pts_N[number]) * (self._stream.time_base or 0))

    def _open(self) -> None:
        context = open_container(self._source, name=self._given_name, threads=self._threads)
        self._container, self._stream, self.name = self._stack.enter_context(context)
        self._fresh = True  # at the start of the file, nothing read yet

    def _at_start(self) -> None:
        """Seeking back to the very start is not exact in every container; opening is."""
        if not self._fresh:
            self._stack.close()
            self._open()
        self._fresh = False

    def _worth_jumping(self, frame_numbers: list[int]) -> bool:
        """Whether the gaps between wanted frames could save more than numbering the packets costs."""
        gaps_F = np.diff(np.array([-1, *frame_numbers]))
        spared = int(np.maximum(gaps_F - 1 - JUMP, 0).sum())
        return spared > (0.0 if self._walked else NUMBERING * self.info.frames)

    def _numbered(self) -> FrameIndex:
        if not self._walked:
            self._at_start()
            self._index = index_frames(self._container, self._stream, self.name, self._source)
            self._walked = True
        return self._index

    def _jump(self, frame_numbers: list[int], index: FrameIndex) -> Iterator[av.video.frame.VideoFrame]:
        """Decodes from key frame to wanted frame, reading on where the next one is near."""
        self._fresh = False
        pictures: Iterator[av.video.frame.VideoFrame] = iter(())
        following: int | None = None  # the frame that has to come next; earlier ones may come before it
        for target in frame_numbers:
            start = int(index.starts_N[target])
            if following is None or start - following > JUMP:
                pictures = self._decode_from(index, start)
                following = start
            for frame in pictures:
                self.damaged |= frame.is_corrupt
                position = index.position(frame.pts)
                if position is None or position > following:
                    raise _LostError(f"frame {following} was to come, time stamp {frame.pts} came")
                if position < following:
                    continue
                following += 1
                if position == target:
                    if frame.is_corrupt:
                        raise _LostError(f"frame {target} is not whole if decoding starts at {start}")
                    yield frame
                    break
            else:
                raise _LostError(f"the end came before frame {target}")

    def _decode_from(self, index: FrameIndex, start: int) -> Iterator[av.video.frame.VideoFrame]:
        """Decodes from frame `start`, a key frame, or from one before it."""
        pts = int(index.pts_N[start])
        for _ in range(TRIES):
            self._container.seek(int(index.pts_N[start]), stream=self._stream)
            packets = packets_of(self._container, self._stream)
            first = next((packet for packet in packets if packet.is_keyframe), None)
            if first is not None and first.pts is not None and first.pts <= pts:
                yield from first.decode()
                for packet in packets:
                    yield from packet.decode()
                return
            if start == 0:
                break
            start = int(index.starts_N[start - 1])  # MPEG-TS lands on any packet, often after the key frame
        raise _LostError(f"no key frame at time stamp {pts}")

    def _straight(self, frame_numbers: list[int]) -> Iterator[av.video.frame.VideoFrame]:
        """Decodes from the file's first frame, telling frames by their stamps or, without them, counting."""
        self._at_start()
        index, remaining = self._index, iter(frame_numbers)
        target = next(remaining)
        count = 0
        failure: av.FFmpegError | None = None
        try:
            for frame in self._shown():
                self.damaged |= frame.is_corrupt
                position: int | None = count
                if index.stamped:
                    position = index.position(frame.pts)
                    if position is None:
                        if not self._walked:
                            raise _LostError(f"no frame was to come at time stamp {frame.pts}")
                        continue  # shown again, or out of the damaged
                count += 1
                if position < target:
                    continue
                if position > target:
                    break
                yield frame
                following = next(remaining, None)
                if following is None:
                    return
                target = following
        except av.FFmpegError as error:
            failure = error
        reason = f" ({failure.strerror})" if failure is not None else ""
        raise DataError(
            f"{self.name}: frame {target} of {self.info.frames} is wanted, but it can't be decoded{reason}; "
            f"{count} frames could.\n  the file is truncated or damaged: copy it again, or leave it out"
        ) from failure

    def _shown(self) -> Iterator[av.video.frame.VideoFrame]:
        """All frames from where the container stands."""
        for packet in packets_of(self._container, self._stream):
            try:
                frames = packet.decode()
            except av.InvalidDataError:
                self.damaged = True
                if not self._index.stamped:
                    raise
                continue  # the frames behind the damage still say which they are
            yield from frames


class RgbConverter:
    """Turns FFmpeg's frames into RGB tensors; keeps the scaler, which costs as much to make as to use."""

    def __init__(self) -> None:
        self._scaler = VideoReformatter()

    def __call__(self, frame: av.video.frame.VideoFrame) -> Tensor:
        """uint8 RGB [1, C, H, W] of a picture, upright."""
        # A data worker has one core: more threads than that make the conversion half as fast.
        rgb = self._scaler.reformat(frame, format="rgb24", threads=1)
        plane, height, width = rgb.planes[0], rgb.height, rgb.width
        lines_HL = torch.frombuffer(plane, dtype=torch.uint8).view(-1, plane.line_size)
        pixels_HWC = lines_HL[:height, : 3 * width].reshape(height, width, 3)
        orientation = orientation_of(frame)
        if orientation != Orientation():
            pixels_HWC = orientation.upright(pixels_HWC).contiguous()
        return pixels_HWC.permute(2, 0, 1)[None]
