"""Visual summarization tokens (Video-XL, arXiv 2409.14485, section 3.2).

The visual tokens of a video go through the language model in windows. Inside a window a beacon follows every
`ratio` visual tokens, and when the window is done only the keys and values of its beacons stay: the next
window, the text and the answer read those. Text and time text stay as they are. How windows run is
`vxl.prefill.summarizing`, the beacons' weights are `vxl.llm.beacon`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from vxl.errors import ConfigError
from vxl.kv.density import intervals
from vxl.kv.policy import Policy, PolicyConfig
from vxl.kv.segments import NOWHERE, Fits, Progress, WindowSegment, merged
from vxl.llm.beacon import PROJECTIONS, Letter
from vxl.llm.cache import Cache
from vxl.llm.decoder import Decoder
from vxl.seeds import generator
from vxl.sequence.layout import Kind

PUBLISHED_SEED = 42
Similarity = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, kw_only=True)
class VSTConfig(PolicyConfig):
    """After every `ratio` visual tokens a learned one; only those stay of a video."""

    _target_: str = "vxl.kv.vst.VST"
    ratio: int = 8
    """Visual tokens for each one that stays (Video-XL: 2, 4, 8, 16, 32); 0 keeps all, without beacons."""
    ratios: list[int] = field(default_factory=list)
    """Ratios to choose from in place of `ratio`, in training and in answering; empty for none. A stage may
    have its own for training alone (stage.ratios)."""
    draw: Literal["window", "sample", "sequence", "adapt"] = "window"
    """How one of `ratios` is chosen: at random for each window, or once a sample; in turn; or the smallest
    with which a video fits the length that the language model was trained for. In training the choice
    depends on the seed and the sample's place in the order, in answering on the seed of the request."""
    groups: int = 10
    """Groups of a window: frames in Video-XL (10 x 144 = 1440 tokens), 4 frames each behind DTS."""
    window: int | None = None
    """Visual tokens of a window, whatever groups they belong to; null for whole `groups`."""
    density: bool = False
    """Let windows end where the picture changes (the paper's dynamic compression): many short ones where much
    happens, long ones where nothing does. Wants to be on in training, too."""
    density_alpha: float = 1.0
    """A window ends where the change exceeds its mean by so many standard deviations (density=true)."""
    density_longest: int = 20
    """Groups of the longest window (density=true)."""
    projections: list[Letter] = field(default_factory=lambda: ["q", "k", "v"])
    """Layers that have weights of their own for beacons: q, k, v, o, mlp."""
    token: int | None = None
    """Token whose embedding the beacon starts from; null for the language model's end token."""
    truncate: int | None = None
    """Windows that gradients go back through, at most; null for all of them."""
    published_partial: bool = False
    """What is left of a window behind its last beacon counts towards the next window's first one and is lost
    at the end of the video, as published. Otherwise a beacon closes every window. On for imported weights."""
    published_draw: bool = False
    """Draw from `ratios` with the generator of the published code, NumPy's with seed 42, begun anew for each
    sample."""

    def __post_init__(self) -> None:
        """Ratios and sizes are possible ones."""
        super().__post_init__()
        wrong = [ratio for ratio in (self.ratio, *self.ratios) if ratio < 0]
        if wrong:
            raise ConfigError(
                f"ratio={wrong[0]} is none.\n  allowed: 1 or more, or 0 to keep all\n  e.g.  ratio=8"
            )
        sizes = {"groups": self.groups, "window": self.window, "density_longest": self.density_longest}
        sizes["truncate"] = self.truncate
        for name, size in sizes.items():
            if size is not None and size < 1:
                raise ConfigError(f"{name}={size} is no number of them.\n  allowed: 1 or more")
        if not self.projections or set(self.projections) - PROJECTIONS.keys():
            raise ConfigError(
                f"projections=[{','.join(self.projections)}] are none of a block.\n"
                f"  choose from: {', '.join(PROJECTIONS)}\n  e.g.  projections=[q,k,v]"
            )
        if self.density and self.window is not None:
            raise ConfigError(
                f"window={self.window} and density=true both say where windows end.\n  type  window=null"
            )


