"""A model with its tokenizer and config: it watches videos and images and answers questions about them."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from string import ascii_uppercase
from typing import TYPE_CHECKING, Any, Literal

import torch

from vxl.compressor.base import plan
from vxl.data.batch.answer import format_question
from vxl.data.batch.encoded import Encoded, Shown
from vxl.data.batch.letter import parse_letter
from vxl.data.batch.prompt import Prompt
from vxl.data.sample import Question
from vxl.errors import ConfigError
from vxl.generate import Answer, Context, Sampling, ask_all, watch
from vxl.llm.cache import Cache
from vxl.model import VideoLanguageModel
from vxl.option.build import build
from vxl.parts import ModelParts
from vxl.video.endings import media_kind
from vxl.video.load import load_image, stream_video
from vxl.video.sample import VideoConfig
from vxl.video.tiles import cut_into_views
from vxl.video.virtual import Virtual, stream_virtual

if TYPE_CHECKING:  # late: transformers takes a second
    from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True)
class Clip:
    """A video (or the part of it between two times) or an image to be watched."""

    media: Any
    """Path, bytes, an open binary file, or a video made of parts (vxl.video.virtual)."""
    kind: Literal["video", "image"] = "video"
    start: float | None = None
    """Seconds at which the part begins; None for the file's start."""
    end: float | None = None
    """Seconds at which it ends; None for the file's end."""
    name: str | None = None
    """What to call it in messages, and what lists of selected chunks call it."""

    @property
    def title(self) -> str:
        """What it is called: its name, or its file's name without the folder."""
        title = self.name or (self.media if isinstance(self.media, str | Path) else "")
        return Path(str(title)).name


