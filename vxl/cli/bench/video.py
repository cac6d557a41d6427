"""How fast frames come out of files, against PyAV reading straight through: `python -m vxl.cli.bench.video`.

Both sides run on one thread and give the same numbers: RGB, then Pillow's bicubic resize.
"""

import argparse
import itertools
import math
import os
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import torch
from torch import Tensor

from vxl.config.compose import compose
from vxl.option.files import CLIPS
from vxl.table import listing_of
from vxl.terminal.screen import Screen
from vxl.train.step.data_module import DataModule
from vxl.units import MIB
from vxl.video.decode import decode, decode_stream
from vxl.video.decoder.parallel import Threads, cores_here, decoded_with
from vxl.video.encode import write_video
from vxl.video.frame_cache import frames_kept
from vxl.video.probe import probe
from vxl.video.transform import PixelSpec, resize_FCHW

TOWERS = (56, 384)
"""Sizes to resize to: of `tiny` and of SigLIP."""


@dataclass(frozen=True)
class DecodingRow:
    """One case: `wanted` of `frames` frames; the rates count wanted frames."""

    case: str
    frames: int
    wanted: int
    vxl_frames_per_s: float
    pyav_frames_per_s: float
    ratio: float


@dataclass(frozen=True)
class ThreadsRow:
    """Seconds (the clock's, at best) to decode and resize frames of a file."""

    case: str
    wanted: int
    cores: int
    one_s: float
    codec_s: float
    auto_s: float


SIDES: tuple[tuple[str, int, Threads], ...] = (
    ("one_s", 1, "codec"),
    ("codec_s", 0, "codec"),
    ("auto_s", 0, "auto"),
)


@dataclass(frozen=True)
class KeptRow:
    """What a row of `data=long` costs, 32 frames of 224 pixels, tokens and collation included."""

    case: str
    rows: int
    rows_per_s: float
    ms_a_row: float
    mib_on_disk: float


