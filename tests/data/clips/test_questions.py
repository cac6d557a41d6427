"""Questions about the real clips."""

import json
from collections import Counter
from pathlib import Path

import pytest

from vxl.data.clips.questions import questions_about, split

CLIPS = json.loads((Path(__file__).parents[3] / "examples/clips/clips.json").read_text())
SEGMENTS = {clip["video"]: clip["segments"] for clip in CLIPS}


@pytest.fixture(scope="module")
def parts():
    return split(questions_about(CLIPS, 0), 0)


def identity(asked):
    return asked.video, asked.question.question, frozenset(asked.question.options), asked.start


def test_no_question_is_in_both_parts(parts):
    training, held_out = ({identity(asked) for asked in part} for part in parts)
    assert not training & held_out
    assert len(training) + len(held_out) == len(parts[0]) + len(parts[1])


def test_a_third_of_every_kind_is_held_out(parts):
    training, held_out = (Counter(asked.kind for asked in part) for part in parts)
    assert set(training) == set(held_out) == {"given", "time", "segment", "next", "order"}
    for kind in training:
        assert abs(2 * held_out[kind] - training[kind]) <= 2


def test_letters_are_balanced(parts):
    for part in parts:
        counts = Counter(asked.question.answer for asked in part)
        assert max(counts.values()) - min(counts.values()) <= 1


def test_four_different_options_each(parts):
    for asked in [*parts[0], *parts[1]]:
        assert len(set(asked.question.options)) == 4


def test_given_questions_stay_as_they_are(parts):
    given = {
        asked.question.question: asked.question for part in parts for asked in part if asked.kind == "given"
    }
    expected = {q["question"]: q for clip in CLIPS for q in clip["questions"]}
    assert given.keys() == expected.keys()
    for name, question in given.items():
        assert list(question.options) == expected[name]["options"]
        assert question.answer == expected[name]["answer"]


def right(asked):
    return asked.question.options[ord(asked.question.answer) - ord("A")]


def of_kind(parts, kind):
    found = [asked for part in parts for asked in part if asked.kind == kind]
    assert found
    return found


def test_what_happens_at_a_time_is_the_segment_around_it(parts):
    for asked in of_kind(parts, "time"):
        time = float(asked.question.question.split()[-2])
        (segment,) = (s for s in SEGMENTS[asked.video] if s["start"] <= time < s["end"])
        assert right(asked) == segment["text"]


def test_a_shown_part_lies_in_the_segment_that_it_is_said_to_show(parts):
    for asked in of_kind(parts, "segment"):
        (segment,) = (s for s in SEGMENTS[asked.video] if s["start"] <= asked.start and asked.end <= s["end"])
        assert right(asked) == segment["text"]


def test_what_comes_next_follows(parts):
    for asked in of_kind(parts, "next"):
        texts = [segment["text"] for segment in SEGMENTS[asked.video]]
        before = asked.question.question.partition(": ")[2]
        assert texts.index(right(asked)) == texts.index(before) + 1


def test_first_and_last_of_four(parts):
    for asked in of_kind(parts, "order"):
        texts = [segment["text"] for segment in SEGMENTS[asked.video]]
        places = [texts.index(option) for option in asked.question.options]
        choose = min if "first" in asked.question.question else max
        assert right(asked) == texts[choose(places)]


def test_another_seed_is_another_split():
    assert [identity(a) for a in split(questions_about(CLIPS, 0), 0)[1]] != [
        identity(a) for a in split(questions_about(CLIPS, 1), 1)[1]
    ]
