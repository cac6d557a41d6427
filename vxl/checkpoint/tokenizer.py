"""Which tokenizer a run uses: its own, its weights', its language model's, or one trained on its data."""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vxl.checkpoint.layouts import is_published, is_vxl
from vxl.data.batch.prompt import PromptConfig
from vxl.data.batch.tokenizer import VOCABULARY, keep_tokenizer, load_tokenizer, tokenizer_in
from vxl.errors import ConfigError
from vxl.llm.decoder import DecoderConfig
from vxl.run.config import PathsConfig
from vxl.weights.fetched import refuse_unfetched

if TYPE_CHECKING:  # late: transformers takes a second
    from transformers import PreTrainedTokenizerFast


def tokenizer_of(
    prompt: PromptConfig,
    llm: DecoderConfig,
    starts: Sequence[str | None],
    paths: PathsConfig,
    texts: Callable[[], Iterable[str]],
) -> "PreTrainedTokenizerFast":
    """The tokenizer of a run: the one that `prompt.tokenizer` names, else that of the run or weights it
    starts from, else the language model's own, else a small one trained from the data's texts.

    Args:
        prompt: May name a tokenizer.
        llm: Whose own tokenizer it is otherwise, where it is pretrained.
        starts: What the run starts from, in order: `init_from` and `weights`; `random` and None are nothing.
        paths: Where runs lie, and where a tokenizer is kept that is trained.
        texts: Gives the data's texts, called only if one is trained.

    Raises:
        ConfigError: It is not there, or the weights it starts from came without one.
    """
    if prompt.tokenizer is not None:
        return load_tokenizer(prompt.tokenizer)
    for start in starts:
        if start in (None, "random"):
            continue
        for folder in (Path(start).expanduser(), Path(paths.runs) / start):
            if (own := tokenizer_in(folder)) is not None:
                return load_tokenizer(own)
            if (is_vxl(folder) or is_published(folder)) and llm.weights == "random":
                raise ConfigError(
                    f"{folder} came without a tokenizer.\n"
                    "  type  prompt.tokenizer=FOLDER   or a hub name, such as "
                    "prompt.tokenizer=Qwen/Qwen2.5-7B-Instruct"
                )
    if llm.weights != "random":
        refuse_unfetched(llm.weights)
        return load_tokenizer(llm.weights)
    vocabulary = min(VOCABULARY, llm.vocab)
    return load_tokenizer(keep_tokenizer(texts(), Path(paths.cache), vocabulary))
