"""Parts of sources, as published lists of data name them."""

import numpy as np
import pytest

from vxl.data.sample import Sample
from vxl.data.source.part import PartOfSource, numbers_taken
from vxl.errors import ConfigError


class Numbered:
    """A source of numbered samples."""

    def __len__(self) -> int:
        return 50

    def fingerprint(self) -> str:
        return "whole"

    def record(self, number: int) -> Sample:
        return Sample(key=str(number))

    def load(self, number: int):
        return self.record(number)

    def where(self, number: int) -> tuple[str, str]:
        return "list.json", str(number)

    def known_bad(self) -> list:
        return []


@pytest.mark.parametrize(
    ("take", "expected"),
    [
        ("all", range(50)),
        ("first:3", range(3)),
        ("end:2", range(48, 50)),
        ("first:10%", range(5)),
        ("end:2.5%", range(49, 50)),
        ("first:90", range(50)),
    ],
)
def test_what_is_taken(take: str, expected: range) -> None:
    assert numbers_taken(take, 50, "a").tolist() == list(expected)


def test_random_ones_depend_on_the_source_alone() -> None:
    taken = numbers_taken("random:20", 50, "a").tolist()
    assert taken == sorted(set(taken))
    assert len(taken) == 20
    assert taken == numbers_taken("random:40%", 50, "a").tolist()
    assert taken != numbers_taken("random:20", 50, "b").tolist()


@pytest.mark.parametrize("take", ["some", "first", "first:x", "last:3", "random:-1", "first:0", "first:0.1%"])
def test_mistakes(take: str) -> None:
    with pytest.raises(ConfigError, match=f"take={take}"):
        numbers_taken(take, 50, "a")


def test_a_part_gives_the_samples_of_the_whole() -> None:
    part = PartOfSource(Numbered(), np.array([4, 9]))
    assert (len(part), part.record(1).key, part.load(0).key, part.where(1)) == (
        2,
        "9",
        "4",
        ("list.json", "9"),
    )
    assert part.known_bad() == []
    others = [PartOfSource(Numbered(), np.array([4, 8])), PartOfSource(Numbered(), np.array([4]))]
    assert len({part.fingerprint(), *(other.fingerprint() for other in others)}) == 3
