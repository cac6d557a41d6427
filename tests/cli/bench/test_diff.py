"""What `vxl bench diff` says of files with known times: no test measures anything."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vxl.cli.bench.diff import Change, compared
from vxl.cli.bench.measurements import Measurements, Row, read_measurements
from vxl.cli.main import main
from vxl.errors import ConfigError, DataError

STEADY = [0.99, 1.0, 1.01, 1.0, 1.0]
"""Median 1 s; deviations .01, 0, .01, 0, 0, whose median is 0."""
WIDE = [0.9, 0.96, 1.0, 1.04, 1.1]
"""Median 1 s; deviations .1, .04, 0, .04, .1, whose median is .04."""


def row(seconds: list[float], name: str = "decoding frames", work: int = 10) -> Row:
    return Row(name, work, "frames", seconds, None)


def times(factor: float, seconds: list[float]) -> list[float]:
    return [factor * each for each in seconds]


def measurements(*rows: Row, card: str = "H100") -> Measurements:
    facts = {"time": "2026-01-02", "commit": "0123456789abcdef", "changed": False, "packages": {"torch": "2"}}
    return Measurements(card, "published", True, facts, list(rows))


def write(folder: Path, name: str, one: Measurements) -> str:
    (folder / name).write_text(one.as_json())
    return str(folder / name)


def status(*words: str) -> int:
    """The exit status of `vxl bench diff`."""
    try:
        main(["bench", "diff", *words])
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_median_spread_and_rate_by_hand() -> None:
    wide = row(WIDE)
    assert (wide.median, wide.rate) == (1.0, 10.0)
    assert wide.spread == pytest.approx(1.4826 * 0.04)
    assert row(STEADY).spread == 0.0
    assert row([1.0, 2.0]).median == 1.5


@pytest.mark.parametrize(
    ("old", "new", "noise", "verdict"),
    [
        (STEADY, times(1.02, STEADY), 3.0, "same"),  # below the floor
        (STEADY, times(1.04, STEADY), 3.0, "slower"),
        (STEADY, times(0.96, STEADY), 3.0, "faster"),
        # 3 x 1.4826 x 0.04 = 17.8 %, and 3 x 1.4826 x 0.04 x sqrt(1 + 1.2 ^ 2) = 27.8 % and so on
        (WIDE, times(1.17, STEADY), 17.79, "same"),
        (WIDE, times(1.19, STEADY), 17.79, "slower"),
        (WIDE, times(1.2, WIDE), 27.79, "same"),
        (STEADY, times(0.8, WIDE), 14.23, "faster"),
    ],
)
def test_a_change_counts_beyond_spread_and_floor(
    old: list[float], new: list[float], noise: float, verdict: str
) -> None:
    change = Change(row(old), row(new), 3.0)
    assert change.noise == pytest.approx(noise, abs=0.01)
    assert change.verdict == verdict


SECONDS = st.lists(st.floats(1e-4, 1e3), min_size=1, max_size=9)


@given(SECONDS, SECONDS, st.floats(1e-2, 1e2))
def test_no_unit_of_time_decides(old: list[float], new: list[float], factor: float) -> None:
    change = Change(row(old), row(new), 3.0)
    scaled = Change(row(times(factor, old)), row(times(factor, new)), 3.0)
    assert scaled.percent == pytest.approx(change.percent, rel=1e-6, abs=1e-6)
    assert scaled.noise == pytest.approx(change.noise, rel=1e-6, abs=1e-6)


@given(SECONDS, SECONDS)
def test_nothing_changes_against_itself_both_ways_or_below_the_floor(
    old: list[float], new: list[float]
) -> None:
    assert Change(row(old), row(old), 3.0).verdict == "same"
    there = Change(row(old), row(new), 3.0)
    assert Change(row(old), row(new), floor=abs(there.percent) + 1).verdict == "same"
    if there.verdict == "slower":
        assert Change(row(new), row(old), 3.0).verdict != "slower"


@given(SECONDS)
def test_files_are_read_as_they_were_written(tmp_path_factory: pytest.TempPathFactory, seconds) -> None:
    one = measurements(row(seconds), Row("step", 3, "tokens", seconds, 5 << 30))
    path = tmp_path_factory.mktemp("bench") / "one.json"
    path.write_text(one.as_json())
    assert read_measurements(path) == one


def test_a_slower_row_is_named_and_the_status_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = write(tmp_path, "old.json", measurements(row(STEADY), row(STEADY, "step"), row(STEADY, "gone")))
    new = write(
        tmp_path,
        "new.json",
        measurements(row(times(1.1, STEADY)), row(times(0.5, STEADY), "step"), row(STEADY, "added")),
    )
    assert status(old, new) == 1
    shown = capsys.readouterr().out
    assert "H100, size=published, quick" in shown
    assert "slower by more than the noise: decoding frames\n" in shown
    assert "only in the old file: gone\n" in shown
    assert "only in the new file: added\n" in shown
    lines = [line.split() for line in shown.splitlines()]
    assert ["decoding", "frames", "1000", "1100", "+10.0", "3.0", "slower"] in lines
    assert ["step", "1000", "500", "-50.0", "3.0", "faster"] in lines
    assert "old: 2026-01-02, 0123456789ab, torch 2" in shown
    assert status(new, old) == 1  # the step, the other way round
    assert status(old, new, "floor=10.5") == 0
    assert "none of 2 rows became slower" in capsys.readouterr().out


def test_memory_stands_beside_times_where_it_is_known(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [replace(row(STEADY), peak_bytes=size << 30) for size in (2, 3)]
    old, new = (write(tmp_path, f"{each.peak_bytes}.json", measurements(each)) for each in rows)
    assert status(old, new) == 0
    shown = capsys.readouterr().out
    assert "2.00 GiB" in shown
    assert "3.00 GiB" in shown


@pytest.mark.parametrize(
    ("other", "line"),
    [
        (measurements(row(STEADY), card="A100"), "  card: H100 in OLD, A100 in NEW"),
        (replace(measurements(row(STEADY)), size="tiny"), "  size: published in OLD, tiny in NEW"),
        (replace(measurements(row(STEADY)), quick=False), "  quick: true in OLD, false in NEW"),
        (measurements(row(STEADY, work=20)), "  decoding frames: 10 frames in OLD, 20 frames in NEW"),
    ],
)
def test_what_was_not_measured_alike_is_not_compared(other: Measurements, line: str) -> None:
    with pytest.raises(ConfigError) as error:
        compared(measurements(row(STEADY)), other)
    assert str(error.value).splitlines() == [
        "OLD and NEW were not measured alike.",
        line,
        "  allowed: two files of one card, one size and the same amounts, both quick or neither",
        "  as OLD, on its card:  vxl bench all --quick out=FILE",
    ]


def test_a_processor_that_others_use_is_given_more_room_than_a_card() -> None:
    for size, floor in (("published", 3.0), ("tiny", 50.0)):
        one = replace(measurements(row(STEADY)), size=size)
        other = replace(measurements(row(times(1.4, STEADY))), size=size)
        (change,) = compared(one, other)
        assert (change.noise, change.verdict) == (floor, "slower" if floor < 40 else "same")
        assert compared(one, other, 39.0)[0].verdict == "slower"


def test_files_without_a_common_row_are_not_compared() -> None:
    with pytest.raises(DataError, match="no row in common"):
        compared(measurements(row(STEADY)), measurements(row(STEADY, "other")))


def damaged(**changes: object) -> str:
    values = json.loads(measurements(row(STEADY)).as_json())
    return json.dumps(values | changes)


def with_row(**changes: object) -> str:
    (first,) = json.loads(measurements(row(STEADY)).as_json())["rows"]
    return damaged(rows=[first | changes])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "can't be read"),
        ("{", "can't be read"),
        ("[" * 100_000, "can't be read"),
        ("\x00\xff", "can't be read"),
        ("[]", "holds no measurements"),
        ("{}", "holds no measurements"),
        (damaged(format=2), "is of format 2, and this vxl reads 1"),
        (damaged(card=3), "has no 'card' as vxl writes it"),
        (damaged(rows={}), "has no 'rows' as vxl writes it"),
        (damaged(rows=[3]), "has something else than a measurement as row 0"),
        (with_row(work="10"), "has something else than a measurement as row 0"),
        (with_row(seconds=[]), "has times in 'decoding frames' that are none: []"),
        (with_row(seconds=[1.0, float("nan")]), "that are none: [1.0, nan]"),
        (with_row(seconds=[0]), "that are none: [0]"),
        (with_row(seconds=[10**400]), "that are none: [1000"),
        (with_row(seconds=[True]), "that are none: [True]"),
        (with_row(seconds=["1"]), "that are none: ['1']"),
        (damaged(rows=2 * json.loads(with_row())["rows"]), "has two rows 'decoding frames'"),
    ],
)
def test_a_garbled_file_is_an_error_of_two_lines(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "garbled.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError) as error:
        read_measurements(path)
    first, second = str(error.value).splitlines()
    assert str(path) in first
    assert why in first
    assert second == "  expected: a file that  vxl bench all out=FILE  wrote"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["one.json"], "needs two files, and got 1"),
        (["none.json", "none.json"], "none.json can't be read"),
        (["a.json", "b.json", "floor=much"], "floor=much is no percentage"),
        (["a.json", "b.json", "floor=-1"], "floor=-1 is no percentage"),
        (["a.json", "b.json", "flor=1"], "did you mean floor?"),
    ],
)
def test_mistakes_end_in_status_2(words: list[str], why: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert status(*words) == 2
    assert why in capsys.readouterr().err
