"""The list of mutants is of this code, and the runner tells breaks that tests notice from those they miss."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutants import run
from tests.mutants.mutants import ROOT, Mutant, read, read_all
from tests.mutants.run import SURVIVORS

MUTANTS = read_all()


def test_two_hundred_of_them_can_be_tried() -> None:
    there = [mutant for mutant in MUTANTS if mutant.place() is not None]
    assert len(there) >= 200, "python -m tests.mutants.run --check"
    for mutant in there:
        place = mutant.place()
        assert place is not None
        assert mutant.applied(place.read_text()) != place.read_text(), mutant


def test_none_stands_there_twice_and_all_tests_exist() -> None:
    assert len({(mutant.file, mutant.line, mutant.replacement) for mutant in MUTANTS}) == len(MUTANTS)
    assert {test for mutant in MUTANTS for test in mutant.tests if not (ROOT / test).exists()} == set()


def test_few_may_survive() -> None:
    assert len([mutant for mutant in MUTANTS if mutant.reason]) <= SURVIVORS * len(MUTANTS)


def test_the_list_is_read_as_written(tmp_path: Path) -> None:
    (tmp_path / "room.txt").write_text("# why\nvxl/a.py  tests/a tests/b\n- x = 1\n+ x = 2\n= equal\n")
    assert read(tmp_path / "room.txt") == [
        Mutant("room", "vxl/a.py", ("tests/a", "tests/b"), "x = 1", "x = 2", "equal")
    ]
    (tmp_path / "room.txt").write_text("no mark\n")
    with pytest.raises(ValueError, match=r"room.txt, line 1"):
        read(tmp_path / "room.txt")


def test_a_line_is_found_where_its_file_went(tmp_path: Path) -> None:
    mutant = Mutant("room", "vxl/room/old.py", (), "x = 1", "x = 2")
    (tmp_path / "vxl" / "room").mkdir(parents=True)
    assert mutant.place(tmp_path) is None
    new = tmp_path / "vxl" / "room" / "new.py"
    new.write_text("def f():\n    x = 1\n")
    assert mutant.place(tmp_path) == new
    assert mutant.applied(new.read_text()) == "def f():\n    x = 2\n"
    new.write_text("x = 1\nx = 1\n")
    assert mutant.place(tmp_path) is None


@pytest.mark.slow
def test_the_runner_knows_passing_from_failing_from_hanging(tmp_path: Path) -> None:
    """In a process of its own: a trial forks, and this one has run threads."""
    (tmp_path / "vxl").mkdir()
    (tmp_path / "vxl" / "__init__.py").write_text("")
    (tmp_path / "vxl" / "sum.py").write_text(
        "def add(a, b):\n    return a + b\n\n\ndef unused():\n    return 1\n"
    )
    (tmp_path / "test_sum.py").write_text(
        "from vxl.sum import add\n\n\ndef test_add():\n    assert add(2, 3) == 5\n"
    )
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = slow\n  kills\n  grid\n")
    code = f"""
from pathlib import Path
from tests.mutants.mutants import Mutant
from tests.mutants.run import Trials, trial
trials = Trials(Path({str(tmp_path)!r}))
for line, new in ("return a + b", "return a - b"), ("return 1", "return 2"):
    print(trials.outcome(Mutant("r", "vxl/sum.py", (), line, new), ("test_sum.py",)))
Path("{tmp_path}/test_sum.py").write_text("import time\\n\\ndef test_long():\\n    time.sleep(60)\\n")
print(trial(trials.copy, ("test_sum.py",), 3)[0])
Path("{tmp_path}/test_sum.py").write_text("")
print(trial(trials.copy, ("test_sum.py",), 60)[0])
"""
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.split("\n")[:-1] == ["failed", "passed", "late", "no tests"]
    assert "return a + b" in (tmp_path / "vxl" / "sum.py").read_text()


def test_a_share_is_every_nth() -> None:
    halves = [run.wanted([], f"{i}/2") for i in (1, 2)]
    assert sorted(map(str, halves[0] + halves[1])) == sorted(map(str, MUTANTS))
    assert abs(len(halves[0]) - len(halves[1])) <= 1
