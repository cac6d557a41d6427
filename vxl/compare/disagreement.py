"""Question by question: where members part, with what each said, what was shown and what of it was kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vxl.compare.comparison import Comparison
from vxl.compare.member import Member
from vxl.evaluate.fingerprint import digest
from vxl.evaluate.work.answers import RawAnswer, read_answers

MOST = 24
"""Questions that are shown of a benchmark."""
STRIPS = 12
"""Settings at most whose kept tokens are shown."""


@dataclass(frozen=True)
class Said:
    """Members that gave the same answer."""

    text: str
    right: bool
    members: list[str]


@dataclass(frozen=True)
class Kept:
    """What the cache of a member held when it answered."""

    member: str
    shares: tuple[float, ...]
    """Of the visual tokens, over the video in equal parts."""


@dataclass(frozen=True)
class Disagreement:
    """One question that some answered rightly and some wrongly."""

    benchmark: str
    key: str
    kind: str
    question: str
    options: list[tuple[str, str, bool]]
    """(letter, text, whether it is right)."""
    answer: str
    said: list[Said]
    """The right ones first."""
    kept: list[Kept]
    """Of members that did not keep all, where that was recorded."""
    frames: Path | None
    """Some frames, side by side."""

    @property
    def right(self) -> int:
        """Members that answered rightly."""
        return sum(len(one.members) for one in self.said if one.right)

    @property
    def asked(self) -> int:
        """Members that answered."""
        return sum(len(one.members) for one in self.said)


def disagreements(comparison: Comparison, benchmark: str, most: int = MOST) -> list[Disagreement]:
    """The questions on which members part most evenly, at most so many.

    Args:
        comparison: The comparison.
        benchmark: Whose questions.
        most: Questions.
    """
    answers: dict[str, list[tuple[Member, dict[str, Any]]]] = {}
    for member in comparison.members:
        for item in member.benchmarks.get(benchmark, {}).get("answers") or []:
            if isinstance(item, dict) and "question" in item:
                answers.setdefault(item["key"], []).append((member, item))
    divided = [
        (key, answers_of_question)
        for key, answers_of_question in answers.items()
        if 0 < sum(map(_is_right, answers_of_question)) < len(answers_of_question)
    ]
    divided.sort(key=lambda pair: abs(sum(map(_is_right, pair[1])) / len(pair[1]) - 0.5))
    raw = _Raw(benchmark, comparison)
    return [
        _disagreement(benchmark, key, answers_of_question, raw) for key, answers_of_question in divided[:most]
    ]


class _Raw:
    """The raw answers of one member of each of the first settings, read once."""

    def __init__(self, benchmark: str, comparison: Comparison) -> None:
        self.benchmark = benchmark
        firsts = (next((m for m in s.members if benchmark in m.scores), None) for s in comparison.settings)
        self.members = [member for member in firsts if member is not None][:STRIPS]
        self.read: dict[Path, dict[str, RawAnswer]] = {}

    def folder(self, member: Member) -> Path:
        return member.run.path / "evaluate" / member.change / self.benchmark

    def answer(self, member: Member, key: str) -> RawAnswer | None:
        folder = self.folder(member)
        if folder not in self.read:
            protocol = member.benchmarks[self.benchmark].get("protocol")
            fingerprint = digest(protocol["answering"]) if protocol else ""
            self.read[folder] = read_answers(folder, fingerprint)
        return self.read[folder].get(key)


def _is_right(answer: tuple[Member, dict[str, Any]]) -> bool:
    item = answer[1]
    return float(item.get("score", item["right"])) >= 0.5


def _disagreement(
    benchmark: str, key: str, answers: Sequence[tuple[Member, dict[str, Any]]], raw: _Raw
) -> Disagreement:
    item = answers[0][1]
    groups: dict[tuple[str, bool], list[str]] = {}
    for member, own in answers:
        text = str(own.get("parsed") or own["text"] or "(nothing)")
        groups.setdefault((text, _is_right((member, own))), []).append(member.name)
    frames, strips = None, []
    for member in raw.members:
        answer = raw.answer(member, key)
        if answer is None:
            continue
        folder = raw.folder(member)
        file = (folder / answer.shown).resolve()
        inside = file.is_relative_to(folder.resolve())  # a stranger's answers may name any file
        frames = file if frames is None and inside and file.is_file() else frames
        if any(share < 1 for share in answer.kept):
            strips.append(Kept(member.name, tuple(answer.kept)))
    letters = [chr(ord("A") + at) for at in range(len(item.get("options") or []))]
    options = [
        (letter, text, letter == item["answer"])
        for letter, text in zip(letters, item.get("options") or [], strict=True)
    ]
    return Disagreement(
        benchmark=benchmark,
        key=key,
        kind=item.get("kind", ""),
        question=item["question"],
        options=options,
        answer=item["answer"],
        said=sorted(
            (Said(text, right, members) for (text, right), members in groups.items()),
            key=lambda one: (not one.right, -len(one.members)),
        ),
        kept=strips,
        frames=frames,
    )
