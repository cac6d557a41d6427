"""Drawn clips."""

from collections import Counter

import numpy as np
import pytest

from vxl.data.clips.drawn import COLOURS, KINDS, draw_clips


def colour_of(clip, frame):
    """The colour that a pixel of the frame comes nearest to."""
    pixels = clip.frames_FHWC[frame].reshape(-1, 3).astype(float)
    distance = {name: np.linalg.norm(pixels - np.array(rgb), axis=1).min() for name, rgb in COLOURS.items()}
    return min(distance, key=distance.__getitem__)


@pytest.mark.parametrize("kind", KINDS)
def test_every_letter_is_right_equally_often(kind):
    letters = Counter(clip.question.answer for clip in draw_clips(kind, 8, 0, "train"))
    assert letters == dict.fromkeys("ABCD", 2)


@pytest.mark.parametrize("kind", KINDS)
def test_seed_and_split_decide_the_clip(kind):
    def first(seed, split):
        return next(draw_clips(kind, 1, seed, split)).frames_FHWC

    assert np.array_equal(first(0, "train"), first(0, "train"))
    assert not np.array_equal(first(0, "train"), first(1, "train"))
    assert not np.array_equal(first(0, "train"), first(0, "held_out"))


@pytest.mark.parametrize("kind", ["colour", "first_colour"])
def test_the_colour_that_is_asked_for_is_the_one_that_is_drawn(kind):
    for clip in draw_clips(kind, 8, 3, "train"):
        right = clip.question.options[ord(clip.question.answer) - ord("A")]
        assert colour_of(clip, 0) == right


def test_the_colour_changes():
    for clip in draw_clips("first_colour", 4, 0, "train"):
        assert colour_of(clip, 0) != colour_of(clip, -1)


def test_shapes_move_where_they_are_said_to():
    for clip in draw_clips("direction", 8, 0, "train"):
        moved = np.array(centre(clip.frames_FHWC[-1])) - centre(clip.frames_FHWC[0])
        right = clip.question.options[ord(clip.question.answer) - ord("A")]
        axis, sign = {"left": (0, -1), "right": (0, 1), "up": (1, -1), "down": (1, 1)}[right]
        assert moved[axis] * sign > 20
        assert abs(moved[1 - axis]) < 3


def centre(frame_HWC):
    """Mean place (x, y) of what is not background."""
    ground = np.median(frame_HWC.reshape(-1, 3), axis=0)
    rows, columns = np.nonzero(np.abs(frame_HWC - ground).sum(2) > 60)
    return columns.mean(), rows.mean()


def test_as_many_shapes_as_are_said():
    for clip in draw_clips("count", 12, 0, "train"):
        frame = clip.frames_FHWC[0]
        drawn = np.abs(frame.astype(int) - frame[0, 0]).sum(2) > 60
        quarters = [drawn[y : y + 32, x : x + 32].mean() > 0.1 for y in (0, 32) for x in (0, 32)]
        assert sum(quarters) == ord(clip.question.answer) - ord("A") + 1
