"""From a conversation to tokens and labels: ChatML, each visual as groups of time text and visual tokens.

Follows arXiv 2506.19225 (Video-XL-2) and, without time text, arXiv 2409.14485 (Video-XL): the visual block
stands in the user's turn, each group of frames is `Time 4.0s:` and its visual tokens, and text before and
after a visual is tokenised on its own. Labels are the assistant's answers and their `<|im_end|>`.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from string import ascii_uppercase
from typing import TYPE_CHECKING

from vxl.compressor.plan import CompressorPlan
from vxl.data.batch.answer import format_question
from vxl.data.batch.encoded import BatchedVisual, Encoded, Shown, fed_length
from vxl.data.sample import PLACEHOLDER, Sample, Turn
from vxl.errors import ConfigError, DataError
from vxl.prune.base import Pruner
from vxl.sequence.layout import Kind
from vxl.sequence.rows import IGNORE
from vxl.video.tiles import TilesConfig

if TYPE_CHECKING:  # late: transformers takes a second
    from transformers import PreTrainedTokenizerFast

PAD, START, END, VISUAL = "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_pad|>"
"""Special tokens, known to the tokenizer by these names."""


@dataclass(frozen=True, kw_only=True)
class PromptConfig:
    """How a conversation is written down for the language model."""

    tokenizer: str | None = None
    """Folder or hub name; null = the language model's own, or a small one trained from the data's texts where
    llm.weights=random."""
    system: str = "You are a helpful assistant."
    """The system turn."""
    time_text: str | None = "Time {seconds:.1f}s:"
    """Text in front of each group of a video, with the time of its first frame; null for none (Video-XL)."""
    images: TilesConfig = field(default_factory=TilesConfig)
    """How images become views."""
    published_image_time: bool = False
    """Write the time text, of second 0, in front of each view of an image too, as Video-XL-Pro did."""
    published_two_newlines: bool = False
    """In training a second newline token after the visuals, as Video-XL-2 was trained (but not evaluated)."""
    published_supervised_special: bool = False
    """Also supervise every <|im_start|>, <|im_end|> and the newline after it, as Video-XL-2 was trained."""
    published_time_rewrite: bool = False
    """Write mm:ss in questions as seconds before inference, as Video-XL-2 was evaluated."""

    def __post_init__(self) -> None:
        """The time text must be a format of `seconds` alone."""
        if self.time_text is None:
            return
        try:
            self.time_text.format(seconds=1.0)
        except (KeyError, IndexError, ValueError, AttributeError) as error:
            raise ConfigError(
                f"time_text={self.time_text!r} can't be filled in: {error}\n"
                "  allowed: text with {seconds}, or null\n  e.g.  prompt.time_text='Time {seconds:.1f}s:'"
            ) from error


class Prompt:
    """Writes conversations for one tokenizer and one compressor.

    Args:
        config: The format.
        tokenizer: Knows the ChatML specials.
        plan: Frames and visual tokens of a group.
        max_tokens: Longest sequence for training, in tokens that are fed; None for no limit.
        pruner: What drops visual tokens before; None = nothing does.
    """

    def __init__(
        self,
        config: PromptConfig,
        tokenizer: "PreTrainedTokenizerFast",
        plan: CompressorPlan,
        max_tokens: int | None = None,
        pruner: Pruner | None = None,
    ) -> None:
        self.config, self.tokenizer, self.plan, self.max_tokens = config, tokenizer, plan, max_tokens
        self.pruner = pruner
        self.pad, self.start, self.end, self.placeholder = special_ids(tokenizer)
        self._make_cache()

    def training(self, sample: Sample, visuals: Sequence[Shown]) -> Encoded:
        """A sample with its answers and labels.

        Args:
            sample: A conversation, or a question with options.
            visuals: Its visuals, in order.

        Raises:
            DataError: It is longer than `max_tokens`, or placeholders and visuals differ in number.
        """
        encoded = self._opened()
        for turn in turns_of(sample):
            if turn.role == "user":
                self._user(encoded, turn.text.split(PLACEHOLDER), visuals, sample, training=True)
            else:
                self._assistant(encoded, turn.text, is_letter=sample.question is not None)
        self._check(encoded, visuals, sample.key)
        if self.max_tokens is not None and self.fed(encoded) > self.max_tokens:
            raise DataError(self._too_long(encoded, sample))
        return encoded

    def fed(self, encoded: Encoded) -> int:
        """Tokens of a conversation that the language model is fed: without those that are pruned, where it is
        known how many these are."""
        return fed_length(encoded, self.pruner, self.plan.tokens_per_group)

    def inference(
        self, turns: Sequence[Turn], visuals: Sequence[Shown], scale: float | None = None
    ) -> Encoded:
        """A conversation up to the assistant's next words. The last turn is the user's.

        Raises:
            DataError: Placeholders and visuals differ in number.
        """
        encoded = self._opened()
        sample = Sample(key="the conversation", scale=scale)
        for turn in turns:
            if turn.role == "user":
                pieces = self._as_asked(turn.text).split(PLACEHOLDER)
                self._user(encoded, pieces, visuals, sample, training=False)
            else:
                self._assistant(encoded, turn.text, is_letter=False)
        encoded.text([self.start, *self._ids("assistant\n")], question=True)
        encoded.labels = [IGNORE] * len(encoded)
        self._check(encoded, visuals, sample.key)
        return encoded

    def head(self, visuals: Sequence[Shown]) -> Encoded:
        """What comes before the question and can be run once for many: system turn, user's header, visuals.

        `head(shown)` and `tail(question)` together are `inference` of an `<image>` a visual and the question.
        """
        encoded = self._opened()
        encoded.text([self.start, *self._ids("user\n")])
        for number, visual in enumerate(visuals):
            if number:
                encoded.text(self._ids("\n"))
            self._show(encoded, visual, scale=None)
        return encoded

    def tail(self, question: str, *, after_visual: bool = True) -> list[int]:
        """Tokens of the question, the end of the user's turn, and the assistant's header."""
        words = self._ids(("\n" if after_visual else "") + self._as_asked(question))
        return [*words, self.end, *self._ids("\n"), self.start, *self._ids("assistant\n")]

    def letters(self, count: int) -> list[int]:
        """Token ids of the first `count` option letters, as they stand at the beginning of an answer."""
        return [self._ids(letter)[0] for letter in ascii_uppercase[:count]]

    def _as_asked(self, text: str) -> str:
        """What a user asks, as the model is asked it."""
        return rewrite_times(text) if self.config.published_time_rewrite else text

    def _opened(self) -> Encoded:
        encoded = Encoded()
        special = self.config.published_supervised_special
        encoded.text([self.start], special)
        encoded.text(self._ids(f"system\n{self.config.system}"))
        self._close(encoded, special)
        return encoded

    def _close(self, encoded: Encoded, supervised: bool, question: bool = False) -> None:
        """The end token (EOS) `<|im_end|>` and its newline."""
        encoded.text([self.end], supervised, question)
        encoded.text(self._ids("\n"), self.config.published_supervised_special, question)

    def _user(
        self, encoded: Encoded, pieces: list[str], visuals: Sequence[Shown], sample: Sample, training: bool
    ) -> None:
        """A user's turn: texts, and a visual between each two of them."""
        special = self.config.published_supervised_special
        encoded.text([self.start], special)
        encoded.text(self._ids("user\n"))
        for number, piece in enumerate(pieces):
            if number:
                if len(encoded.items) >= len(visuals):
                    raise DataError(_mismatch(sample.key, len(pieces) - 1, len(visuals)))
                self._show(encoded, visuals[len(encoded.items)], sample.scale)
            if training and self.config.published_two_newlines and 0 < number == len(pieces) - 1:
                encoded.text(self._ids("\n"), question=True)
            is_last = number == len(pieces) - 1
            encoded.text(self._ids(piece), question=is_last or bool(piece.strip()))
        self._close(encoded, special, question=True)

    def _assistant(self, encoded: Encoded, text: str, *, is_letter: bool) -> None:
        encoded.text([self.start], self.config.published_supervised_special, question=True)
        encoded.text(self._ids("assistant\n"), question=True)
        if is_letter:
            encoded.answer_at = len(encoded)
        encoded.text(self._ids(text), supervised=True)
        self._close(encoded, supervised=True)

    def _show(self, encoded: Encoded, visual: Shown, scale: float | None) -> None:
        """A visual: its groups, each as time text (videos) and placeholders."""
        size = self.plan.frames_per_group
        first = sum(item.groups for item in encoded.items)
        is_video = visual.kind == "video"
        # A view of an image is a group of its own: the view, repeated.
        seconds = visual.seconds[::size] if is_video else visual.seconds
        for number, second in enumerate(seconds):
            time = second if scale is None else second * scale
            has_time = is_video or self.config.published_image_time
            if has_time and self.config.time_text is not None:
                words = self._ids(self.config.time_text.format(seconds=time))
                encoded.visual(words, Kind.TIME, first + number, time)
            placeholders = [self.placeholder] * self.plan.tokens_per_group
            encoded.visual(placeholders, Kind.VISUAL, first + number, time)
        encoded.items.append(BatchedVisual(visual.kind, len(seconds) * size, len(seconds)))

    def _check(self, encoded: Encoded, visuals: Sequence[Shown], key: str) -> None:
        if len(encoded.items) != len(visuals):
            raise DataError(_mismatch(key, len(encoded.items), len(visuals)))
        expected = sum(item.groups for item in encoded.items) * self.plan.tokens_per_group
        got = encoded.tokens.count(self.placeholder)
        if got != expected:
            raise DataError(
                f"sample '{key}': {got} {VISUAL} tokens in the sequence, but {expected} visual tokens.\n"
                f"  take {VISUAL} out of the text"
            )

    def _too_long(self, encoded: Encoded, sample: Sample) -> str:
        visual = sum(kind != Kind.TEXT for kind in encoded.kind)
        answer = sum(label != IGNORE for label in encoded.labels)
        length = self.fed(encoded)
        enough = 1 << (length - 1).bit_length()
        return (
            f"sample '{sample.key}' is {length} tokens long ({visual} of visuals, {answer} to learn), "
            f"but data.max_tokens={self.max_tokens}.\n  type  data.max_tokens={enough}  or shorten it"
        )

    def _make_cache(self) -> None:
        self._cached = lru_cache(maxsize=4096)(self._tokenise)

    def _ids(self, text: str) -> list[int]:
        return list(self._cached(text)) if text else []

    def _tokenise(self, text: str) -> tuple[int, ...]:
        # Specials are written by their ids; in the text of a sample they are only text.
        return tuple(self.tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True))

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in self.__dict__.items() if name != "_cached"}

    def __setstate__(self, state: dict[str, object]) -> None:
        self.__dict__.update(state)
        self._make_cache()


