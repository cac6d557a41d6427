"""The processor of an exported model: from messages, or a text and visuals, to the model's inputs."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from transformers import BatchFeature, ProcessorMixin

from vxl.compressor.base import plan
from vxl.data.batch.prompt import END, START
from vxl.data.sample import PLACEHOLDER
from vxl.export.conversation import Conversations, Message, parts_of, text_of, turn_of
from vxl.export.inputs import Row, to_tensors
from vxl.export.media import KINDS, look
from vxl.export.settings import read_parts
from vxl.parts import ModelParts
from vxl.video.sample import with_sampling

TURN = re.compile(
    rf"{re.escape(START)}(system|user|assistant)\n(.*?)(?:{re.escape(END)}\n?|\Z)", flags=re.DOTALL
)
SAMPLING = {
    "max_frames": ("max_frames", "num_frames", "max_num_frames"),
    "fps": ("fps", "sample_fps"),
    "max_fps": ("max_fps", "max_sample_fps"),
}
"""{what of the sampling: names for it}."""


class VxlProcessor(ProcessorMixin):
    """Writes conversations down for a model, and reads what they show.

    Args:
        tokenizer: The model's.
        chat_template: How messages become text.
        parts: The settings of the model's parts.
    """

    def __init__(
        self, tokenizer: Any = None, chat_template: str | None = None, parts: dict[str, Any] | None = None
    ) -> None:
        super().__init__(tokenizer, chat_template=chat_template or tokenizer.chat_template)
        self.parts = parts

    @cached_property
    def _settings(self) -> ModelParts:
        return read_parts(self.parts)

    @property
    def model_input_names(self) -> list[str]:
        """What a model takes of this processor."""
        return ["input_ids", "attention_mask", "layout", "pixel_values_videos"]

    def __call__(
        self,
        images: Any = None,
        text: Any = None,
        videos: Any = None,
        return_tensors: str | None = "pt",
        padding: Any = None,
        **sampling: Any,
    ) -> BatchFeature:
        """The inputs of a text with what it shows.

        Args:
            images: An image (path, PIL image, array), or a list of them; for several texts a list of lists.
            text: A conversation as the chat template writes it, in which each `<image>` stands for a video or
                an image; or a question alone, in front of which all visuals come. Or a list of these.
            videos: A video (path, bytes, frames), or a list of them; videos count before images.
            return_tensors: "pt".
            padding: Rows are always padded to the longest, on the left.
            **sampling: `max_frames`, `fps`, `max_fps`.
        """
        texts = [text] if isinstance(text, str) else list(text)
        one = isinstance(text, str)
        shown = [
            [{"type": "video", "video": each} for each in _of_row(videos, row, one, len(texts))]
            + [{"type": "image", "image": each} for each in _of_row(images, row, one, len(texts))]
            for row in range(len(texts))
        ]
        chats = [_messages(words, parts) for words, parts in zip(texts, shown, strict=True)]
        return self._inputs(chats, return_tensors, sampling, add_generation_prompt=True)

    def apply_chat_template(  # ty: ignore[incompatible-method-override]  # theirs differs between releases
        self,
        conversation: Any,
        chat_template: str | None = None,
        tokenize: bool = False,
        return_dict: bool = False,
        return_tensors: str | None = "pt",
        add_generation_prompt: bool = False,
        continue_final_message: bool = False,
        processor_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Messages as text, or as the model's inputs.

        Args:
            conversation: Messages, each with a `role` and a `content`: a text, or parts such as
                `{"type": "video", "path": PATH}`, `{"type": "image", "path": PATH}` and
                `{"type": "text", "text": …}`. Or several such lists.
            chat_template: Another template, for text.
            tokenize: Whether inputs are wanted.
            return_dict: Whether all inputs are, and not the tokens alone.
            return_tensors: "pt".
            add_generation_prompt: Whether the assistant's next turn is opened.
            continue_final_message: Whether the last turn, the assistant's, is left open.
            processor_kwargs: `max_frames`, `fps`, `max_fps`.
            **kwargs: The same, or what the template takes.
        """
        if not tokenize:
            return self.tokenizer.apply_chat_template(
                conversation,
                chat_template=chat_template or self.chat_template,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                continue_final_message=continue_final_message,
            )
        several = not isinstance(conversation[0], Mapping)
        chats = conversation if several else [conversation]
        inputs = self._inputs(
            chats,
            return_tensors,
            {**kwargs, **(processor_kwargs or {})},
            add_generation_prompt=add_generation_prompt,
            continue_final_message=continue_final_message,
        )
        return inputs if return_dict else inputs["input_ids"]

    def _inputs(
        self,
        chats: Sequence[Sequence[Message]],
        return_tensors: str | None,
        sampling: Mapping[str, Any],
        **ends: bool,
    ) -> BatchFeature:
        if return_tensors not in (None, "pt"):
            raise ValueError(f"return_tensors={return_tensors!r}: the inputs are PyTorch's, 'pt'")
        numbers = {
            key: next((sampling[name] for name in names if sampling.get(name) is not None), None)
            for key, names in SAMPLING.items()
        }
        rows = [self._row(chat, numbers, **ends) for chat in chats]
        return BatchFeature(to_tensors(rows, self._writer(None).pad))

    def _writer(self, system: str | None) -> Conversations:
        settings = self._settings
        written = settings.prompt if system is None else replace(settings.prompt, system=system)
        return Conversations(written, self.tokenizer, plan(settings.compressor, settings.vision.grid))

    def _row(
        self,
        chat: Sequence[Message],
        numbers: Mapping[str, Any],
        *,
        add_generation_prompt: bool = False,
        continue_final_message: bool = False,
    ) -> Row:
        """One conversation, tokenised, with its frames."""
        settings = self._settings
        has_system = chat[0]["role"] == "system"
        writer = self._writer(text_of(chat[0]) if has_system else None)
        video = with_sampling(settings.video, **numbers)
        seen = [
            look(part, settings, video, writer.plan.frames_per_group)
            for message in chat
            for part in parts_of(message)
            if part["type"] in KINDS
        ]
        encoded = writer.written(
            [turn_of(message) for message in chat[has_system:]],
            [shown for shown, _ in seen],
            opens=add_generation_prompt,
            goes_on=continue_final_message,
        )
        return Row(encoded, tuple(frames_FCHW for _, frames_FCHW in seen))


