"""Which keys and values stay: the contract of `kv=`.

A policy is asked around each piece of the prefill, at the question, and at every decoded token. It
changes the cache through `Cache.keep` and `Cache.move`, and keeps nothing of a request itself: what it
must remember goes into `cache.state`, so that one policy serves any number of requests and forks.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vxl.config.option import Option

if TYPE_CHECKING:
    from vxl.llm.cache import Cache
    from vxl.prefill.base import Piece


@dataclass(frozen=True, kw_only=True)
class PolicyConfig(Option):
    """Which keys and values stay."""


class Policy:
    """Keeps everything; policies override the hooks that they need."""

    def __init__(self, config: PolicyConfig) -> None:
        self.config = config

    @property
    def acts_in_prefill(self) -> bool:
        """Whether the policy does something around pieces of the prefill: they are single chunks then."""
        own = type(self)
        return own.before_chunk is not Policy.before_chunk or own.after_chunk is not Policy.after_chunk

    def before_chunk(self, cache: "Cache", piece: "Piece") -> "Piece":
        """Called before a piece of the prefill goes in; may insert tokens."""
        return piece

    def after_chunk(self, cache: "Cache", piece: "Piece") -> None:
        """Called when a piece of the prefill is in the cache."""

    def before_question(self, cache: "Cache", piece: "Piece") -> None:
        """Called once per question, on the question's own fork, before its tokens go in."""

    def after_decode(self, cache: "Cache") -> None:
        """Called when the question's tokens, and then each token of the answer, are in the cache."""
