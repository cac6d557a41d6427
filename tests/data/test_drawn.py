"""Drawn clips."""

from collections import Counter

import numpy as np
import pytest

from vxl.data.drawn import COLOURS, KINDS, draw_clips


def means(clip, frame):
    """How far the brightest-coloured pixels' mean is from each colour."""
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


@pytest.mark.parametrize(("kind", "frame"), [("colour", 0), ("first_colour", 0), ("last_colour", -1)])
def test_the_colour_that_is_asked_for_is_the_one_that_is_drawn(kind, frame):
    for clip in draw_clips(kind, 8, 3, "train"):
        right = clip.question.options[ord(clip.question.answer) - ord("A")]
        assert means(clip, frame) == right


def test_the_colour_changes():
    for clip in draw_clips("first_colour", 4, 0, "train"):
        assert means(clip, 0) != means(clip, -1)


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


def test_more_shapes_cover_more():
    covered = {}
    for clip in draw_clips("count", 12, 0, "train"):
        frame = clip.frames_FHWC[0]
        ground = np.median(frame.reshape(-1, 3), axis=0)
        shape = clip.caption.split()[-1].rstrip("s.")
        covered.setdefault(shape, {}).setdefault(clip.question.answer, []).append(
            (np.abs(frame - ground).sum(2) > 60).mean()
        )
    for by_number in covered.values():
        ordered = [np.mean(by_number[letter]) for letter in sorted(by_number)]
        assert ordered == sorted(ordered)


def test_captions_say_what_is_drawn():
    captions = [clip.caption for kind in KINDS for clip in draw_clips(kind, 1, 0, "train")]
    assert captions[0].startswith("A red")
    assert any("moves left" in caption for caption in captions)
    assert any(caption.startswith("There is one") for caption in captions)
