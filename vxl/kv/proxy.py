"""Entries stay that given words attend to, read behind each piece: a question before there is one."""

from dataclasses import dataclass

from torch import Tensor
from typing_extensions import override

from vxl.errors import ConfigError
from vxl.kv.scored.columns import Columns
from vxl.kv.scored.config import ScoredConfig
from vxl.kv.scored.words import Speaking, Words, attention_of_words, read_words
from vxl.llm.cache import Cache


@dataclass(frozen=True, kw_only=True)
class ProxyConfig(ScoredConfig):
    """The entries stay that given words attend to, all heads of a layer together."""

    _target_: str = "vxl.kv.proxy.Proxy"
    words: Words = "<|im_end|>\n<|im_start|>assistant\n"
    """The words, or their tokens: by default what follows the user's turn in Qwen2's chat template."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.words:
            raise ConfigError(
                'words="" ask nothing.\n  allowed: a text, or tokens\n  e.g.  words="What happens?"'
            )
        if self.at == "question":
            raise ConfigError(
                "at=question does not go with kv=proxy, which stands in for a question.\n"
                "  allowed: at=chunks, at=finish   or  kv=tova kv.at=question, for the question itself"
            )


class Proxy(Speaking):
    """Score: mean over query heads and the words' tokens of their attention; one set for all heads of a
    layer.

    The idea of StreamMem (arXiv 2508.15717), whose code was not found: the words are the tokens of the chat
    template that follow the user's text. Its merging of like frames and its prototype of each frame are not
    part of this. The words are read once for each act, on a fork that is thrown away.
    """

    per_head = False

    def __init__(self, config: ProxyConfig) -> None:
        super().__init__(config)

    @override
    def kept(
        self, cache: Cache, columns: Columns, rooms: list[Tensor], first_asked: int | None
    ) -> list[Tensor]:
        fork = read_words(cache, self.reader, self.tokens_of("proxy", "words"))
        scores = attention_of_words(cache, fork, columns, range(len(rooms)))
        return self.kept_by(scores, cache, columns, rooms, first_asked)
