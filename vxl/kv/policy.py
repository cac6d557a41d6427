"""Which keys and values stay: the contract of `kv=`.

A policy is asked around each piece of the prefill, at the question, and at every decoded token. It
changes the cache through `Cache.keep` and `Cache.move`, and keeps nothing of a request itself: what it
must remember goes into `cache.state`, so that one policy serves any number of requests and forks.
"""

from dataclasses import dataclass
from typing import Any

from vxl.llm.cache import Cache
from vxl.llm.decoder import Decoder
from vxl.option.option import Option
from vxl.relevance.base import Question
from vxl.sequence.piece import Piece

SEED = "seed"
"""Where a cache notes its request's seed, for policies that draw."""


@dataclass(frozen=True, kw_only=True)
class PolicyConfig(Option):
    """Which keys and values stay."""


class Policy:
    """Keeps everything; policies override the hooks that they need."""

    summarizes = False
    """Whether visual tokens run in windows with beacons among them (vxl.prefill.summarizing); such a policy
    has the methods of vxl.kv.vst.VST that plan them."""

    def __init__(self, config: PolicyConfig) -> None:
        self.config = config
        self.observe_chunks = 0
        """Of how many tokens at the end of each piece the policy wants the queries (`Cache.observed`)."""
        self.observe_question = 0
        """Of how many tokens at the end of each question."""
        self.observe_answer = 0
        """Of how many tokens of each step of an answer: 1, or none."""

    def equip(self, llm: Decoder) -> None:
        """Called when the language model is made, before its weights are: may give it parameters."""

    def prepare(self, tokenizer: Any) -> None:
        """Called once with the model's tokenizer, where it has one: for policies with words of their own."""

    @property
    def acts_in_prefill(self) -> bool:
        """Whether the policy does something around pieces of the prefill: they are single chunks then."""
        own = type(self)
        return own.before_chunk is not Policy.before_chunk or own.after_chunk is not Policy.after_chunk

    @property
    def acts_in_decoding(self) -> bool:
        """Whether the policy does something at tokens of an answer: they are decoded one by one then."""
        return type(self).after_decode is not Policy.after_decode

    @property
    def keeps_all_watched(self) -> bool:
        """Whether what was watched is in the cache as if there were no policy, until a question comes."""
        return not self.acts_in_prefill and not self.summarizes

    @property
    def stays_near(self) -> bool:
        """Whether no token sees another at a distance that grows with the video."""
        return False

    def before_chunk(self, cache: Cache, piece: Piece) -> Piece:
        """Called before a piece of the prefill goes in; may insert tokens."""
        return piece

    def after_chunk(self, cache: Cache, piece: Piece) -> None:
        """Called when a piece of the prefill is in the cache."""

    def after_watch(self, cache: Cache) -> None:
        """Called once when everything before the question has been fed, after `Prefill.finish`."""

    def before_question(self, cache: Cache, question: Question) -> None:
        """Called once per batch of questions, on their own fork, before their tokens go in."""

    def after_question(self, cache: Cache, question: Question) -> None:
        """Called when the questions' tokens are in the cache."""
        self.after_decode(cache)

    def after_decode(self, cache: Cache) -> None:
        """Called when each token of the answer is in the cache, and in place of `after_question`."""
