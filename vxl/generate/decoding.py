"""Token after token: through a CUDA graph where nothing but the new tokens changes, else step by step."""

from collections.abc import Callable, Generator
from contextlib import contextmanager

from torch import Tensor

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
        embeds_BTD = model.llm.embed(next_B[:, None])
        hidden_BTD = model.llm.extend(embeds_BTD, cache, observe=model.policy.observe_answer)
        model.policy.after_decode(cache)
        return model.llm.logits(hidden_BTD[:, -1])

    if tokens < 2 or model.policy.acts_in_decoding or not replay.can_replay(model.llm, cache, tokens):
        yield step
        return
    if not source.graph_slot.lock.acquire(blocking=False):
        yield step
        return
    try:
        yield replay.tail_for(model.llm, source, cache, tokens)
    finally:
        source.graph_slot.lock.release()
