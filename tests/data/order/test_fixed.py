"""The fixed list of samples for validation."""

import pytest
from torch.utils.data import DataLoader

from tests.data.talking import prompt
from vxl.data.batch.examples import Examples
from vxl.data.order.fixed import FixedList, spread_places
from vxl.data.sample import Sample, SampleWithMedia, Turn
from vxl.errors import DataError
from vxl.video.sample import Fps, FpsConfig
from vxl.video.transform import PixelSpec


class Texts:
    """Seven samples of growing length; number 3 can't be read."""

    def __len__(self):
        return 7

    def record(self, number):
        return Sample(str(number), (Turn("user", "What is it?" * (number + 1)), Turn("assistant", "A")))

    def load(self, number):
        if number == 3:
            raise DataError("cut off")
        return SampleWithMedia(self.record(number))

    def where(self, number):
        return "s.tar", str(number)


def fixed(**place):
    pixels = PixelSpec(size=28, mean=(0.5,) * 3, std=(0.5,) * 3)
    return FixedList(Texts(), Examples(prompt(), Fps(FpsConfig()), pixels), **{"batch": 2, **place})


def keys(batches):
    return [[row[0].key for row in micro.rows] for micro in batches]


def test_everything_once_longest_first():
    assert keys(fixed()) == [["6", "5"], ["4", "3"], ["2", "1"], ["0"]]
    assert len(fixed()) == 4


@pytest.mark.parametrize(("most", "kept"), [(1, 1), (3, 3), (7, 7), (9, 7)])
def test_some_of_them(most, kept):
    found = [key for batch in keys(fixed(most=most)) for key in batch]
    assert found == [key for batch in keys(fixed(most=most)) for key in batch]
    assert found == sorted(set(found), reverse=True)
    assert len(found) == kept


@pytest.mark.parametrize("count", [16, 32, 64])
def test_some_are_spread_and_keep_no_step(count):
    """Lists repeat: held-out questions have their letters in turn, and a stride of 4 takes one letter."""
    places = spread_places(128, count)
    assert [place * count // 128 for place in places] == list(range(count))
    of_letters = [sum(place % 4 == letter for place in places) for letter in range(4)]
    assert max(of_letters) - min(of_letters) <= count // 8
    assert spread_places(0, 0) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_keep_the_order(workers):
    loader = DataLoader(fixed(), batch_size=None, num_workers=workers)
    assert keys(loader) == keys(fixed())
    assert len(loader) == 4


@pytest.mark.parametrize("ranks", [2, 3, 5])
def test_ranks_get_as_many_and_no_sample_counts_twice(ranks):
    parts = [fixed(rank=rank, ranks=ranks) for rank in range(ranks)]
    assert len({len(part) for part in parts}) == 1
    rows = [row[0] for part in parts for micro in part for row in micro.rows]
    assert sorted(row.key for row in rows if not row.padding) == [str(n) for n in range(7)]
    assert sum(row.padding for row in rows) == -7 % ranks


def test_a_sample_that_cannot_be_read_is_masked_in_its_place():
    (bad,) = (row[0].bad for micro in fixed() for row in micro.rows if row[0].bad)
    assert (bad.shard, bad.key, bad.reason) == ("s.tar", "3", "cut off")
