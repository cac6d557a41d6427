"""Which tokenizer a run uses: its own, its weights', its language model's, or one trained on its data."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from vxl.checkpoint.layouts import is_published, is_vxl
from vxl.data.base import Data
from vxl.data.batch.tokenizer import VOCABULARY, keep_tokenizer, load_tokenizer, tokenizer_in
from vxl.errors import ConfigError
from vxl.weights.fetched import refuse_unfetched

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast


def tokenizer_of(config: Any, data: Data) -> "PreTrainedTokenizerFast":
    """The tokenizer of a run: the one that `prompt.tokenizer` names, else that of the run or weights it
    starts from, else the language model's own, else a small one trained from the data's texts.

    Args:
        config: A TrainConfig; of it: prompt.tokenizer, init_from, weights, llm.weights, paths.
        data: Prepared data.

    Raises:
        ConfigError: It is not there, or the weights it starts from came without one.
    """
    if config.prompt.tokenizer is not None:
        return load_tokenizer(config.prompt.tokenizer)
    for start in (config.init_from, None if config.weights == "random" else config.weights):
        if start is None:
            continue
        for folder in (Path(start).expanduser(), Path(config.paths.runs) / start):
            if (own := tokenizer_in(folder)) is not None:
                return load_tokenizer(own)
            if (is_vxl(folder) or is_published(folder)) and config.llm.weights == "random":
                raise ConfigError(
                    f"{folder} came without a tokenizer.\n"
                    "  type  prompt.tokenizer=FOLDER   or a hub name, such as "
                    "prompt.tokenizer=Qwen/Qwen2.5-7B-Instruct"
                )
    if config.llm.weights != "random":
        refuse_unfetched(config.llm.weights)
        return load_tokenizer(config.llm.weights)
    vocabulary = min(VOCABULARY, config.llm.vocab)
    return load_tokenizer(keep_tokenizer(data.texts(), Path(config.paths.cache), vocabulary))
