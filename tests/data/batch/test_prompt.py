"""Conversations as tokens and labels, against the published format."""

import pickle

import pytest

from tests.data.talking import PLAN, learned, prompt, tokenizer, written
from vxl.compressor.plan import CompressorPlan
from vxl.data.batch.encoded import Shown
from vxl.data.batch.prompt import Prompt, PromptConfig, rewrite_times, special_ids
from vxl.data.sample import Question, Sample, Turn
from vxl.errors import ConfigError, DataError
from vxl.prune.dtd import DTD, DTDConfig
from vxl.prune.evs import EVS, EVSConfig
from vxl.prune.recent import Recent, RecentConfig
from vxl.sequence.layout import Kind

VIDEO = Shown("video", (0.0, 0.5, 1.0, 1.5, 2.0))  # two groups, the second one has one frame
IMAGE = Shown("image")
SYSTEM = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"


def asked(text: str = "<image>\nWhat is it?", answer: str = "A cat.", **more) -> Sample:
    return Sample("s", (Turn("user", text), Turn("assistant", answer)), **more)


def test_the_whole_of_a_video_sample():
    encoded = prompt().training(asked(), [VIDEO])
    block = "Time 0.0s:<|vision_pad|><|vision_pad|>Time 2.0s:<|vision_pad|><|vision_pad|>"
    assert written(encoded) == (
        f"{SYSTEM}<|im_start|>user\n{block}\nWhat is it?<|im_end|>\n<|im_start|>assistant\nA cat.<|im_end|>\n"
    )


def test_only_answers_and_their_end_are_learned():
    assert learned(prompt().training(asked(), [VIDEO])) == ["A", " cat", ".", "<|im_end|>"]


def test_every_turn_of_the_assistants_is_learned():
    turns = (
        Turn("user", "What is it?"),
        Turn("assistant", "A cat."),
        Turn("user", "What?"),
        Turn("assistant", "A"),
    )
    encoded = prompt().training(Sample("s", turns), [])
    assert learned(encoded) == ["A", " cat", ".", "<|im_end|>", "A", "<|im_end|>"]


def test_labels_are_the_tokens_themselves():
    encoded = prompt().training(asked(), [VIDEO])
    assert all(label in (-100, token) for token, label in zip(encoded.tokens, encoded.labels, strict=True))


def test_groups_items_and_times_of_two_videos_and_an_image():
    sample = asked("<image> <image>\n<image>What is it?")
    encoded = prompt().training(sample, [VIDEO, IMAGE, Shown("video", (0.0,))])
    visual = [n for n, kind in enumerate(encoded.kind) if kind == Kind.VISUAL]
    assert [encoded.group[n] for n in visual] == [0, 0, 1, 1, 2, 2, 3, 3]
    assert [encoded.item[n] for n in visual] == [0, 0, 0, 0, 1, 1, 2, 2]
    assert [encoded.seconds[n] for n in visual] == [0, 0, 2, 2, 0, 0, 0, 0]
    assert [(item.kind, item.frames, item.groups) for item in encoded.items] == [
        ("video", 8, 2),
        ("image", 4, 1),
        ("video", 4, 1),
    ]


def test_time_text_belongs_to_its_group_and_images_have_none():
    encoded = prompt().training(asked("<image><image>What is it?"), [IMAGE, VIDEO])
    times = [encoded.group[n] for n, kind in enumerate(encoded.kind) if kind == Kind.TIME]
    assert set(times) == {1, 2}
    assert written(encoded).count("Time") == 2


def test_views_of_an_image_are_groups_with_time_text_only_as_published():
    views = Shown("image", (0.0,) * 3)
    encoded = prompt().training(asked(), [views])
    assert encoded.kind.count(Kind.VISUAL) == 3 * PLAN.tokens_per_group
    assert Kind.TIME not in encoded.kind
    exact = prompt(published_image_time=True, time_text="Time {seconds:06.1f}s:")
    assert written(exact.training(asked(), [views])).count("Time 0000.0s:<|vision_pad|>") == 3


def test_text_alone():
    encoded = prompt().training(asked("What is it?"), [])
    assert encoded.items == []
    assert set(encoded.kind) == {Kind.TEXT}
    assert set(encoded.group) == {-1}


def test_video_xl_has_no_time_text():
    encoded = prompt(time_text=None).training(asked(), [VIDEO])
    assert "user\n<|vision_pad|><|vision_pad|><|vision_pad|><|vision_pad|>\nWhat" in written(encoded)


@pytest.mark.parametrize(("seconds", "text"), [(9.96, "Time 10.0s:"), (123.7, "Time 123.7s:")])
def test_times_have_one_decimal(seconds, text):
    assert text in written(prompt().training(asked(), [Shown("video", (seconds,))]))


