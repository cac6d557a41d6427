"""Writing frames as H.264 in an mp4 file."""

import itertools
import os
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from vxl.atomic import whole_file
from vxl.errors import DataError


def write_video(
    target: str | os.PathLike[str] | BinaryIO,
    frames: Iterable[np.ndarray],
    fps: float | Fraction,
    *,
    gop: int = 24,
    crf: int = 23,
    preset: str = "veryfast",
    bframes: int = 2,
) -> int:
    """Encodes frames; the same frames and settings give the same bytes (with the same FFmpeg).

    Args:
        target: Path (appears when the file is complete) or a binary file that can seek.
        frames: uint8 RGB [H, W, 3], all of one size. H.264 wants even sizes: an odd last row or column is
            left out.
        fps: Frames a second.
        gop: Frames from one key frame to the next.
        crf: x264's quality, lower is better (0 to 51).
        preset: x264's effort, "ultrafast" to "veryslow".
        bframes: At most so many frames in a row that are predicted from both sides.

    Returns:
        How many frames were written.

    Raises:
        DataError: There are no frames, or not of this shape.
    """
    if not isinstance(target, str | os.PathLike):
        return _encode(target, frames, fps, gop, crf, preset, bframes)
    path = Path(target)
    with whole_file(path) as part:
        return _encode(str(part), frames, fps, gop, crf, preset, bframes)


def _encode(
    target: str | BinaryIO,
    frames: Iterable[np.ndarray],
    fps: float | Fraction,
    gop: int,
    crf: int,
    preset: str,
    bframes: int,
) -> int:
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        raise DataError(f"no frames to write to {target}.\n  expected: at least 1 frame")
    height, width = first.shape[0] // 2 * 2, first.shape[1] // 2 * 2
    if first.ndim != 3 or first.shape[2] != 3 or first.dtype != np.uint8 or not height or not width:
        raise DataError(
            f"a frame of shape {first.shape}, {first.dtype}.\n  expected: uint8 [H, W, 3], H and W at least 2"
        )
    rate = Fraction(fps).limit_denominator(1001)
    scaler = VideoReformatter()
    count = 0
    with av.open(target, mode="w", format="mp4") as container:
        options = {"crf": str(crf), "preset": preset, "g": str(gop), "bf": str(bframes), "sc_threshold": "0"}
        # x264's macroblock tree gives other bytes from run to run where there are AVX-512 and B-frames.
        options["mbtree"] = "0"
        stream = container.add_stream("libx264", rate=rate, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.thread_count = 1  # x264's output depends on the number of threads
        for pixels_HWC in itertools.chain([first], frames):
            if pixels_HWC.shape != first.shape:
                raise DataError(
                    f"frame {count} is {pixels_HWC.shape}, the first {first.shape}: one size a video"
                )
            cut_HWC = np.ascontiguousarray(pixels_HWC[:height, :width])
            rgb = av.VideoFrame.from_ndarray(cut_HWC, format="rgb24")
            container.mux(stream.encode(scaler.reformat(rgb, format="yuv420p", threads=1)))
            count += 1
        container.mux(stream.encode())
    return count
