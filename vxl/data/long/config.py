"""The settings of `data=long`: how long, how much happens, and how hard it is to see."""

from dataclasses import dataclass, field
from typing import ClassVar, Literal, get_args

from vxl.data.base import DataConfig
from vxl.data.clips.drawn import COLOURS
from vxl.errors import ConfigError
from vxl.option.option import option

Kind = Literal["what", "where", "colour", "first", "count", "next", "when"]
MOST_TIMES = 4
"""Most times that something white appears in a video."""


@dataclass(frozen=True, kw_only=True)
class LongConfig(DataConfig):
    """Long videos with coloured shapes that appear for some seconds, and questions about what, where, which
    colour, what came first, how often, what was next, and when."""

    benchmark: ClassVar[str | None] = "long"
    _target_: str = "vxl.data.long.Long"
    videos: int = 200
    """Videos to train on; each is asked about once for each of `kinds`."""
    held_out_videos: int = 24
    """Videos that are held out."""
    minutes: list[float] = field(default_factory=lambda: [1.0, 4.0])
    """Shortest and longest video; lengths between are drawn evenly by their logarithm."""
    kinds: list[Kind] = field(default_factory=lambda: list(get_args(Kind)))
    """What is asked."""
    together: bool = False
    """Train on one conversation a video, which asks every kind in a random order, instead of one question a
    sample. Held-out questions are asked one by one in either case."""
    rounds: int = 1
    """With `together`: how often a conversation asks each kind, never twice in the same words."""
    windows: int = 0
    """Train on so many more conversations a video, each of which cuts it into windows of one to all of its
    stretches, asks about each and tells what appears in it: short ones teach a projector, long ones to look
    far back."""
    needles: int = 4
    """Coloured shapes that appear, each once, all of other colours and shapes: 2 to 4."""
    distractors: int = 2
    """Grey shapes that appear and are never asked about."""
    needle_seconds: float = 6.0
    """How long each is shown. What falls between two sampled frames is not seen."""
    needle_size: float = 0.5
    """Height of a shape, as a share of the picture's."""
    latest: float = 1.0
    """Nothing is shown that is asked about after this share of the video: 0.25 asks about the far past
    only."""
    folder: str | None = option(None, resumable=True)
    """Folder of videos to take the background from, at least two; null: the embedded clips."""
    drawing_seed: int = 0
    """Seed of everything that is drawn and of which clips are held out. It is not the run's."""

    def __post_init__(self) -> None:
        """Enough room for all that is to happen."""
        super().__post_init__()
        if self.videos < 1 or self.held_out_videos < 1:
            raise ConfigError(
                f"videos={self.videos} held_out_videos={self.held_out_videos}: 1 or more of each are needed."
            )
        if len(self.minutes) != 2 or not 0 < self.minutes[0] <= self.minutes[1]:
            raise ConfigError(
                f"minutes={self.minutes} is no range.\n  expected: shortest and longest\n"
                "  e.g.  minutes=[1,4]"
            )
        if not self.kinds:
            raise ConfigError(
                f"kinds=[] asks nothing.\n  choose from: {', '.join(get_args(Kind))}\n"
                "  e.g.  kinds=[what,when]"
            )
        if self.rounds < 1 or (self.rounds > 1 and not self.together):
            raise ConfigError(
                f"rounds={self.rounds} together={str(self.together).lower()}.\n"
                "  allowed: 1 or more rounds; with more than one, questions stand in one conversation\n"
                "  type  together=true rounds=3"
            )
        if self.windows < 0:
            raise ConfigError(f"windows={self.windows}.\n  allowed: 0 or more\n  type  windows=2")
        if not 2 <= self.needles <= len(COLOURS) or self.distractors < 0:
            raise ConfigError(
                f"needles={self.needles} distractors={self.distractors}.\n"
                f"  allowed: 2 to {len(COLOURS)} needles, each has a colour of its own; 0 or more distractors"
            )
        if not 0 < self.needle_size <= 0.5 or not 0 < self.latest <= 1 or not self.needle_seconds > 0:
            raise ConfigError(
                f"needle_size={self.needle_size} needle_seconds={self.needle_seconds} latest={self.latest}.\n"
                "  allowed: a size above 0 up to 0.5, more than 0 seconds, a share above 0 up to 1"
            )
        most = self.needles + self.distractors + MOST_TIMES
        room = int(60 * self.minutes[0] * self.latest / self.needle_seconds)
        if room < most:
            raise ConfigError(
                f"{most} shapes of {self.needle_seconds:g} s each do not fit into "
                f"{60 * self.minutes[0] * self.latest:g} s, the part of the shortest video that they may be "
                f"in.\n  type  minutes=[{most * self.needle_seconds / 60 / self.latest:.1f},…], "
                "or fewer needles, or shorter ones"
            )