def _of_row(given: Any, row: int, one: bool, rows: int) -> list[Any]:
    """The visuals of one text.

    Raises:
        ValueError: There are several texts, and not a list for each.
    """
    if given is None:
        return []
    if one:
        return list(given) if isinstance(given, list | tuple) else [given]
    if not isinstance(given, list | tuple) or len(given) != rows:
        raise ValueError(f"{rows} texts: expected a list of {rows}, with the visuals of each")
    mine = given[row]
    if mine is None:
        return []
    return list(mine) if isinstance(mine, list | tuple) else [mine]


def _messages(text: str, shown: list[dict[str, Any]]) -> list[Message]:
    """The messages of a text: of the chat template's, or of a question alone.

    Raises:
        ValueError: It has more placeholders than there are visuals, or fewer.
    """
    found = TURN.findall(text)
    if not found:
        return [{"role": "user", "content": [*shown, {"type": "text", "text": text}]}]
    messages: list[Message] = []
    waiting = list(shown)
    for role, words in found:
        texts = words.split(PLACEHOLDER) if role == "user" else [words]
        own, waiting = waiting[: len(texts) - 1], waiting[len(texts) - 1 :]
        content = [*own, {"type": "text", "text": words}]
        messages.append({"role": role, "content": content, "texts": texts})
    marks = sum(text_of(message).count(PLACEHOLDER) for message in messages if message["role"] == "user")
    if marks != len(shown):
        raise ValueError(f"the text has {marks} {PLACEHOLDER}, but {len(shown)} visuals came")
    if messages[-1]["role"] == "assistant" and not text_of(messages[-1]):
        messages.pop()  # the header of the turn that is to come
    return messages
