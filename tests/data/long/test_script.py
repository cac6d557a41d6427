"""What happens in long videos and what is asked about it."""

from collections import Counter
from itertools import pairwise
from string import ascii_uppercase
from typing import get_args

import pytest

from vxl.data.clips.drawn import COLOURS, NUMBERS
from vxl.data.long.asked import ANSWERS, WORDINGS, ask
from vxl.data.long.config import Kind, LongConfig
from vxl.data.long.script import CORNERS, MIDDLE, Script, write_script
from vxl.errors import ConfigError
from vxl.seeds import generator


def scripts(count: int = 60, **settings) -> list[Script]:
    config = LongConfig(**settings)
    return [write_script(config, "train", number) for number in range(count)]


def test_a_video_follows_from_its_number_and_part() -> None:
    config = LongConfig()
    assert write_script(config, "train", 3) == write_script(config, "train", 3)
    others = [write_script(config, "held_out", 3), write_script(config, "train", 4)]
    others.append(write_script(LongConfig(drawing_seed=1), "train", 3))
    assert all(other != write_script(config, "train", 3) for other in others)


def test_what_appears_is_told_apart_and_never_at_once() -> None:
    for script in scripts():
        needles = script.needles
        assert len({event.colour for event in needles}) == len({event.shape for event in needles}) == 4
        assert {event.place for event in needles} <= set(CORNERS)
        assert 1 <= len(script.counted) <= 4
        others = [event for event in script.events if not event.is_needle]
        assert len(others) == len(script.counted) + 2
        assert {event.place for event in others} == {MIDDLE}
        starts = [event.start for event in script.events]
        assert all(later - earlier >= 6.0 for earlier, later in pairwise(starts))
        assert 60 <= script.seconds <= 240
        assert starts[-1] + 6.0 <= script.seconds


def test_lengths_fill_their_range_evenly_by_their_logarithm() -> None:
    seconds = [script.seconds for script in scripts(400)]
    assert sum(length < 120 for length in seconds) / 400 == pytest.approx(0.5, abs=0.1)


def test_the_far_past_is_all_that_is_asked_about() -> None:
    for script in scripts(minutes=[5.0, 20.0], latest=0.25):
        assert script.events[-1].start + 6.0 <= 0.25 * script.seconds + 1e-6


@pytest.mark.parametrize("kind", get_args(Kind))
def test_answers_are_what_happened(kind: Kind) -> None:
    for number, script in enumerate(scripts()):
        about = ask(script, kind, "train", generator("test", number))
        question = about.question
        right = question.options[ascii_uppercase.index(question.answer)]
        named = {event for event in script.needles if event.colour in question.question}
        by_shape = {event.shape: event for event in script.needles}
        starts = [event.start for event in script.needles]
        if kind == "count":
            assert right == NUMBERS[len(script.counted) - 1]
            assert about.second == script.counted[0].start
        elif kind == "first":
            assert right == script.needles[0].colour
        elif kind == "colour":
            (shape,) = (shape for shape in by_shape if shape in question.question)
            assert right == by_shape[shape].colour
        else:
            (event,) = named
            assert about.second == event.start
            quarter = ("first", "second", "third", "last")[int(4 * event.start / script.seconds)]
            answers = {"what": event.shape, "where": event.place, "when": f"in the {quarter} quarter"}
            if kind == "next":
                assert right == script.needles[starts.index(event.start) + 1].colour
                assert question.options == tuple(colour for colour in COLOURS if colour != event.colour)
            else:
                assert right == answers[kind]


def test_no_letter_is_a_good_guess() -> None:
    for kind in get_args(Kind):
        letters = Counter(
            ask(script, kind, "train", generator("test", number)).question.answer
            for number, script in enumerate(scripts(400))
        )
        chance = 1 / 3 if kind == "next" else 1 / 4
        assert max(letters.values()) / 400 < chance + 0.09, (kind, letters)


def test_held_out_questions_are_worded_otherwise() -> None:
    assert set(WORDINGS) == set(ANSWERS) == set(get_args(Kind))
    for wordings in WORDINGS.values():
        assert not set(wordings.train) & set(wordings.held_out)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"minutes": [4.0, 1.0]}, "is no range"),
        ({"minutes": [0.5, 2.0]}, r"10 shapes of 6 s each do not fit into 30 s.*\n.*minutes=\[1.0,…\]"),
        ({"latest": 0.1}, "do not fit"),
        ({"needles": 1}, "2 to 4 needles"),
        ({"kinds": []}, "asks nothing"),
        ({"windows": -1}, "0 or more"),
        ({"rounds": 2}, "type  together=true rounds=3"),
        ({"needle_size": 0.9}, "above 0 up to 0.5"),
        ({"held_out_videos": 0}, "1 or more of each"),
    ],
)
def test_mistakes(settings, says) -> None:
    with pytest.raises(ConfigError, match=says):
        LongConfig(**settings)
