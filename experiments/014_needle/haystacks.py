"""Videos to learn to find needles from: haystacks of 4 and 8 seconds, as data=json reads them.

    python experiments/014_needle/haystacks.py FOLDER [VIDEOS]

One frame a second of the embedded clips, among which a drawn shape stands for four seconds, a group of the
compressor's; its colour is asked for. The shapes and the order of the clips are others than those of
benchmark=needle, the four clips are the same.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from vxl.data.clips.drawn import draw_clips
from vxl.evaluate.benchmarks.haystack import Haystack, Needle, clip_files
from vxl.seeds import generator
from vxl.video.encode import write_video
from vxl.video.transform import PixelSpec

SECONDS = (4, 8)
GROUP = 4
"""Frames of a needle, and of a group that the compressor makes one of."""
PIXELS = PixelSpec(112, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), resize="squash")
"""Frames as the tower will be given them."""


def haystacks(videos: int) -> Iterator[tuple[np.ndarray, dict]]:
    """(uint8 frames_FHWC, question) of each video."""
    for number, drawn in enumerate(draw_clips("colour", videos, 1, "needles to learn from")):
        seconds = SECONDS[number // 4 % len(SECONDS)]
        depth = GROUP * int(generator(1, "depth", number).integers(seconds // GROUP)) / seconds
        hay = Haystack(clip_files(), seconds, (Needle(drawn.frames_FHWC, depth),), GROUP, seed=1000 + number)
        shown = hay.among(range(seconds))
        frames_FCHW = np.stack([shown.frame(index, PIXELS).numpy() for index in range(seconds)])
        asked = drawn.question
        yield (
            frames_FCHW.transpose(0, 2, 3, 1),
            {"question": asked.question, "options": list(asked.options), "answer": asked.answer},
        )


def main(folder: Path, videos: int) -> None:
    """Writes the videos and needles.json."""
    folder.mkdir(parents=True, exist_ok=True)
    items = []
    for number, (frames_FHWC, question) in enumerate(haystacks(videos)):
        name = f"{number:04}.mp4"
        write_video(folder / name, list(frames_FHWC), 1, crf=18)
        items.append({"id": name, "video": name, "questions": [question]})
    (folder / "needles.json").write_text(json.dumps(items, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1600)
