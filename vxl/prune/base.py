"""What every pruner is: the visual tokens of one video in, the places that stay and what stands in them.

Letters: G groups · K visual tokens a group · D language-model width · E width of the tower's keys.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from vxl.errors import ConfigError
from vxl.option.option import Option


@dataclass(frozen=True, kw_only=True)
class PruneConfig(Option):
    """Which visual tokens reach the language model, whatever the question."""


@dataclass(frozen=True, kw_only=True)
class KeepConfig(PruneConfig):
    """A fraction of a video's visual tokens stays."""

    keep: float = 0.5
    """Fraction of the visual tokens that stays; 1 keeps all, bit for bit."""
    empty: Literal["keep", "drop"] = "keep"
    """The time text of a group that lost all its visual tokens: keep, or drop it too."""

    def __post_init__(self) -> None:
        if not 0 < self.keep <= 1:
            raise ConfigError(
                f"prune.keep={self.keep} is no fraction.\n  allowed: above 0, up to 1\n"
                "  e.g.  prune.keep=0.25"
            )


@dataclass(frozen=True, eq=False)
class VideoTokens:
    """The visual tokens of one video, or of consecutive groups of it."""

    visual_GKD: Tensor
    """What the compressor gives."""
    attention_GK: Tensor | None = None
    """How much the tower attends to each place, where the pruner asks for it."""
    keys_GKE: Tensor | None = None
    """The tower's keys at each place, where the pruner asks for them."""

    def __len__(self) -> int:
        return len(self.visual_GKD)

    def float(self) -> "VideoTokens":
        """The same in float32 at least: scores of half precision would tie."""
        precise = torch.promote_types(self.visual_GKD.dtype, torch.float32)
        return replace(self, visual_GKD=self.visual_GKD.detach().to(precise))


@dataclass(frozen=True, eq=False)
class Pruned:
    """What stays of consecutive groups."""

    kept_GK: Tensor
    """bool: which places stay."""
    visual_GKD: Tensor
    """What stands in them: the tokens that were given, or means of several."""


Needs = Literal["attention", "keys"]


class Pruner(ABC):
    """Base of the pruners; keeps nothing between videos. Built by `build(config.prune)`."""

    streams: ClassVar[bool] = False
    """Whether consecutive pieces of a video may be pruned as they come; otherwise the whole video is
    needed."""
    needs: ClassVar[frozenset[Needs]] = frozenset()
    """What the tower must tell beside its patches."""

    def __init__(self, config: PruneConfig) -> None:
        self.config = config

    @property
    def drops(self) -> bool:
        """Whether it may drop anything. Otherwise it is never called: `keep=1` changes no bit."""
        return self.keep < 1

    @property
    def keep(self) -> float:
        """Fraction of the visual tokens that stays."""
        return self.config.keep if isinstance(self.config, KeepConfig) else 1.0

    @abstractmethod
    def prune(self, video: VideoTokens) -> Pruned:
        """What stays of a whole video.

        Args:
            video: All its groups. An image is never pruned.
        """

    def begin(self, groups: int) -> "Pruning":
        """The pruning of one video of so many groups, piece by piece."""
        return Pruning(self, groups)

    def count(self, groups: int, tokens: int) -> int | None:
        """How many visual tokens stay of a video of `groups` groups of `tokens`; None where that depends on
        what is seen."""
        return None

    def most_fed(self, groups: int, tokens: int) -> int:
        """How many visual tokens of such a video are fed, as far as it is known before it is seen."""
        fed = self.count(groups, tokens) if self.drops and groups else None
        return groups * tokens if fed is None else fed

    def never_fed(self, groups: int) -> int:
        """How many of a video's first groups are sure to go with their time text."""
        return 0


