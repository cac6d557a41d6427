"""Counting bad samples."""

import logging

import pytest

from vxl.data.bad import BadCounter, refuse_mostly_bad
from vxl.data.sample import BadSample
from vxl.errors import DataError


def bad(n=0, kind="media"):
    return BadSample("s.tar", f"k{n}", "truncated:\n  its header lists 9 frames", kind)


def test_one_line_a_kind(caplog):
    counter = BadCounter(0.5)
    with caplog.at_level(logging.WARNING):
        counter.add(10, [bad(0), bad(1)])
        counter.add(10, [bad(2), bad(3, "sample")])
    assert [record.message for record in caplog.records] == [
        "masked a bad sample (media): s.tar, sample 'k0': truncated: its header lists 9 frames",
        "masked a bad sample (sample): s.tar, sample 'k3': truncated: its header lists 9 frames",
    ]


def test_a_shard_that_is_gone_is_an_error_at_once():
    counter = BadCounter(0.5)
    gone = BadSample("s.tar", "k0", "/data/s.tar is not there any more.", "gone")
    with pytest.raises(DataError, match=r"/data/s\.tar is not there any more[\s\S]*put it back"):
        counter.add(1000, [gone])


def test_too_many_is_an_error_that_names_the_last():
    counter = BadCounter(0.01)
    counter.add(100, [bad(1)])
    counter.add(100, [bad(2)])
    with pytest.raises(DataError) as error:
        counter.add(50, [bad(3)])
    for words in (
        "3 of 250 samples",
        "data.max_bad_fraction=0.01",
        "s.tar, sample 'k3'",
        "vxl shards lint --decode s.tar",
    ):
        assert words in str(error.value)


@pytest.mark.parametrize(
    ("shard", "kinds", "line"),
    [
        ("s.tar", ["sample"], "vxl shards lint s.tar"),
        ("s.tar", ["media"], "vxl shards lint --decode s.tar"),
        ("s.tar", ["settings", "sample", "media"], "vxl shards lint --decode s.tar"),
        ("mine.jsonl", ["media"], "vxl shards lint --decode mine.jsonl --videos 'my clips'"),
        ("s.tar", ["settings"], ""),
        ("pipe:cat s.tar", ["sample"], ""),
    ],
)
def test_the_command_that_is_named_finds_what_was_counted(shard, kinds, line):
    counter = BadCounter(0.0, {"mine.jsonl": "my clips"})
    counter.kinds = dict.fromkeys(kinds[:-1], 1)
    with pytest.raises(DataError) as error:
        counter.add(1, [BadSample(shard, "k", "reason", kinds[-1])])
    assert (f"  see all of them:  {line}\n" in str(error.value)) == bool(line)
    assert ("shards lint" in str(error.value)) == bool(line)


def test_the_first_bad_one_of_a_run_is_no_reason_to_stop_unless_none_is_allowed():
    BadCounter(0.01).add(2, [bad()])
    with pytest.raises(DataError):
        BadCounter(0.0).add(2, [bad()])


def test_goes_on_counting():
    counter = BadCounter(0.01)
    counter.add(100, [bad()])
    other = BadCounter(0.01)
    other.load_state_dict(counter.state_dict())
    assert other.state_dict() == {"seen": 100, "bad": 1, "kinds": {"media": 1}}
    with pytest.raises(DataError, match="2 of 150"):
        other.add(50, [bad()])


class Listed:
    """A source of which indexing found some samples unusable."""

    def __init__(self, bad: int, of: int) -> None:
        self.bad, self.of = bad, of

    def __len__(self) -> int:
        return self.of

    def known_bad(self) -> list[BadSample]:
        return [BadSample("mine.json", f"k{n}", "cut off") for n in range(self.bad)]


def test_what_is_known_to_be_mostly_unusable_is_refused_at_the_start() -> None:
    """As training would: by the share of an epoch, and of fewer than a hundred samples by their number."""
    for bad, of, most in ((99, 120, 0.01), (2, 50, 0.01), (3, 200, 0.01)):
        with pytest.raises(DataError, match=f"{bad} of the {of} samples of mine.json can't be used"):
            refuse_mostly_bad(Listed(bad, of), most)  # type: ignore[arg-type]
    for bad, of, most in ((0, 120, 0.0), (1, 50, 0.01), (2, 200, 0.01), (99, 120, 0.83)):
        refuse_mostly_bad(Listed(bad, of), most)  # type: ignore[arg-type]


def test_the_command_that_shows_all_names_the_folder_of_the_media() -> None:
    with pytest.raises(DataError, match=r"vxl shards lint mine\.json --videos 'my films'\n"):
        refuse_mostly_bad(Listed(9, 10), 0.01, {"mine.json": "my films"})  # type: ignore[arg-type]
    counter = BadCounter(0.0, {"s.tar": "media"})
    with pytest.raises(DataError, match=r"vxl shards lint --decode s\.tar --videos media\n"):
        counter.add(1, [bad()])
