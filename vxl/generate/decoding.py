"""Token after token: through a CUDA graph where nothing but the new tokens changes, else step by step."""

from collections.abc import Callable, Generator
from contextlib import contextmanager

from torch import Tensor

from vxl.kv.policy import Policy
from vxl.llm import replay
from vxl.llm.cache import Cache
from vxl.model import VideoLanguageModel


@contextmanager
def decoding(
    model: VideoLanguageModel, source: Cache, cache: Cache, tokens: int
) -> Generator[Callable[[Tensor], Tensor]]:
    """A function from each row's next token [B] to the scores behind it, logits_BV.

    Args:
        model: The model.
        source: The cache of the context.
        cache: A fork of it, with the question in it.
        tokens: Tokens to decode at most.
    """

    def step(next_B: Tensor) -> Tensor:
        hidden_BTD = model.llm.extend(model.llm.embed(next_B[:, None]), cache)
        model.policy.after_decode(cache)
        return model.llm.logits(hidden_BTD[:, -1])

    still = type(model.policy).after_decode is Policy.after_decode
    if tokens < 2 or not still or not replay.suits(model.llm, cache, tokens):
        yield step
        return
    tails = replay.TAILS.setdefault(source, replay.Tails())
    if not tails.lock.acquire(blocking=False):
        yield step
        return
    try:
        yield replay.tail_for(model.llm, source, cache, tokens)
    finally:
        tails.lock.release()