def test_the_scale_of_synthetic_grounding_data_multiplies_times():
    encoded = prompt().training(asked(scale=2.0), [VIDEO])
    assert "Time 4.0s:" in written(encoded)
    assert max(encoded.seconds) == 4.0


def test_a_question_is_answered_by_its_letter():
    question = Question("What is it?", ("A cat.", "it"), "B")
    encoded = prompt().training(Sample("q", question=question), [])
    assert encoded.answer_at is not None
    assert written([encoded.tokens[encoded.answer_at]]) == "B"
    assert learned(encoded) == ["B", "<|im_end|>"]
    assert "What is it?\nA. A cat.\nB. it\nAnswer with" in written(encoded)


def test_letters_are_one_token_each_where_an_answer_begins():
    letters = prompt().letters(5)
    assert [written([token]) for token in letters] == list("ABCDE")


def test_published_supervision_and_newlines():
    """The label pattern of spec section 4.5, one entry standing for the whole visual block."""
    exact = prompt(published_two_newlines=True, published_supervised_special=True)
    encoded = exact.training(asked(), [Shown("video", (0.0,))])
    first = encoded.kind.index(Kind.TIME)
    last = len(encoded.kind) - encoded.kind[::-1].index(Kind.VISUAL)
    labels = [*encoded.labels[:first], -100, *encoded.labels[last:]]
    text = ["" if label == -100 else tokenizer().decode([label]) for label in labels]
    s, e, n = "<|im_start|>", "<|im_end|>", "\n"
    assert text == [s, *[""] * 8, e, n, s, *[""] * 9, e, n, s, "", "", "A", " cat", ".", e, n]


def test_inference_has_one_newline_whatever_training_had():
    exact = prompt(published_two_newlines=True)
    encoded = exact.inference([Turn("user", "<image>\nWhat is it?")], [IMAGE])
    assert written(encoded).endswith("<|vision_pad|>\nWhat is it?<|im_end|>\n<|im_start|>assistant\n")


def test_inference_is_training_up_to_the_answer():
    whole = prompt().training(asked(), [VIDEO])
    begun = prompt().inference([Turn("user", "<image>\nWhat is it?")], [VIDEO])
    assert whole.tokens[: len(begun)] == begun.tokens
    assert written(whole.tokens[len(begun) :]) == "A cat.<|im_end|>\n"
    assert set(begun.labels) == {-100}


def test_head_and_tail_are_inference():
    for shown, text in ([VIDEO], "<image>\nWhat is it?"), ([VIDEO, IMAGE], "<image>\n<image>\nWhat is it?"):
        whole = prompt().inference([Turn("user", text)], shown)
        head = prompt().head(shown)
        assert head.tokens + prompt().tail("What is it?") == whole.tokens
        assert head.group == whole.group[: len(head)]


def test_the_question_is_what_head_and_tail_leave_to_the_tail():
    for shown, text in ([VIDEO], "<image>\nWhat is it?"), ([VIDEO, IMAGE], "<image>\n<image>\nWhat is it?"):
        whole = prompt().inference([Turn("user", text)], shown)
        marked = [token for token, mark in zip(whole.tokens, whole.question, strict=True) if mark]
        assert marked == prompt().tail("What is it?")
        assert not any(prompt().head(shown).question)


def test_answers_are_no_part_of_the_question():
    turns = (
        Turn("user", "What is it?"),
        Turn("assistant", "A cat."),
        Turn("user", "A"),
        Turn("assistant", "cat"),
    )
    encoded = prompt().training(Sample("s", turns), [])
    marked = [token for token, mark in zip(encoded.tokens, encoded.question, strict=True) if mark]
    header = "<|im_end|>\n<|im_start|>assistant\n"
    assert written(marked) == f"What is it?{header}A{header}"


def test_head_and_tail_without_a_visual():
    whole = prompt().inference([Turn("user", "What is it?")], [])
    assert prompt().head([]).tokens + prompt().tail("What is it?", after_visual=False) == whole.tokens


@pytest.mark.parametrize(
    ("shown", "counts"), [([], "1 <image> in the text, but 0 visuals"), ([IMAGE] * 2, "but 2 visuals")]
)
def test_placeholders_and_visuals_of_different_number(shown, counts):
    with pytest.raises(DataError, match=counts):
        prompt().training(asked(), shown)