class Pruning:
    """One video on its way through a pruner that needs all of it: pieces are held until the last has come."""

    def __init__(self, pruner: Pruner, groups: int) -> None:
        self.pruner = pruner
        self.groups = groups
        self.held: list[VideoTokens] = []

    def feed(self, piece: VideoTokens) -> Pruned | None:
        """Takes the next groups; gives what stays of all groups that can be decided, if any can."""
        self.held.append(piece)
        if sum(map(len, self.held)) < self.groups:
            return None
        video = joined_tokens(self.held)
        self.held = []
        return self.pruner.prune(video)


class Streamed(Pruning):
    """One video on its way through a pruner that decides each piece when it comes."""

    def __init__(self, pruner: "StreamingPruner", groups: int) -> None:
        super().__init__(pruner, groups)
        self.streaming = pruner
        self.before: VideoTokens | None = None
        self.done = 0

    def feed(self, piece: VideoTokens) -> Pruned:
        """Takes the next groups and gives what stays of them."""
        result = self.streaming.prune_piece(piece, self.before, self.done, self.groups)
        video = piece if self.before is None else joined_tokens([self.before, piece])
        keep = min(len(video), self.streaming.carries)
        self.before = part(video, len(video) - keep, len(video)) if keep else None
        self.done += len(piece)
        return result


class StreamingPruner(Pruner):
    """Base of pruners that look back over a fixed number of groups at most, and never ahead."""

    streams: ClassVar[bool] = True
    carries: ClassVar[int] = 0
    """Groups before a piece that deciding it needs."""

    @abstractmethod
    def prune_piece(self, piece: VideoTokens, before: VideoTokens | None, done: int, groups: int) -> Pruned:
        """What stays of consecutive groups.

        Args:
            piece: The groups.
            before: Up to `carries` groups before them, unpruned; None for none.
            done: Groups before them in all.
            groups: Groups of the whole video.
        """

    def prune(self, video: VideoTokens) -> Pruned:
        """See `Pruner.prune`."""
        return self.prune_piece(video, None, 0, len(video))

    def begin(self, groups: int) -> Pruning:
        """See `Pruner.begin`."""
        return Streamed(self, groups)


def joined_tokens(pieces: Sequence[VideoTokens]) -> VideoTokens:
    """Consecutive pieces as one."""
    if len(pieces) == 1:
        return pieces[0]
    attention = [piece.attention_GK for piece in pieces if piece.attention_GK is not None]
    keys = [piece.keys_GKE for piece in pieces if piece.keys_GKE is not None]
    return VideoTokens(
        torch.cat([piece.visual_GKD for piece in pieces]),
        torch.cat(attention) if attention else None,
        torch.cat(keys) if keys else None,
    )


def part(video: VideoTokens, start: int, stop: int) -> VideoTokens:
    """Groups [start, stop)."""
    return VideoTokens(
        video.visual_GKD[start:stop],
        None if video.attention_GK is None else video.attention_GK[start:stop],
        None if video.keys_GKE is None else video.keys_GKE[start:stop],
    )


def best(scores: Tensor, count: int) -> Tensor:
    """bool: the `count` highest of the last axis; of equal scores the earlier."""
    order = scores.argsort(dim=-1, descending=True, stable=True)
    mask = torch.zeros_like(scores, dtype=torch.bool)
    return mask.scatter(-1, order[..., :count], True)


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """Cosine of the last axis."""
    return F.cosine_similarity(a, b, dim=-1)


def refuse_with_selector(pruner: Pruner, selects: bool) -> None:
    """Raises where a pruner and a selector would both drop visual tokens.

    Raises:
        ConfigError: Their order would not be defined: a selector compares with the question all that was
            watched.
    """
    if pruner.drops and selects:
        name = pruner.config.module
        raise ConfigError(
            f"prune={name} and a selector both drop visual tokens, in an order that nothing defines.\n"
            f"  type one of  prune={name} selector=none\n               prune=none"
        )


def unchanged(video: VideoTokens) -> Pruned:
    """Everything stays."""
    kept_GK = torch.ones(video.visual_GKD.shape[:2], dtype=torch.bool, device=video.visual_GKD.device)
    return Pruned(kept_GK, video.visual_GKD)
