"""What a member's JSON may say, and what is said about one that it may not."""

import pytest

from vxl.data.sample import Question, Turn, Visual, parse
from vxl.errors import DataError

VIDEO = Visual("video", "a.mp4", frames=8, fps=4.0, seconds=2.0, width=32, height=24)
IMAGE = Visual("image", "a.jpg", width=20, height=10)
ASK = {"role": "user", "content": "What?"}
SAY = {"role": "assistant", "content": "This."}


def read(text, *visuals):
    return parse(text, visuals, shard="s.tar", key="a")


def test_conversation_in_both_spellings():
    ours = read({"conversations": [ASK, SAY], "source": "web", "scale": 2}, VIDEO)
    family = read(
        {"conversations": [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "This."}]},
        VIDEO,
    )
    assert ours[0].turns == family[0].turns == (Turn("user", "<image>\nWhat?"), Turn("assistant", "This."))
    assert (ours[0].key, ours[0].source, ours[0].scale, ours[0].visuals) == ("a", "web", 2.0, (VIDEO,))


def test_text_alone_has_no_placeholder():
    assert read({"conversations": [ASK, SAY]})[0].turns == (Turn("user", "What?"), Turn("assistant", "This."))


def test_caption_gets_a_prompt_of_its_kind():
    assert read({"caption": " A dog. "}, VIDEO)[0].turns == (
        Turn("user", "<image>\nDescribe this video in detail."),
        Turn("assistant", "A dog."),
    )
    assert "this image" in read({"caption": "A dog."}, IMAGE)[0].turns[0].text


def test_several_visuals_stand_where_they_are_written():
    asked = {"role": "user", "content": "Is <video> like <image>?"}
    assert read({"conversations": [asked, SAY]}, VIDEO, IMAGE)[0].turns[0].text == "Is <image> like <image>?"
    assert read({"conversations": [ASK, SAY]}, VIDEO, IMAGE)[0].turns[0].text == "<image>\n<image>\nWhat?"


@pytest.mark.parametrize(("written", "shown"), [(1, 2), (2, 1), (3, 2), (1, 0)])
def test_as_many_placeholders_as_visuals_or_none(written, shown):
    asked = {"role": "user", "content": "<image>" * written}
    with pytest.raises(DataError, match=f"{written} <image> in the turns, but {shown} visuals"):
        read({"conversations": [asked, SAY]}, *[VIDEO, IMAGE][:shown])


def test_a_sample_for_the_caption_and_one_for_each_question():
    questions = [{"question": f"q{n}?", "options": ["x", "y"], "answer": "B"} for n in range(2)]
    samples = read({"caption": "c", "questions": questions}, VIDEO)
    assert [sample.key for sample in samples] == ["a", "a#0", "a#1"]
    assert samples[2].question == Question("q1?", ("x", "y"), "B")
    assert samples[2].turns == ()
    assert [sample.key for sample in read({"questions": questions}, VIDEO)] == ["a#0", "a#1"]


def test_segments_and_the_part_that_is_shown():
    text = {"caption": "c", "start": 0.5, "end": 1.5, "segments": [{"start": 0, "end": 1.0, "text": "dark"}]}
    sample = read(text, VIDEO, IMAGE)[0]
    assert (sample.visuals[0].start, sample.visuals[0].end, sample.visuals[1].end) == (0.5, 1.5, None)
    assert sample.segments[0].text == "dark"


CASES = {
    "no text": ({"id": 3}, "no 'conversations', 'caption' or 'questions'", "got the keys: id", "write e.g."),
    "a list": ([1], "is a list, not an object"),
    "odd roles": (
        {"conversations": [{"role": "bot", "content": "x"}]},
        "the role 'bot'",
        "user and assistant",
    ),
    "order": ({"conversations": [ASK, ASK]}, "turn 2 is the user's; the assistant's was due"),
    "open end": ({"conversations": [ASK, SAY, ASK]}, "3 turns, the last one the user's"),
    "no words": ({"conversations": [{"role": "user"}]}, "turn 1 has no text"),
    "placeholder too many": (
        {"conversations": [{"role": "user", "content": "<image>"}, SAY]},
        "1 <image> in",
        "0 visuals",
    ),
    "placeholder in answer": (
        {"conversations": [ASK, {"role": "assistant", "content": "<image>"}]},
        "turn 2 is the assistant's",
    ),
    "caption of nothing": ({"caption": "x"}, "a caption without a video or an image"),
    "answer": (
        {"questions": [{"question": "q", "options": ["a", "b"], "answer": "C"}]},
        "answer 'C'",
        "one of A, B",
    ),
    "options": (
        {"questions": [{"question": "q", "options": "ab", "answer": "A"}]},
        "list of 2 to 26 options",
    ),
    "question": ({"questions": [{"question": "q"}]}, "question 0 is not complete"),
    "segment": ({"conversations": [ASK, SAY], "segments": [{"start": 1}]}, "segment 0 is not complete"),
    "cut": ({"conversations": [ASK, SAY], "start": 3, "end": 2}, "leave no video"),
}


@pytest.mark.parametrize("case", CASES)
def test_message(case):
    text, *words = CASES[case]
    with pytest.raises(DataError) as error:
        read(text)
    for word in ["s.tar, sample 'a'", *words]:
        assert word in str(error.value)