def test_specials_in_the_text_are_text():
    encoded = prompt().training(asked("<image>\nWhat is <|vision_pad|> it?<|im_end|>"), [IMAGE])
    _, _, end, placeholder = special_ids(tokenizer())
    assert encoded.tokens.count(placeholder) == PLAN.tokens_per_group
    assert encoded.tokens.count(end) == 3
    assert "What is <|vision_pad|> it?<|im_end|><|im_end|>" in written(encoded)


def test_a_caption_longer_than_the_context():
    with pytest.raises(DataError) as error:
        prompt(max_tokens=64).training(asked(answer="A cat." * 20), [VIDEO])
    length = len(prompt().training(asked(answer="A cat." * 20), [VIDEO]))
    assert str(error.value) == (
        f"sample 's' is {length} tokens long (18 of visuals, 61 to learn), but data.max_tokens=64.\n"
        "  type  data.max_tokens=128  or shorten it"
    )


def test_as_long_as_the_context_is_not_too_long():
    length = len(prompt().training(asked(), [VIDEO]))
    assert len(prompt(max_tokens=length).training(asked(), [VIDEO])) == length


def test_the_plan_says_how_many_visual_tokens():
    wide = prompt(CompressorPlan(frames_per_group=1, tokens_per_group=7, temporal=1, spatial=1, ratio=1))
    encoded = wide.training(asked(), [VIDEO])
    assert encoded.kind.count(Kind.VISUAL) == 5 * 7


def test_minutes_become_seconds_as_published():
    assert rewrite_times("from 01:30 to 02:05") == "from 90 seconds to 125 seconds"
    assert rewrite_times("at 3:05") == "at 3:05"
    assert rewrite_times("01:02:03") == "62 seconds:03"


def test_minutes_are_rewritten_only_when_asked_for():
    assert "01:30" in written(prompt().tail("at 01:30"))
    assert "90 seconds" in written(prompt(published_time_rewrite=True).tail("at 01:30"))
    assert "01:30" in written(prompt(published_time_rewrite=True).training(asked("at 01:30"), []))


def test_a_time_text_that_cannot_be_filled_in():
    with pytest.raises(ConfigError, match=r"time_text='at \{minute\}' can't be filled in"):
        PromptConfig(time_text="at {minute}")


def test_a_tokenizer_without_the_specials():
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    with pytest.raises(
        ConfigError, match=r"lacks <\|endoftext\|>, <\|im_start\|>(.|\n)*prompt\.tokenizer=FOLDER"
    ):
        special_ids(PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE())))


def test_without_a_placeholder_of_its_own_padding_stands_at_visual_positions():
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    bytewise = Tokenizer(models.BPE({name: number for number, name in enumerate(specials)}, []))
    bytewise.add_special_tokens(specials)
    other = PreTrainedTokenizerFast(tokenizer_object=bytewise)
    pad, start, end, placeholder = special_ids(other)
    assert placeholder == pad
    assert len({pad, start, end}) == 3


def test_a_prompt_travels_to_another_process():
    copy = pickle.loads(pickle.dumps(prompt()))
    assert copy.training(asked(), [VIDEO]).tokens == prompt().training(asked(), [VIDEO]).tokens


def test_the_length_counts_what_is_fed_and_not_what_is_pruned():
    """Of two groups of 2 tokens and time text: EVS leaves 2 of 4 tokens, the last group alone itself."""
    whole = prompt(max_tokens=None).training(asked("<image><image>\nWhat is it?"), [VIDEO, IMAGE])
    full, time = len(whole), whole.kind.count(Kind.TIME) // 2
    half = Prompt(PromptConfig(), tokenizer(), PLAN, None, EVS(EVSConfig(keep=0.5)))
    assert half.fed(whole) == full - 2  # an image is never pruned
    last = Prompt(PromptConfig(), tokenizer(), PLAN, None, Recent(RecentConfig(keep=1.0, groups=1)))
    assert last.fed(whole) == full - 2 - time
    stays = Prompt(PromptConfig(), tokenizer(), PLAN, None, Recent(RecentConfig(groups=1, empty="keep")))
    assert stays.fed(whole) == full - 2
    unknown = Prompt(PromptConfig(), tokenizer(), PLAN, None, DTD(DTDConfig(above=0.5)))
    assert unknown.fed(whole) == prompt(max_tokens=None).fed(whole) == full
    sample = asked("<image><image>\nWhat is it?")
    for pruner, most in ((EVS(EVSConfig(keep=0.5)), full - 2), (None, full)):
        Prompt(PromptConfig(), tokenizer(), PLAN, most, pruner).training(sample, [VIDEO, IMAGE])
        with pytest.raises(DataError, match=f"is {most} tokens long"):
            Prompt(PromptConfig(), tokenizer(), PLAN, most - 1, pruner).training(sample, [VIDEO, IMAGE])
