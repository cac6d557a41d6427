"""Tokenizers: a small one trained from the texts of the data, or one that exists."""

import json
from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, cast

from vxl.atomic import whole_folder
from vxl.data.batch.answer import INSTRUCTION
from vxl.data.batch.prompt import END, PAD, START, VISUAL
from vxl.errors import ConfigError

if TYPE_CHECKING:  # late: transformers takes a second
    from transformers import PreTrainedTokenizerFast


VOCABULARY = 1024

# Qwen2's way of cutting text, in which each digit is a piece of its own.
PIECES = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)

# Part of every conversation, so worth tokens of its own. Repeated, since a pair seen once is not merged.
ALWAYS = ("system\nYou are a helpful assistant.", "user\n", "assistant\n", "Time 0.0s:", INSTRUCTION) * 2


def train_tokenizer(texts: Iterable[str], vocabulary: int = VOCABULARY) -> "PreTrainedTokenizerFast":
    """A byte-level BPE tokenizer with the ChatML specials; the same texts give the same tokenizer.

    Every digit and every option letter in front of an answer is one token.

    Args:
        texts: What to learn merges from.
        vocabulary: Most tokens; fewer if the texts don't hold as many pairs. 260 are always there.
    """
    # late: transformers takes a second
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.normalizer = normalizers.NFC()
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=2,
        special_tokens=[PAD, START, END, VISUAL],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    bpe.train_from_iterator([*texts, *ALWAYS], trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, pad_token=PAD, eos_token=END, extra_special_tokens=[START, VISUAL]
    )


def keep_tokenizer(texts: Iterable[str], cache: Path, vocabulary: int = VOCABULARY) -> Path:
    """The folder of the tokenizer for these texts, trained if it is not in the cache yet.

    Any number of processes may ask at once: each trains the same one, the first to finish puts it there.
    """
    texts = list(texts)
    digest = blake2b(json.dumps([vocabulary, PIECES, ALWAYS, texts]).encode(), digest_size=6).hexdigest()
    folder = cache / f"tokenizer-{digest}"
    if not (folder / "tokenizer.json").exists():
        save_tokenizer(train_tokenizer(texts, vocabulary), folder)
    return folder


def save_tokenizer(tokenizer: "PreTrainedTokenizerFast", folder: Path) -> None:
    """Writes a tokenizer's folder, whole or not at all; one that is there stays."""
    with whole_folder(folder, existing="keep") as part:
        tokenizer.save_pretrained(part)


def load_tokenizer(name: str | Path) -> "PreTrainedTokenizerFast":
    """A tokenizer from a folder, or by its name on the Hugging Face hub (or in its local cache).

    Raises:
        ConfigError: It is not there; says what to type.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast  # late: transformers takes a second

    is_folder = Path(name).is_dir()
    try:
        if (Path(name) / "tokenizer.json").is_file():
            return PreTrainedTokenizerFast.from_pretrained(str(name), trust_remote_code=False)
        return cast(
            PreTrainedTokenizerFast, AutoTokenizer.from_pretrained(str(name), trust_remote_code=False)
        )
    except Exception as error:  # tokenizers raises a bare Exception for a damaged file
        reason = " ".join(str(error).split())[:160]
        if is_folder:
            raise ConfigError(
                f"{name} holds no tokenizer: {reason}\n  expected: a folder with tokenizer_config.json and "
                "tokenizer.json, or vocab.json and merges.txt"
            ) from error
        raise ConfigError(
            f"there is no tokenizer {str(name)!r}: no such folder, and the hub does not give it ({reason}).\n"
            "  type one of\n"
            "    prompt.tokenizer=FOLDER        a folder with tokenizer.json\n"
            f"    prompt.tokenizer=OWNER/NAME    a hub name; offline, after  hf download {name}\n"
            "    llm.weights=random             a small one, trained from the texts of the data"
        ) from error


def tokenizer_in(folder: Path) -> Path | None:
    """Where a run or a folder of weights has its tokenizer; None if it has none."""
    files = ("tokenizer.json", "vocab.json", "tokenizer.model")
    places = (folder / "tokenizer", folder)
    return next((place for place in places if any((place / file).is_file() for file in files)), None)