def special_ids(tokenizer: "PreTrainedTokenizerFast") -> tuple[int, int, int, int]:
    """Ids of padding, `<|im_start|>`, `<|im_end|>` and the visual placeholder.

    A tokenizer without `<|vision_pad|>` (SmolLM2's) has its padding stand there: which positions are visual
    the layout says, the placeholder's embedding is never read, and no text is cut into specials.

    Raises:
        ConfigError: The tokenizer lacks one.
    """
    vocabulary = tokenizer.get_vocab()
    missing = [name for name in (PAD, START, END) if name not in vocabulary]
    if missing:
        raise ConfigError(
            f"the tokenizer {tokenizer.name_or_path!r} lacks {', '.join(missing)}.\n"
            "  expected: a tokenizer of the Qwen family or SmolLM2's, or one trained by "
            "vxl.data.batch.tokenizer.train_tokenizer\n"
            "  name another:  prompt.tokenizer=FOLDER   or a hub name, such as "
            "prompt.tokenizer=Qwen/Qwen2.5-7B-Instruct"
        )
    return vocabulary[PAD], vocabulary[START], vocabulary[END], vocabulary.get(VISUAL, vocabulary[PAD])


def turns_of(sample: Sample) -> tuple[Turn, ...]:
    """A sample's turns; a question's are written here."""
    if sample.question is None:
        return sample.turns
    visuals = f"{PLACEHOLDER}\n" * len(sample.visuals)
    text = format_question(sample.question)
    return Turn("user", visuals + text), Turn("assistant", sample.question.answer)


def rewrite_times(text: str) -> str:
    """`01:30` as `90 seconds`; two digits on either side only, as published."""
    return re.sub(r"(\d{2}):(\d{2})", lambda m: f"{int(m[1]) * 60 + int(m[2])} seconds", text)


def _mismatch(key: str, placeholders: int, visuals: int) -> str:
    return (
        f"sample '{key}': {placeholders} {PLACEHOLDER} in the text, but {visuals} visuals.\n"
        f"  write one {PLACEHOLDER} for each visual"
    )