def bench(
    cache: str | os.PathLike[str], *, repeats: int = 3, towers: Sequence[int] = TOWERS, clips: Path = CLIPS
) -> list[DecodingRow]:
    """Measures all cases: dense and sparse reads of short clips, 32 frames of five minutes.

    Args:
        cache: Folder for the five-minute file.
        repeats: Measurements of each side, taken in turns; the best of each counts.
        towers: Sizes to resize to.
        clips: Folder of the clips.
    """
    long_file = five_minutes(Path(cache) / "five_minutes_gop24.mp4", clips)
    rows = []
    for size in towers:
        pixels = PixelSpec(size, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
        for path in sorted(clips.glob("*.mp4")):
            frames = probe(path).frames
            for case, wanted_F in {
                "every frame": np.arange(frames),
                "every 2nd frame": np.arange(0, frames, 2),
                "first half": np.arange(frames // 2),
                "16 frames": np.linspace(0, frames - 1, 16).astype(np.int64),
            }.items():
                rows.append(
                    measure_decoding(
                        f"{path.stem}, {case}, {size} px", path, frames, wanted_F, pixels, repeats
                    )
                )
        frames = probe(long_file).frames
        wanted_F = np.linspace(0, frames - 1, 32).astype(np.int64)
        rows.append(
            measure_decoding(f"5 minutes, 32 frames, {size} px", long_file, frames, wanted_F, pixels, repeats)
        )
    return rows


def measure_decoding(
    case: str, path: Path, frames: int, wanted_F: np.ndarray, pixels: PixelSpec, repeats: int
) -> DecodingRow:
    """Measures both sides in turns on one thread, after making sure that they give the same frames."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        sides: list[Callable[[], Tensor]] = [
            lambda: decode(path, wanted_F, pixels=pixels),
            lambda: read_straight(path, wanted_F, pixels),
        ]
        ours, theirs = (side() for side in sides)
        assert torch.equal(ours, theirs), f"{case}: the frames differ"
        seconds: list[list[float]] = [[], []]
        for _ in range(repeats):
            for side, times in zip(sides, seconds, strict=True):
                begin = time.process_time()
                side()
                times.append(time.process_time() - begin)
    finally:
        torch.set_num_threads(threads)
    vxl_s, pyav_s = (min(times) for times in seconds)
    count = len(wanted_F)
    return DecodingRow(case, frames, count, count / vxl_s, count / pyav_s, pyav_s / vxl_s)


def kept(cache: Path, *, rows: int = 100) -> list[KeptRow]:
    """Without a cache of frames, while it is filled, and filled; after making sure that the batches agree."""
    words = ["logger=csv", "data=long", "model=small", "llm=tiny", "data.workers=0", "data.batch=1"]
    config = compose("train", [*words, "data.max_tokens=8192", "video.max_frames=32", f"paths.cache={cache}"])
    module = DataModule(config, rank=0, ranks=1)
    module.prepare_data()
    cases, first = [], []
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        for case, what in (("without", "none"), ("cold", "frames"), ("warm", "frames")):
            with frames_kept(what, folder, 20.0):
                batches, seconds, sums = iter(module.stream_loader()), 0.0, []
                for _ in range(rows):
                    begin = time.process_time()
                    batch = next(batches)
                    seconds += time.process_time() - begin
                    sums.append(zlib.crc32(batch.frames_FCHW.numpy()))
            first = first or sums
            assert sums == first, f"{case}: the frames differ"
            size = sum(entry.stat().st_size for entry in Path(folder).rglob("*.frames"))
            cases.append(KeptRow(case, rows, rows / seconds, 1000 * seconds / rows, size / MIB))
    return cases


def threads(cache: Path, *, size: int = 384, repeats: int = 3, clips: Path = CLIPS) -> list[ThreadsRow]:
    """A file of five minutes by one thread, by the codec's own and by parts, after making sure they agree."""
    path = five_minutes(cache / "five_minutes_gop24.mp4", clips)
    pixels, frames = PixelSpec(size, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)), probe(path).frames
    found = []
    for case, wanted_F in {
        "every frame": np.arange(frames),
        "one a second": np.arange(0, frames, 24),
        "32 frames": np.linspace(0, frames - 1, 32).astype(np.int64),
    }.items():
        sums, taken = set(), {}
        for _, (side, count, by_parts) in itertools.product(range(repeats), SIDES):
            with decoded_with(by_parts):
                begin = time.perf_counter()
                stream = decode_stream(path, wanted_F, pixels=pixels, threads=count)
                sums.add(sum(zlib.crc32(frame_CHW.numpy()) for frame_CHW in stream))
                taken[side] = min(taken.get(side, math.inf), time.perf_counter() - begin)
        assert len(sums) == 1, f"{case}: the frames differ"
        found.append(ThreadsRow(f"{case}, {size} px", len(wanted_F), cores_here(), **taken))
    return found


def read_straight(path: Path, wanted_F: np.ndarray, pixels: PixelSpec) -> Tensor:
    """What one writes without vxl: decode from the start, convert and resize what is wanted, then stop."""
    numbers = set(wanted_F.tolist())
    pictures = []
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for index, frame in enumerate(container.decode(stream)):
            if index in numbers:
                frame_1CHW = torch.from_numpy(frame.to_ndarray(format="rgb24", threads=1)).permute(2, 0, 1)[
                    None
                ]
                pictures.append(resize_FCHW(frame_1CHW, pixels)[0])
                if len(pictures) == len(numbers):
                    break
    return torch.stack(pictures)


def five_minutes(path: Path, clips: Path = CLIPS, *, seconds: int = 300, fps: int = 24) -> Path:
    """Makes (once) five minutes with a key frame every 24 frames by looping the clips."""
    if path.is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    looped = itertools.cycle(sorted(clips.glob("*.mp4")))

    def frames() -> Iterator[np.ndarray]:
        for clip in looped:
            with av.open(str(clip)) as container:
                for frame in container.decode(video=0):
                    yield frame.to_ndarray(format="rgb24", width=480, height=270)

    write_video(path, itertools.islice(frames(), seconds * fps), fps, gop=24)
    return path


def main() -> None:
    """Prints the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", default=str(Path(tempfile.gettempdir()) / "vxl-bench"))
    parser.add_argument("--repeats", type=int, default=3)
    arguments = parser.parse_args()
    listing_of("decoding", bench(arguments.cache, repeats=arguments.repeats)).show(Screen())


if __name__ == "__main__":
    main()
