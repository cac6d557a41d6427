"""Which chunks of a video matter to a question: the contract of `relevance=`.

A policy that keeps some chunks in full and others in short (`kv=bilevel`) asks for the chunks' scores when a
question comes, before the question is read.

Letters: C chunks · S entries of a cache.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from vxl.config.option import Option
from vxl.data.layout import Kind
from vxl.prefill.base import Piece

if TYPE_CHECKING:
    from vxl.llm.cache import Cache
    from vxl.llm.decoder import Decoder
    from vxl.vision.base import VisionEncoder


@dataclass(frozen=True, kw_only=True)
class RelevanceConfig(Option):
    """Which chunks of a video matter to a question."""


@dataclass(frozen=True, eq=False)
class Seen:
    """What a kind of relevance kept of every frame while it was watched."""

    by: str
    """Which kind, and of which weights: no other can read it."""
    frames_GFE: Tensor
    """A vector a frame of each group, counted through all visuals."""

    def bytes(self) -> int:
        """Memory that it holds."""
        return self.frames_GFE.nbytes


@dataclass(frozen=True, eq=False, kw_only=True)
class Question(Piece):
    """Questions on their way into the model, a row each."""

    llm: "Decoder"
    relevance: "Relevance"
    tokens: tuple[tuple[int, ...], ...]
    """Each row's tokens."""
    texts: tuple[str, ...] | None = None
    """Each row's question as it was asked, where the asker said."""
    names: tuple[str, ...] = ()
    """What the watched visuals are called, as far as the watcher said."""
    seen: Seen | None = None
    """What `Relevance.see` kept of the frames."""

    @property
    def tokens_B(self) -> Tensor:
        """How many tokens each row's question has."""
        return torch.tensor([len(tokens) for tokens in self.tokens], device=self.embeds_BTD.device)


@dataclass(frozen=True, eq=False)
class Chunks:
    """Consecutive groups of one visual, `groups` at a time: how a cache's entries fall into chunks."""

    chunk_BS: Tensor
    """Chunk of each entry, int64; -1 at text."""
    visual_BS: Tensor
    """Which entries are visual tokens."""
    group_BS: Tensor
    """Group of each entry, counted through all visuals; -1 at text."""
    valid_BS: Tensor
    """Entries that exist."""
    of_group_G: Tensor
    """Chunk of each group, int64."""
    ends_C: Tensor
    """Chunks that are a visual's first or last, bool."""
    groups: int
    """Groups of a chunk; a visual's last one may have fewer."""

    @property
    def count(self) -> int:
        """C."""
        return len(self.ends_C)


class Relevance(ABC):
    """Scores chunks. `inf` makes sure of a chunk whatever the budget, `-inf` rules it out."""

    def __init__(self, config: RelevanceConfig) -> None:
        self.config = config

    def equip(self, vision: "VisionEncoder") -> None:
        """Called once with the model's vision tower; raises ConfigError where it does not do."""
        return

    def see(self, patches_FPV: Tensor) -> Tensor | None:
        """What to keep of each watched frame for later questions, (F, E); None: nothing.

        Args:
            patches_FPV: The tower's output of whole groups.
        """
        return None

    @property
    def sees(self) -> str:
        """What `see` keeps, in words that tell it from what others keep."""
        return type(self).__name__

    @abstractmethod
    def score(self, question: Question, chunks: Chunks, cache: "Cache") -> Tensor:
        """Scores of every chunk for every row, float [B, C]: the higher, the more it matters.

        Args:
            question: What is asked.
            chunks: The chunks of the cache's entries.
            cache: What was watched; it must not be changed.
        """


def chunks_of(cache: "Cache", groups: int) -> Chunks:
    """Cuts what a cache has into chunks of `groups` groups. Chunks never span two visuals."""
    layouts, device = cache.layouts, cache.next_B.device
    assert sum(layout.shape[1] for layout in layouts) == cache.fed, "what was fed is not known"

    def columns(name: str) -> Tensor:
        parts = [getattr(layout, name).expand(cache.rows, -1) for layout in layouts]
        return torch.cat(parts, dim=1).to(device)

    index_BS, valid_BS = cache.index()[:, 0], cache.valid()[:, 0]
    kind_BS = columns("kind_BT").gather(1, index_BS)
    group_BT, item_BT = columns("group_BT").long(), columns("item_BT").long()
    count = int(group_BT.max()) + 1 if group_BT.numel() else 0
    # Rows show the same visuals, though a selector may have dropped different groups of them.
    item_G = torch.full((count + 1,), -1, device=device)
    item_G = item_G.scatter_reduce(0, (group_BT % (count + 1)).flatten(), item_BT.flatten(), "amax")
    item_G = item_G[:count].cummax(dim=0).values
    first_G = item_G != torch.cat((item_G.new_full((1,), -2), item_G[:-1]))
    number_G = torch.arange(count, device=device)
    start_G = torch.where(first_G, number_G, 0).cummax(dim=0).values
    begins_G = (number_G - start_G) % groups == 0
    of_group_G = begins_G.long().cumsum(0) - 1
    total = int(of_group_G[-1]) + 1 if count else 0
    last_G = torch.cat((first_G[1:], first_G.new_ones(min(1, count))))
    ends_C = torch.zeros(total, dtype=torch.bool, device=device)
    ends_C[of_group_G[first_G | last_G]] = True
    group_BS = group_BT.gather(1, index_BS)
    chunk_BS = torch.where(group_BS < 0, -1, of_group_G[group_BS.clamp(min=0)] if count else -1)
    visual_BS = (kind_BS == Kind.VISUAL) & valid_BS
    return Chunks(chunk_BS, visual_BS, group_BS, valid_BS, of_group_G, ends_C, groups)
