import hashlib
from pathlib import Path
from typing import Any

import pytest

from vxl.evaluate.benchmarks import legacy
from vxl.evaluate.benchmarks.annotations import strings

# answer, Video-MME, MLVU official, MVBench official (the golds it takes), MVBench lmms: computed by running
# the published functions.
TABLE: list[tuple[str, str | None, str | None, str, str | None]] = [
    ("B", "B", "B", "B", "B"),
    ("(B)", "B", "B", "B", "B"),
    ("B) blue", "B", "B", "B", "B"),
    ("B. blue", "B", None, "B", "B"),
    ("A dog is running", "A", None, "A", "A"),
    ("The best answer is: C", "C", None, "", "C"),
    ("Answer: B", "A", None, "", "B"),
    ("", None, None, "ABCD", None),
    ("Both A and B", "B", None, "", "A"),
    ("**B**", "B", None, "", "B"),
    ("The correct choice is D", "D", None, "", "D"),
    ("b", None, None, "B", "B"),
    ("I think it is (C) because red", "C", "C", "", "C"),
]


@pytest.mark.parametrize(("text", "video_mme", "mlvu", "mvbench", "mvbench_lmms"), TABLE)
def test_the_whole_table(text: str, video_mme: Any, mlvu: Any, mvbench: str, mvbench_lmms: Any) -> None:
    # "Both A and B": the reader of Video-MME takes the first capital of A to D, the B of "Both".
    assert legacy.video_mme(text) == video_mme
    assert legacy.mlvu(text) == mlvu
    assert "".join(g for g in "ABCD" if legacy.mvbench_official(text, g)) == mvbench
    assert legacy.mvbench_lmms(text) == mvbench_lmms


def test_other_published_readers() -> None:
    assert legacy.lvbench("(B) a book") == "B"
    assert legacy.lvbench("B") == "B"
    assert legacy.lvbench_family("a man") == "A"  # the article counts
    assert legacy.lvbench_family("C. x") == "C"
    assert legacy.vnbench("Answer: B") == "A"
    assert legacy.vnbench("B. A") == "B"
    assert legacy.longvideobench("Best option: E") == "E"
    assert legacy.longvideobench("none") is None
    assert legacy.charades("from 3 to 7") == (3.0, 7.0)
    assert legacy.charades("nothing") is None


def test_prompts_are_the_published_ones_byte_for_byte() -> None:
    file = Path(__file__).parents[3] / "vxl" / "evaluate" / "benchmarks" / "strings.json"
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert digest == "7cb2f4e397df395c8e5534b3b4584a95721716f5ac623b84d043b219be1bbc8e"
    assert strings()["mlvu.lmms.post"] == "\nOnly give the best option.\nBest option: ("
