"""Samples of which only the visuals count."""

import pytest

from tests.data.batch.test_prompt import IMAGE, VIDEO, asked
from tests.data.talking import PLAN, tokenizer, written
from vxl.data.batch.encoded import Shown
from vxl.data.batch.prompt import PromptConfig
from vxl.data.batch.visuals_alone import VisualsAlone
from vxl.data.sample import Question, Sample
from vxl.errors import DataError
from vxl.sequence.layout import Kind


def alone(max_tokens: int | None = None) -> VisualsAlone:
    return VisualsAlone(PromptConfig(published_image_time=True), tokenizer(), PLAN, max_tokens)


def test_only_visual_tokens_are_there_and_all_are_learned() -> None:
    encoded = alone().training(asked("<image>\n<image>What is it?"), [VIDEO, IMAGE])
    assert written(encoded) == "<|im_start|>" + 6 * "<|vision_pad|>"
    assert encoded.kind == [Kind.TEXT, *[Kind.VISUAL] * 6]
    assert encoded.labels == [-100, *encoded.tokens[1:]]
    assert encoded.group == [-1, 0, 0, 1, 1, 2, 2]
    assert [(item.kind, item.frames, item.groups) for item in encoded.items] == [
        ("video", 8, 2),
        ("image", 4, 1),
    ]


def test_what_is_asked_does_not_matter() -> None:
    question = Sample("q", question=Question("What is it?", ("A cat.", "A"), "A"))
    for sample in (question, Sample("silent"), asked("no place for it")):
        encoded = alone().training(sample, [VIDEO])
        assert written(encoded) == "<|im_start|>" + 4 * "<|vision_pad|>"
        assert encoded.answer_at is None
    assert alone().training(asked("only text"), []).labels == [-100]


def test_too_long_a_video_is_refused() -> None:
    assert len(alone(max_tokens=5).training(asked(), [VIDEO])) == 5
    with pytest.raises(DataError, match=r"sample 's' is 7 tokens long \(6 of visuals, 6 to learn\)"):
        alone(max_tokens=6).training(asked(), [Shown("video", tuple(range(12)))])