@dataclass(frozen=True, repr=False)
class LoadedModel:
    """A model that is ready to watch and answer."""

    model: VideoLanguageModel
    own_tokenizer: "PreTrainedTokenizerFast | None"
    """None where weights came without one."""
    config: ModelParts
    """Its parts' settings, overrides included."""
    values: dict[str, Any] = field(repr=False)
    """The whole resolved config as plain values; for a run also its data, stage, trainer, ..."""
    checkpoint: Path | None = None
    """The folder that the weights came from; None for random weights."""

    def __post_init__(self) -> None:
        if self.own_tokenizer is not None:
            self.model.policy.prepare(self.own_tokenizer)

    @property
    def tokenizer(self) -> "PreTrainedTokenizerFast":
        """The model's tokenizer.

        Raises:
            ConfigError: The weights came without one.
        """
        if self.own_tokenizer is None:
            raise ConfigError(
                f"{self.checkpoint} came without a tokenizer.\n"
                "  type  prompt.tokenizer=FOLDER   or a hub name, such as "
                "prompt.tokenizer=Qwen/Qwen2.5-7B-Instruct"
            )
        return self.own_tokenizer

    @cached_property
    def prompt(self) -> Prompt:
        """How questions are written down for this model."""
        return Prompt(
            self.config.prompt, self.tokenizer, plan(self.config.compressor, self.config.vision.grid)
        )

    @property
    def most(self) -> int | None:
        """How long a sequence may get: as long as the language model was trained for, by whoever made its
        weights or by the run; None for any length (`llm.extrapolate=true`)."""
        if self.config.llm.extrapolate:
            return None
        longest = 0 if self.checkpoint is None else (self.values.get("data") or {}).get("max_tokens", 0)
        return max(self.model.llm.max_positions, longest)

    def __repr__(self) -> str:
        """A line: a notebook's cell that ends in a model must not print its layers."""
        place = self.checkpoint or "random weights"
        return f"LoadedModel({self.config.model}, {place}, on {self.model.device})"

    def use_threads_of_training(self) -> None:
        """Computes with as many CPU threads as the run did: numbers depend on it, and so does the time."""
        threads = (self.values.get("trainer") or {}).get("threads")
        if threads is not None:
            torch.set_num_threads(threads)

    def sampling(self, video: VideoConfig) -> "LoadedModel":
        """The same model, which looks at other frames of a video."""
        return self if video == self.config.video else replace(self, config=replace(self.config, video=video))

    def watch(
        self,
        *looks: "Clip | str | Path",
        on_piece: Callable[[int, int], None] | None = None,
        through: "Callable[[int, Iterable[torch.Tensor]], Iterable[torch.Tensor]] | None" = None,
        head: Callable[[Sequence[Shown]], Encoded] | None = None,
        into: Callable[[Cache], object] | None = None,
    ) -> Context:
        """Watches videos and images once; any number of questions can then be asked about them.

        Args:
            looks: What to watch, in order: paths, or `Clip`s for parts of videos, images and bytes.
            on_piece: Called with the groups done and the groups of all of it.
            through: What every video's frames pass on their way, with their number: a place to look at them.
            head: Writes down what comes up to the last of them; None = they open the user's turn.
            into: Called with the cache that will be filled, for who wants to look at it meanwhile.

        Raises:
            DataError: Something can't be read, or all of it is longer than `most`.
        """
        clips = [_look(look) for look in looks]
        visuals = [self._open(look) for look in clips]
        prompt = (head or self.prompt.head)([visual for visual, _ in visuals])
        frames = [
            frames if through is None or visual.kind == "image" else through(len(visual.seconds), frames)
            for visual, frames in visuals
        ]
        names = [look.title for look in clips]
        return watch(self.model, prompt, frames, names=names, on_piece=on_piece, most=self.most, into=into)

    def ask(
        self,
        about: "Context | Clip | str | Path",
        question: str,
        *,
        options: Sequence[str] = (),
        **settings: Any,
    ) -> Answer:
        """Answers one question.

        Args:
            about: What was watched; or a video or image to be watched for this question alone.
            question: Of any length.
            options: Texts of options, which get letters; then `Answer.option` is the one that was named.
            settings: Those of `ask_all`.

        Raises:
            ConfigError: `about` is none of these, the question is no text, or there are fewer than two
                options or more than letters.
        """
        if not isinstance(about, Context | Clip | str | Path):
            raise ConfigError(
                f"ask(about={about!r}) names nothing to ask about.\n"
                "  expected: a path, vxl.Clip(PATH, start=…, end=…), or what watch(PATH) returned"
            )
        if not isinstance(question, str) or not question.strip():
            raise ConfigError(f"ask(…, question={question!r}) asks nothing.\n  expected: a text")
        context = about if isinstance(about, Context) else self.watch(about)
        if not options:
            return self.ask_all(context, [question], **settings)[0]
        if isinstance(options, str):  # as `vxl ask` takes them; a string is a sequence of letters, too
            options = options.split("|")
        if not 2 <= len(options) <= len(ascii_uppercase):
            raise ConfigError(f"options={list(options)} holds {len(options)}.\n  expected: 2 to 26 texts")
        text = format_question(Question(question, tuple(options), "A"))
        answer = self.ask_all(context, [text], **settings)[0]
        letter = parse_letter(answer.text, options)
        return replace(answer, option=None if letter is None else options[ascii_uppercase.index(letter)])

    def ask_all(
        self,
        context: Context,
        questions: Sequence[str],
        *,
        max_new_tokens: int = 32,
        stop_text: Collection[str] = (),
        sampling: Sampling | None = None,
        on_token: Callable[[int, int], None] | None = None,
        on_text: Callable[[int, str], None] | None = None,
    ) -> list[Answer]:
        """Answers questions about what was watched, all at once; the context stays as it is.

        Args:
            context: From `watch`.
            questions: Of any lengths.
            max_new_tokens: Longest answer.
            stop_text: Strings that end an answer, beside the model's own end.
            sampling: How tokens are chosen; None = the most likely.
            on_token: Called with row and token as soon as a token is known.
            on_text: Called with row and the next piece of its text, as soon as it is certain.

        Raises:
            ConfigError: The questions are a single text, whose letters would be asked.
            DataError: A question is longer than what was watched leaves of `most`.
        """
        if isinstance(questions, str):
            raise ConfigError(
                f"ask_all(…, questions={questions!r}) asks one question.\n"
                "  expected: a list of texts; one alone:  ask(ABOUT, QUESTION)"
            )
        prompt = self.prompt
        return ask_all(
            context,
            [prompt.tail(question, after_visual=context.frames > 0) for question in questions],
            max_new_tokens=max_new_tokens,
            stop=(prompt.end, prompt.pad),
            stop_text=stop_text,
            sampling=sampling,
            tokenizer=self.tokenizer,
            texts=questions,
            on_token=on_token,
            on_text=on_text,
        )

    def _open(self, look: Clip) -> tuple[Shown, Iterable[torch.Tensor]]:
        """When the frames are, and the frames, read when they are needed."""
        pixels = self.config.vision.pixels
        if look.kind == "image":
            image_CHW = load_image(look.media, None, name=look.name)
            views_FCHW = cut_into_views(image_CHW, pixels, self.config.prompt.images)
            return Shown("image", (0.0,) * len(views_FCHW)), [views_FCHW]
        piece = self.prompt.plan.frames_per_group * self.config.prefill.groups
        if isinstance(look.media, Virtual):
            frames = stream_virtual(
                look.media, build(self.config.video), pixels, piece=piece, start=look.start, end=look.end
            )
            return Shown("video", tuple(frames.seconds)), frames.pieces
        stream = stream_video(
            look.media,
            build(self.config.video),
            pixels,
            piece=piece,
            start=look.start,
            end=look.end,
            name=look.name,
        )
        return Shown("video", tuple(stream.seconds)), stream.pieces


def _look(look: "Clip | str | Path") -> Clip:
    if isinstance(look, Clip):
        return look
    if not isinstance(look, str | Path):
        raise ConfigError(
            f"watch({look!r}) names nothing to watch.\n"
            "  expected: paths, or vxl.Clip(PATH, start=…, end=…), one after the other"
        )
    return Clip(str(look), "image" if media_kind(str(look)) == "image" else "video")
