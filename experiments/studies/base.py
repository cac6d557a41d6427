"""The sizes that every study has: what is typed before a member's own words, and where its results go."""

from dataclasses import dataclass
from pathlib import Path

DRAWN = Path(__file__).parent / "drawn"
"""A folder of real clips that has none, so that `data=clips` holds drawn ones alone."""


@dataclass(frozen=True)
class Base:
    """A size of all studies."""

    name: str
    """Of the option, and of the folder of its runs."""
    said: str
    """What results of it are labelled with."""
    words: str
    """Of every train.py."""
    frames: int
    """That a video is seen in."""
    tokens: int
    """Visual tokens of a video without compression."""
    aligned: str | None = None
    """What is typed behind `words` for the one run from which all others start, uncompressed; None: there is
    none, and each starts from the weights that `words` name."""
    benchmark: str = "long"
    """What is asked."""
    files: tuple[str, str] | None = None
    """Names of the results and of the figure beside the script; None: they stay with the runs."""
    whole: bool = True
    """Whether settings of one seed, which fill in the picture, are among the members."""
    forked: bool = True
    """Whether commands are forked from one process that has imported what they need: on a CPU that takes them
    longer than the rest. On GPUs each is a process of its own."""


SMALL = Base(
    "small",
    "`model=small` on GPUs",
    "model=small vision.size=112 llm.attention=varlen trainer.precision=bf16-mixed "
    "data=long data.together=true data.rounds=3 data.windows=2 data.minutes=[1.07,1.07] "
    "data.needle_seconds=4 data.cache=frames data.max_tokens=4096 "
    "video.fps=0.25 video.max_fps=null video.max_frames=16 "
    "data.videos=8000 data.held_out_videos=60 data.batch=16 data.workers=2 data.held_out=42 logger=csv "
    "stage.train=[compressor,projector,llm] stage.lr=1e-3 stage.part_lr.llm=5e-4 "
    "trainer.max_steps=200 trainer.val_every=200 checkpoint.every=200 checkpoint.keep_last=1",
    frames=16,
    tokens=1024,
    aligned="compressor=none data.batch=24 trainer.max_steps=900 stage.part_lr.llm=7e-4",
    files=("results.json", "figure.png"),
    forked=False,
)
"""A minute of which a frame every four seconds is seen: each shape in one of 16."""
CPU = Base(
    "cpu",
    "`model=tiny` on a CPU, drawn clips of four frames",
    f"model=tiny data=clips data.folder={DRAWN.relative_to(DRAWN.parents[2])} data.drawn=200 "
    "data.cache=frames data.batch=8 data.workers=0 logger=csv video.max_frames=4 optim.lr=1e-3 "
    "trainer.max_steps=300 trainer.val_every=300 checkpoint.every=100 checkpoint.keep_last=1",
    frames=4,
    tokens=64,
    benchmark="clips",
    files=("cpu.json", "cpu.png"),
    whole=False,
)
"""Drawn clips of one or two seconds, four frames of each: colour, number, direction, and first colour."""
TINY = Base(
    "tiny",
    "the miniature, whose numbers mean nothing",
    "model=tiny data=long data.together=true data.rounds=2 data.windows=1 data.minutes=[1,1] data.videos=4 "
    "data.held_out_videos=2 data.batch=2 data.workers=0 data.held_out=4 data.cache=frames "
    "video.fps=0.25 video.max_fps=null video.max_frames=8 logger=csv "
    "trainer.max_steps=2 trainer.val_every=2 checkpoint.every=1",
    frames=8,
    tokens=128,
    aligned="compressor=none",
    whole=False,
)
BASES = {base.name: base for base in (SMALL, CPU, TINY)}