class VST(Policy):
    """Says where windows end, which ratio each has, and where its beacons stand."""

    summarizes = True

    def __init__(self, config: VSTConfig) -> None:
        super().__init__(config)
        self.settings = config
        self.levels: tuple[tuple[int, ...], ...] = ((),)
        """How often a video is watched, and the ratios that windows draw from each time; empty for the
        settings'. The first cache is the context's."""

    def join_levels(self, cache: Cache, others: list[Cache]) -> None:
        """Called when watching ends, with the caches of the other levels, if there are any."""

    def equip(self, llm: Decoder) -> None:
        """Gives the language model its beacons."""
        llm.add_beacons(self.settings.projections, self.settings.token)

    def segments(
        self,
        kind_T: np.ndarray,
        item_T: np.ndarray,
        group_T: np.ndarray,
        progress: Progress,
        *,
        ended: bool,
        seeds: tuple[int, int],
        entries: int,
        most: int,
        similarity: Similarity,
        ratios: Sequence[int] = (),
    ) -> tuple[list[WindowSegment], int, Progress]:
        """Cuts a row's next tokens into segments.

        Args:
            kind_T: What each is, see vxl.sequence.layout.
            item_T: Its video or image; -1 at text.
            group_T: Its group.
            progress: Where the row is.
            ended: Whether nothing of the last video comes any more. Otherwise a window that may go on waits.
            seeds: The model's; and the sample's place in the global order, or the request's seed.
            entries: What the cache holds.
            most: Length that the language model was trained for.
            similarity: From columns to how similar each group among them is to the next one, -1 to 1.
            ratios: To choose from in place of the settings' (in training); empty for those.

        Returns:
            The segments, how many columns they take, and the row's progress behind them.
        """
        segments: list[WindowSegment] = []
        starts = np.flatnonzero(np.diff(item_T, prepend=-2)).tolist()
        for start, stop in zip(starts, [*starts[1:], len(item_T)], strict=True):
            item = int(item_T[start])
            if item < 0:
                segments.append(WindowSegment(start, stop, NOWHERE, np.ones(stop - start, dtype=bool)))
                progress = replace(progress, item=-1, rest=0)
                continue
            if item != progress.item:
                progress = replace(progress, item=item, first=int(group_T[start]), rest=0)
            goes_on = stop == len(item_T) and not ended
            if goes_on and self.needs_whole_videos(ratios):
                return merged(segments), start, progress
            visual_S = kind_T[start:stop] == Kind.VISUAL
            columns = np.arange(start, stop)
            window_S = self.windows(columns, group_T[start:stop], visual_S, progress.first, similarity)
            bounds = [*np.flatnonzero(np.diff(window_S, prepend=-1)).tolist(), stop - start]
            entries_now = entries + sum(segment.kept for segment in segments)
            counts = np.add.reduceat(visual_S.astype(np.int64), bounds[:-1])
            for begin, end, visual in zip(bounds, bounds[1:], counts.tolist(), strict=False):
                if goes_on and end == stop - start and visual != self.settings.window:
                    return merged(segments), start + begin, progress
                ratio = 0
                if visual:
                    fits = Fits(int(counts.sum()), entries_now, int(counts.max()), most)
                    ratio = self.ratio(progress.windows, visual, seeds, fits, ratios)
                visual_columns = columns[begin:end][visual_S[begin:end]]
                after, rest = self.places(visual_columns, ratio, progress.rest)
                stays = ~visual_S[begin:end] if ratio else np.ones(end - begin, dtype=bool)
                segments.append(WindowSegment(start + begin, start + end, after, stays))
                progress = replace(progress, windows=progress.windows + (visual > 0), rest=rest)
        return merged(segments), len(item_T), progress

    def needs_whole_videos(self, ratios: Sequence[int]) -> bool:
        """Whether a video must have come whole before its first window is known; see `segments`."""
        return self.settings.density or (self.settings.draw == "adapt" and len(self.candidates(ratios)) > 1)

    def windows(
        self,
        columns: np.ndarray,
        group_S: np.ndarray,
        visual_S: np.ndarray,
        first: int,
        similarity: Similarity,
    ) -> np.ndarray:
        """Number of the window of each token of a video, ascending."""
        settings = self.settings
        if settings.density:
            _, order_S = np.unique(group_S, return_inverse=True)
            lengths = intervals(similarity(columns), settings.density_alpha, settings.density_longest)
            return np.repeat(np.arange(len(lengths)), lengths)[order_S]
        if settings.window is None:
            return (group_S - first) // settings.groups
        return (np.cumsum(visual_S) - visual_S) // settings.window

    def places(self, visual_columns: np.ndarray, ratio: int, rest: int) -> tuple[np.ndarray, int]:
        """Which of a window's visual tokens a beacon follows, and how many are left over behind the last."""
        if ratio == 0:
            return NOWHERE, rest
        count_N = rest + np.arange(1, len(visual_columns) + 1)
        after = visual_columns[count_N % ratio == 0]
        remainder = int(count_N[-1]) % ratio
        if self.settings.published_partial:
            return after, remainder
        return (np.append(after, visual_columns[-1]) if remainder else after), 0

    def candidates(self, ratios: Sequence[int]) -> tuple[int, ...]:
        """Ratios that a window may have."""
        return tuple(ratios) or tuple(self.settings.ratios) or (self.settings.ratio,)

    def ratio(
        self, window: int, visual: int, seeds: tuple[int, int], fits: Fits, ratios: Sequence[int] = ()
    ) -> int:
        """The ratio of a window.

        Args:
            window: Its number.
            visual: Its visual tokens.
            seeds: See `segments`.
            fits: What its video must fit into (`draw=adapt`).
            ratios: See `segments`.
        """
        ratios, draw = self.candidates(ratios), self.settings.draw
        if len(ratios) == 1:
            return ratios[0]
        if draw == "sequence":
            return ratios[window % len(ratios)]
        if draw == "adapt":
            return next((ratio for ratio in sorted(ratios) if fits(ratio)), max(ratios))
        number = window if draw == "window" else 0
        if self.settings.published_draw:
            fit = [r for r in ratios if 0 < r <= visual and visual % r == 0] or [min(ratios)]
            authors_draws = np.random.default_rng(PUBLISHED_SEED)
            return int([authors_draws.choice(fit) for _ in range(number + 1)][-1])
        fit = [ratio for ratio in ratios if ratio <= visual] or [min(ratios)]
        return fit[int(generator(*seeds[:1], "ratio", seeds[1], number).integers(len(fit)))]
