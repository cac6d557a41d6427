"""Videos whose frames spell their number, in the forms that files come in."""

from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import torch
from torch import Tensor

HEIGHT, WIDTH, BITS = 64, 96, 10


def numbered_frames(count: int) -> Iterator[np.ndarray]:
    """uint8 [64, 96, 3]: a moving picture with the frame's number in a row of black and white squares."""
    blocks = np.random.default_rng(0).integers(0, 255, (HEIGHT // 8, WIDTH // 8, 3), np.uint8)
    picture = blocks.repeat(8, axis=0).repeat(8, axis=1)
    for number in range(count):
        frame = np.roll(picture, 2 * number, axis=1).copy()
        for bit in range(BITS):
            frame[4:12, 4 + 8 * bit : 12 + 8 * bit] = 255 if number >> bit & 1 else 0
        yield frame


def numbers_of(frames_FCHW: Tensor) -> list[int]:
    """What numbers the frames spell."""
    squares_FB = torch.stack(
        [
            frames_FCHW[:, :, 6:10, 6 + 8 * bit : 10 + 8 * bit].float().mean(dim=(1, 2, 3))
            for bit in range(BITS)
        ],
        dim=1,
    )
    return ((squares_FB > 128).long() * 2 ** torch.arange(BITS)).sum(dim=1).tolist()


def write(
    path: Path,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    *,
    frames: int = 120,
    format: str | None = None,
    pixels: str = "yuv420p",
    pts_ms: Callable[[int], int] | None = None,
    muxer: dict[str, str] | None = None,
    hide: bool = False,
) -> Path:
    """Encodes numbered frames, 25 a second or at the times given; `hide` adds packets that show nothing."""
    with av.open(str(path), "w", format=format, options=muxer or {}) as container:
        stream = container.add_stream(codec, rate=25, options=options or {})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pixels
        stream.codec_context.thread_count = 1
        if pts_ms is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for number, pixels_HWC in enumerate(numbered_frames(frames)):
            frame = av.VideoFrame.from_ndarray(pixels_HWC, format="rgb24").reformat(format=pixels)
            if pts_ms is not None:
                frame.pts, frame.time_base = pts_ms(number), Fraction(1, 1000)
            for packet in stream.encode(frame):
                container.mux([*(hidden(packet) if hide else ()), packet])
        container.mux(stream.encode())
    return path


def squares_of(frames_FCHW: Tensor) -> list[int]:
    """What numbers the frames of `tests/video/files` spell: 14 squares of 10 pixels, the lowest bit first."""
    squares_FB = torch.stack(
        [
            frames_FCHW[:, :, 10:22, 10 + 10 * bit : 16 + 10 * bit].float().mean((1, 2, 3))
            for bit in range(14)
        ],
        dim=1,
    )
    return ((squares_FB > 128).long() * 2 ** torch.arange(14)).sum(dim=1).tolist()


def remux(source: Path, target: Path, keep: Callable[[int, av.Packet], bool]) -> Path:
    """Copies the packets of a video for which `keep(number, packet)` holds, without encoding them again."""
    with av.open(str(source)) as container, av.open(str(target), "w") as copy:
        stream = copy.add_stream_from_template(container.streams.video[0])
        for number, packet in enumerate(container.demux(video=0)):
            if packet.size and keep(number, packet):
                packet.stream = stream
                copy.mux(packet)
    return target


def without_rate(path: Path) -> Path:
    """Takes the frame rate out of a webm, as browsers write it: its element becomes one that says nothing."""
    data = path.read_bytes()
    element = data.index(b"\x23\xe3\x83\x84")
    path.write_bytes(data[:element] + b"\xec\x86" + bytes(6) + data[element + 8 :])
    return path


def hidden(packet: av.Packet) -> Iterator[av.Packet]:
    """A copy of a VP8 key frame that is decoded but not shown, as its alternate reference frames are."""
    if packet.is_keyframe and packet.pts:
        data = bytearray(bytes(packet))
        data[0] &= ~0x10
        copy = av.Packet(bytes(data))
        copy.stream, copy.time_base, copy.is_keyframe = packet.stream, packet.time_base, True
        copy.pts, copy.dts = packet.pts - 1, packet.dts - 1
        yield copy


B_FRAMES = {"bf": "3", "g": "24", "crf": "20", "preset": "medium"}


def x264(parameters: str) -> dict[str, str]:
    """x264's own parameters on top of B-frames."""
    return {**B_FRAMES, "x264-params": parameters}


# name: the arguments of `write`
KINDS: dict[str, dict] = {
    "b_frames.mp4": {"options": B_FRAMES},
    "fragmented.mp4": {"options": B_FRAMES, "muxer": {"movflags": "frag_keyframe+empty_moov"}},
    "faststart.mp4": {"options": B_FRAMES, "muxer": {"movflags": "+faststart"}},
    "b_frames.mkv": {"options": B_FRAMES},
    "b_frames.ts": {"options": B_FRAMES},
    "b_frames.avi": {"options": B_FRAMES},  # no presentation times: seeking can't be exact
    "open_gop.mp4": {"options": x264("open-gop=1:bframes=3:b-adapt=0:keyint=24")},
    "open_gop.mkv": {"options": x264("open-gop=1:bframes=3:b-adapt=0:keyint=24")},
    "intra_refresh.mp4": {"options": x264("intra-refresh=1:keyint=24")},  # key frames that are not whole
    "every_frame_a_key.mp4": {"options": {"g": "1", "bf": "0"}},
    "one_key_frame.mp4": {"options": {"g": "1000", "bf": "2", "preset": "medium"}},
    "variable_rate.mp4": {
        "options": B_FRAMES,
        "pts_ms": lambda i: i * 40 + (i % 5) * 7 + (1500 if i > 70 else 0),
    },
    "late_start.mp4": {"options": B_FRAMES, "pts_ms": lambda i: 5000 + i * 40},
    "late_start.mkv": {"options": B_FRAMES, "pts_ms": lambda i: 5000 + i * 40},
    "late_start.ts": {"options": B_FRAMES, "pts_ms": lambda i: 5000 + i * 40},
    "edit_list.mp4": {
        "options": B_FRAMES,
        "pts_ms": lambda i: i * 40 - 400,
    },  # its first 10 frames are not shown
    "hevc.mp4": {
        "codec": "libx265",
        "options": {"x265-params": "keyint=24:bframes=4:open-gop=1:log-level=none:pools=none"},
    },
    "vp9.webm": {
        "codec": "libvpx-vp9",
        "options": {"g": "24", "crf": "20", "b": "0", "cpu-used": "8", "auto-alt-ref": "1"},
    },
    "vp8.webm": {"codec": "libvpx", "options": {"g": "24", "crf": "10", "b": "1M"}},
    "vp8_hidden.webm": {"codec": "libvpx", "options": {"g": "24", "crf": "10", "b": "1M"}, "hide": True},
    "mpeg2.ts": {"codec": "mpeg2video", "options": {"bf": "2", "g": "12", "b": "800k"}},
    "mpeg4.avi": {"codec": "mpeg4", "options": {"bf": "2", "g": "24", "b": "500k"}},
    "mjpeg.avi": {"codec": "mjpeg", "pixels": "yuvj420p"},
}
