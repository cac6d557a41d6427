"""How a long sequence is run through the language model: the contract of `prefill=`.

In training the whole sequence goes through at once (`forward`). At inference it comes in pieces of whole
groups (`feed`), so that memory follows the piece and not the video, and a cache policy acts around each
piece.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from vxl.errors import ConfigError
from vxl.kv.policy import Policy
from vxl.llm.cache import Cache
from vxl.llm.decoder import Decoder
from vxl.option.option import Option
from vxl.sequence.layout import Layout
from vxl.sequence.piece import Piece


@dataclass(frozen=True, kw_only=True)
class PrefillConfig(Option):
    """How a long sequence is run through the language model."""

    groups: int = 16
    """Groups of a piece when a video streams in: more are faster and need more memory. With `kv=full` no
    number depends on it; a policy that drops entries acts after every piece."""

    def __post_init__(self) -> None:
        if self.groups < 1:
            raise ConfigError(
                f"groups={self.groups} is no piece.\n  allowed: 1 or more groups a piece\n  e.g.  groups=16"
            )


class Hidden(NamedTuple):
    """What whole sequences give."""

    hidden_BTD: Tensor
    """The final hidden state of every token (of padding: anything)."""
    numbers: dict[str, float]
    """What was drawn on the way, for the log."""
    tokens: int | None = None
    """Tokens that went through the linear layers, beacons included, padding not; None: the sequences'."""
    pairs: int | None = None
    """Pairs of a token and a key that it sees; None: each token sees its document up to itself."""


class Prefill(ABC):
    """Runs sequences through a language model."""

    lets_policies_look = False
    """Whether a policy may say what tokens see (`Policy.local`): it says so itself otherwise."""

    def __init__(self, config: PrefillConfig) -> None:
        self.config = config

    @property
    def groups(self) -> int:
        """Groups of a piece when a video streams in."""
        return self.config.groups

    @abstractmethod
    def forward(
        self,
        llm: Decoder,
        policy: Policy,
        embeds_BTD: Tensor,
        positions_BT: Tensor,
        layout: Layout,
        draw: int = 0,
        ratios: Sequence[int] = (),
    ) -> Hidden:
        """Runs whole sequences, with gradients, and keeps nothing.

        Args:
            llm: The language model.
            policy: What stays of past tokens; most policies leave training alone.
            embeds_BTD: The spliced sequences, padded on the right.
            positions_BT: Rotary positions, starting at 0 in every document.
            layout: What each token is.
            draw: Place of the first row in the global order, for random choices.
            ratios: That windows of `kv=vst` draw from, in place of its own; empty for those.
        """

    def begin(self, policy: Policy, cache: Cache, tokens: int) -> None:
        """Called before the first piece of `tokens` tokens in all: makes room where all of them will stay as
        they come. What is coded or leaves the device behind each piece needs none."""
        if not policy.acts_in_prefill and not policy.holds_otherwise:
            cache.reserve = tokens

    @abstractmethod
    def feed(self, llm: Decoder, policy: Policy, cache: Cache, piece: Piece) -> Tensor:
        """Runs the next piece of whole groups (or of text) behind what the cache has, and keeps what
        `policy` keeps.

        Returns:
            hidden_BTD of the tokens that went through the model.
        """

    def finish(self, llm: Decoder, policy: Policy, cache: Cache) -> None:
        """Called when everything before the question has been fed: runs what was held back."""
        return
