"""Which keys and values stay: the contract of `kv=`.

A policy is asked around each piece of the prefill, at the question, and at every decoded token. It
changes the cache through `Cache.keep` and `Cache.move`, and keeps nothing of a request itself: what it
must remember goes into `cache.state`, so that one policy serves any number of requests and forks.
"""

from dataclasses import dataclass
from typing import Any, Literal

from vxl.errors import ConfigError
from vxl.llm.cache import Cache
from vxl.llm.decoder import Decoder
from vxl.option.option import Option, option
from vxl.relevance.base import QuestionPiece
from vxl.sequence.piece import Piece

SEED = "seed"
"""Where a cache notes its request's seed, for policies that draw."""


@dataclass(frozen=True, kw_only=True)
class PolicyConfig(Option):
    """Which keys and values stay, and how what was watched is held."""

    bits: Literal[4, 8] | None = option(None, later=True)
    """What was watched is held in codes, and decoded layer by layer as it is read; a question and its answer
    are held as they are. 8: with a scale for each vector of keys and values. 4: keys channel by channel over
    runs of `residual` entries, values entry by entry (KIVI, arXiv 2402.02750). null: all as it is."""
    residual: int = option(32, later=True)
    """With `bits=4`, entries of a run; the newest `residual` of them, up to twice as many, are held as they
    are."""
    offload: bool = option(False, later=True)
    """Whether what was watched lies in the host's memory, from which a layer's keys and values are fetched
    while the layer before runs."""

    def __post_init__(self) -> None:
        if self.residual < 1:
            raise ConfigError(
                f"residual={self.residual} is no run of entries.\n  allowed: 1 or more\n  e.g.  residual=32"
            )

    @property
    def run_of_codes(self) -> int | None:
        """Entries of a run of codes; None for codes that need none."""
        return self.residual if self.bits == 4 else None


def held_as(config: PolicyConfig) -> tuple[int | None, ...]:
    """What of a policy's settings changes the numbers of a context that is watched whole."""
    return () if config.bits is None else (config.bits, config.run_of_codes)


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

    @property
    def local(self) -> int | None:
        """Tokens that each token sees while a video is watched, its own included, beside the first text,
        which stands at this distance once it has left the window; None = everything."""
        return None

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
    def acts_in_turns(self) -> bool:
        """Whether what it drops of a layer follows from that layer alone, so that several chunks may go
        through the layers in one pass (vxl.llm.turns): `noted` and `act_on` are called in place of
        `after_chunk` then, and `before_chunk` is not."""
        return False

    def noted(self, cache: Cache, piece: Piece) -> None:
        """Called when a chunk is described in the cache, before it goes through any layer."""

    def act_on(self, cache: Cache, layer: int) -> None:
        """Called when a chunk is in a layer: drops entries of this layer."""

    @property
    def acts_in_decoding(self) -> bool:
        """Whether the policy does something at tokens of an answer: they are decoded one by one then."""
        return type(self).after_decode is not Policy.after_decode

    @property
    def keeps_all_watched(self) -> bool:
        """Whether what was watched is in the cache as if there were no policy, until a question comes."""
        return not self.acts_in_prefill and not self.summarizes and self.local is None

    @property
    def stays_near(self) -> bool:
        """Whether no token sees another at a distance that grows with the video."""
        return False

    def before_chunk(self, cache: Cache, piece: Piece) -> Piece:
        """Called before a piece of the prefill goes in; may insert tokens."""
        return piece

    def after_chunk(self, cache: Cache, piece: Piece) -> None:
        """Called when a piece of the prefill is in the cache."""

    @property
    def holds_otherwise(self) -> bool:
        """Whether what was watched is coded, or leaves the device, behind each piece."""
        return self.config.bits is not None or self.config.offload

    def hold(self, cache: Cache) -> None:
        """Holds what was watched as the settings say: first what stays is known, then it is coded, then it
        leaves the device. Called after `after_chunk`."""
        if self.config.bits is not None:
            cache.code(self.config.run_of_codes)
        if self.config.offload:
            cache.offload()

    def after_watch(self, cache: Cache) -> None:
        """Called once when everything before the question has been fed, after `Prefill.finish`."""

    def before_question(self, cache: Cache, question: QuestionPiece) -> None:
        """Called once per batch of questions, on their own fork, before their tokens go in."""

    def after_question(self, cache: Cache, question: QuestionPiece) -> None:
        """Called when the questions' tokens are in the cache."""
        self.after_decode(cache)

    def after_decode(self, cache: Cache) -> None:
        """Called when each token of the answer is in the cache, and in place of `after_question`."""
