"""Questions about the real clips, from their captions and timed segments, split into two parts."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from string import ascii_uppercase
from typing import Any

import numpy as np

from vxl.data.sample import Question
from vxl.seeds import generator

OPTIONS = 4
ORDERS = 10
"""Questions a clip about which of four segments comes first, and as many about the last."""
SHORTEST = 2.0
"""Seconds that a segment lasts at least to be asked about by halves."""


@dataclass(frozen=True)
class AskedQuestion:
    """A question about a clip, or about a part of it."""

    kind: str
    """given, time, segment, next, order."""
    video: str
    question: Question
    start: float | None = None
    """Where the part that is shown begins, in seconds; None for the whole clip."""
    end: float | None = None


def questions_about(clips: Sequence[Mapping[str, Any]], seed: int) -> list[AskedQuestion]:
    """All questions about the clips. Options stand in a random order.

    Args:
        clips: Items of clips.json: `video`, `seconds`, `segments`, `questions`.
        seed: Of the choice and order of options.
    """
    texts = [segment["text"] for clip in clips for segment in clip["segments"]]
    questions: list[AskedQuestion] = []
    for clip in clips:
        chance = generator(seed, "questions", clip["video"])
        questions += [
            AskedQuestion("given", clip["video"], Question(q["question"], tuple(q["options"]), q["answer"]))
            for q in clip["questions"]
        ]
        questions += _what_happens(clip, texts, chance)
        questions += _what_is_shown(clip, texts, chance)
        questions += _what_comes_next(clip, texts, chance)
        questions += _which_comes(clip, chance)
    return questions


def split(questions: Iterable[AskedQuestion], seed: int) -> tuple[list[AskedQuestion], list[AskedQuestion]]:
    """(training, held out): of each kind, every third question in a random order is held out.

    In each part every letter is then made the right one equally often, as near as the given questions, whose
    options stay as they are, allow.
    """
    parts: tuple[list[AskedQuestion], list[AskedQuestion]] = ([], [])
    every = list(questions)
    for kind in dict.fromkeys(question.kind for question in every):
        of_kind = [question for question in every if question.kind == kind]
        order = generator(seed, "split", kind).permutation(len(of_kind))
        for place, number in enumerate(order):
            parts[place % 3 == 2].append(of_kind[number])
    return balance(parts[0]), balance(parts[1])


def balance(questions: Sequence[AskedQuestion]) -> list[AskedQuestion]:
    """Moves right options so that every letter is right equally often; given questions stay as they are."""
    letters = ascii_uppercase[:OPTIONS]
    counts = dict.fromkeys(letters, 0)
    for each in questions:
        if each.kind == "given":
            counts[each.question.answer] += 1
    balanced = []
    for each in questions:
        if each.kind != "given":
            letter = min(letters, key=lambda name: counts[name])
            counts[letter] += 1
            each = replace(each, question=_with_answer_at(each.question, letter))
        balanced.append(each)
    return balanced


def _what_happens(
    clip: Mapping[str, Any], texts: list[str], chance: np.random.Generator
) -> list[AskedQuestion]:
    """What happens at a time: at the whole seconds nearest to a third and two thirds of a segment."""
    questions = []
    for segment in clip["segments"]:
        length = segment["end"] - segment["start"]
        times = {round(segment["start"] + length * share) for share in (1 / 3, 2 / 3)}
        for time in sorted(t for t in times if segment["start"] <= t < segment["end"]):
            question = f"What happens at {time} seconds?"
            questions.append(
                _asked("time", clip, question, segment["text"], _others(clip, texts, segment), chance)
            )
    return questions


def _what_is_shown(
    clip: Mapping[str, Any], texts: list[str], chance: np.random.Generator
) -> list[AskedQuestion]:
    """What a segment shows; long ones are asked about by halves."""
    questions = []
    for segment in clip["segments"]:
        start, end = segment["start"], segment["end"]
        middle = round((start + end) / 2, 1)
        for part in [(start, middle), (middle, end)] if end - start >= SHORTEST else [(start, end)]:
            others = [text for text in texts if text != segment["text"]]
            about_segment = _asked(
                "segment", clip, "What does this clip show?", segment["text"], others, chance
            )
            questions.append(replace(about_segment, start=part[0], end=part[1]))
    return questions


def _what_comes_next(
    clip: Mapping[str, Any], texts: list[str], chance: np.random.Generator
) -> list[AskedQuestion]:
    questions = []
    for segment, following in zip(clip["segments"], clip["segments"][1:], strict=False):
        question = f"What happens right after this: {segment['text']}"
        others = [text for text in _others(clip, texts, following) if text != segment["text"]]
        questions.append(_asked("next", clip, question, following["text"], others, chance))
    return questions


def _which_comes(clip: Mapping[str, Any], chance: np.random.Generator) -> list[AskedQuestion]:
    """Which of four segments comes first or last, where a clip has as many."""
    questions = []
    segments = clip["segments"]
    if len(segments) < OPTIONS:
        return []
    for kind in ("first", "last"):
        combinations: set[tuple[int, ...]] = set()
        while len(combinations) < ORDERS:
            combinations.add(tuple(sorted(chance.choice(len(segments), OPTIONS, replace=False).tolist())))
        for numbers in sorted(combinations):
            inside = [segments[number]["text"] for number in numbers]
            right = inside.pop(0 if kind == "first" else -1)
            questions.append(_asked("order", clip, f"Which of these comes {kind}?", right, inside, chance))
    return questions


def _others(clip: Mapping[str, Any], texts: list[str], segment: Mapping[str, Any]) -> list[str]:
    """Wrong options: the clip's other segments, and segments of other clips if those are too few."""
    own = [other["text"] for other in clip["segments"] if other is not segment]
    foreign = [text for text in texts if text not in own and text != segment["text"]]
    return own if len(own) >= OPTIONS - 1 else own + foreign


def _asked(
    kind: str,
    clip: Mapping[str, Any],
    question: str,
    right: str,
    wrong: Sequence[str],
    chance: np.random.Generator,
) -> AskedQuestion:
    own = {segment["text"] for segment in clip["segments"]}
    near, far = [text for text in wrong if text in own], [text for text in wrong if text not in own]
    # Wrong options from the same clip first: those of another clip are told apart by a glance.
    wrong_options = [near[n] for n in chance.permutation(len(near))[: OPTIONS - 1]]
    wrong_options += [far[n] for n in chance.permutation(len(far))[: OPTIONS - 1 - len(wrong_options)]]
    options = [right, *wrong_options]
    return AskedQuestion(kind, clip["video"], Question(question, tuple(options), "A"))


def _with_answer_at(question: Question, letter: str) -> Question:
    """The same options in another order: the right one at `letter`."""
    options = list(question.options)
    right = options.pop(ord(question.answer) - ord("A"))
    options.insert(ord(letter) - ord("A"), right)
    return replace(question, options=tuple(options), answer=letter)
