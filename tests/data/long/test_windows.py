"""Windows of a long video: what is asked about one can be answered from it alone."""

import numpy as np

from vxl.data.long.asked import WORDINGS
from vxl.data.long.script import Event, Script
from vxl.data.long.windows import kinds_of, windows

RED = Event(0.0, "red", "star", "top left")
WHITE = Event(6.0, "white", "circle", "middle")
BLUE = Event(18.0, "blue", "square", "bottom right")
SCRIPT = Script(24.0, (RED, WHITE, BLUE))


def test_a_part_is_asked_for_what_it_shows() -> None:
    assert kinds_of(Script(24.0, ())) == []
    assert kinds_of(Script(24.0, (WHITE,))) == ["count"]
    assert "next" not in kinds_of(Script(24.0, (RED, WHITE)))
    assert set(kinds_of(SCRIPT)) == set(WORDINGS)


def test_every_window_is_told_of_and_asked_about_what_it_shows_alone() -> None:
    seen = set()
    for seed in range(200):
        for window in windows(SCRIPT, 6.0, np.random.default_rng(seed)):
            inside = [event for event in SCRIPT.events if window.start <= event.start < window.end]
            expected = [f"A {event.colour} {event.shape}, {event.place}." for event in inside]
            assert window.told[1] == (" ".join(expected) or "Nothing.")
            assert len(window.questions) <= sum(event.is_needle for event in inside)
            seen.add(window.end - window.start)
            for question in window.questions:
                if question.question.startswith("How"):
                    assert question.options["ABCD".index(question.answer)] == "one"
                    assert WHITE in inside
                if question.question.endswith("first?"):
                    right = question.options["ABCD".index(question.answer)]
                    assert right == ("red" if RED in inside else "blue")
    assert seen == {6.0, 12.0, 18.0, 24.0}
