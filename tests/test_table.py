"""Tables at four widths: whole numbers, names in full, the same cells."""

import io

import pytest
from rich.console import Console

from vxl.table import Listing, facts

NAMES = ["compression-c4598e/ratio=4", "compression-c4598e/ratio=16", "a-very-long-name-of-a-run/seed=1"]
NUMBERS = ["1,388,800", "0.923", "53.1 % [44.5, 61.6]", "8,123,869,216"]


def shown(width: int, *columns: str) -> str:
    made = Listing("runs", ("run", "status", *columns), words=("status",))
    for name in NAMES:
        made.add(name, "finished", *NUMBERS[: len(columns)])
    console = Console(file=io.StringIO(), width=width)
    made.show(console)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [60, 80, 100, 160])
@pytest.mark.parametrize("columns", [("loss",), ("trained", "loss", "accuracy", "parameters")])
def test_no_number_is_cut_and_no_line_is_too_long(width: int, columns: tuple[str, ...]) -> None:
    text = shown(width, *columns)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    for number in NUMBERS[: len(columns)]:
        assert text.count(number) == len(NAMES)
    assert text.count("finished") == len(NAMES)
    assert all(text.split().count(name) == 1 for name in NAMES)


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_a_column_of_words_breaks_between_them(width: int) -> None:
    made = Listing("long", ("member", "accuracy", "95 %, by video", "no letter"), words=("member",))
    members = ["bilevel relevance=attention keep=0.125", "bilevel relevance=random keep=0.5"]
    for member in members:
        made.add(member, "0.0 %", "too few videos", "14")
    words = [word for line in lines_of(made, width) for word in line]
    for word in " ".join(members).split():
        assert words.count(word) == " ".join(members).split().count(word)


def listing(*names: str) -> Listing:
    made = Listing("runs", ("run", "held-out accuracy", "parameters trained"))
    for name in names:
        made.add(name, "53.1 %", "1,388,800")
    return made


def lines_of(made: Listing, width: int) -> list[list[str]]:
    console = Console(file=io.StringIO(), width=width)
    made.show(console)
    return [line.split() for line in console.file.getvalue().splitlines() if line.strip()]


def test_headings_break_then_rows_become_columns_then_blocks() -> None:
    made = listing("compression-c4598e/ratio=4", "b")
    assert ["run", "held-out", "accuracy", "parameters", "trained"] in lines_of(made, 80)
    assert ["run", "accuracy", "trained"] in lines_of(made, 60)
    narrow = Listing(
        "runs", ("run", "held-out", "parameters", "seconds"), rows=[(("a", "1", "2", "3"), None)]
    )
    assert ["seconds", "3"] in lines_of(narrow, 20)
    alone = [["compression-c4598e/ratio=4"], ["53.1", "%", "1,388,800"], ["b"], ["53.1", "%", "1,388,800"]]
    assert lines_of(made, 50)[-4:] == alone


def test_facts_wrap_between_words() -> None:
    console = Console(file=io.StringIO(), width=40)
    console.print(facts("run x", [("trained", "1,388,800 of 1,388,800 parameters, 400 steps")]))
    text = console.file.getvalue()
    assert text.count("1,388,800") == 2
    assert max(map(len, text.splitlines())) <= 40


def test_rows_become_columns_in_as_few_blocks_as_the_width_needs() -> None:
    made = Listing("runs", ("run", *(f"number {n}" for n in range(6))))
    for name in "abcdefg":
        made.add(f"member-{name}", *["8,123,869,216"] * 6)
    blocks = [line[1:] for line in lines_of(made, 60) if line[0] == "run"]
    assert blocks == [
        ["member-a", "member-b", "member-c"],
        ["member-d", "member-e", "member-f"],
        ["member-g"],
    ]
    assert sum(line[0] == "number" for line in lines_of(made, 60)) == 3 * 6


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_a_name_too_long_to_stand_beside_its_numbers_stands_above_them_whole(width: int) -> None:
    names = [f"policies/compressor=dts_published,optim.lr=0.00025,optim.clip=0.{n}" for n in range(7)]
    made = Listing("runs", ("run", "status", "step", "tokens of a row"), words=("status",))
    for name in [*names, "first"]:
        made.add(name, "finished", "60/60", "8,123,869,216")
    console = Console(file=io.StringIO(), width=width)
    made.show(console)
    lines = [line.rstrip() for line in console.file.getvalue().splitlines() if line.strip()]
    beside = width > 120
    assert len(lines) == 3 + 8 if beside else 4 + 2 * 8
    for name in names:
        (line,) = [line for line in lines if name in line]
        assert line.split() == ([name, "finished", "60/60", "8,123,869,216"] if beside else [name])
    assert sum(line.split()[-3:] == ["finished", "60/60", "8,123,869,216"] for line in lines) == 8
