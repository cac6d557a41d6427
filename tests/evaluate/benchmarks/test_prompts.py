"""What each published evaluation types to a model, byte for byte: its three strings."""

from pathlib import Path

import pytest

from tests.evaluate.benchmarks.test_adapters import every
from vxl.evaluate.benchmarks.annotations import strings
from vxl.evaluate.item import BenchmarkItem, PromptParts

SAID = strings()
ASK = "Answer with the option's letter from the given choices directly."
CUP = "What does the woman put on the table?"
CUPS = "(A) A red cup\n(B) A blue cup \n(C) A plate\n(D) A lamp"
SALT = "After the subtitle says 'now the salt', what does the man pick up?"
SPOONS = "A. a spoon\nB. a pan\nC. a towel\nD. a knife\nE. a bowl"
MOONS = "How many\nmoons are shown?"
MOON = "A. One.\nB. Two.\nC. Three.\nD. Four."
HOST = "What does the host hold?\n(A) a mug\n(B) a book\n(C) a mug\n(D) a pen"
SAT = "(A) Sat.\n(B) Closed the door.\n(C) Took the cup."
LECTURE = "Which technique does the lecture name first?"
WITH = "hello and welcome\nfirst line second line"

TABLE: dict[tuple[str, str], PromptParts] = {
    ("mlvu", "official"): PromptParts(
        f"Question: {CUP}\nOptions:\n{CUPS}\nOnly give the best option.",
        SAID["mlvu.official.system"],
        "Best Option: (",
    ),
    ("mlvu", "videoxl"): PromptParts(
        f"Question: {CUP}\nOptions:\n{CUPS}\nOnly give the best option.",
        SAID["mlvu.official.system"],
        "Best Option: (",
    ),
    ("mlvu", "lmms"): PromptParts(f"{CUP}\n{CUPS}\nOnly give the best option.\nBest option: ("),
    ("mlvu", "videoxl2"): PromptParts(f"\n{CUP}\n{CUPS}\nOnly give the best option.\n\nBest option: ("),
    ("longvideobench", "lmms"): PromptParts(f"{SALT}\n{SPOONS}\n{ASK}\n"),
    ("longvideobench", "official"): PromptParts(f"Question: {SALT}\n{SPOONS}\n{ASK}\n"),
    ("videomme", "lmms"): PromptParts(f"{SAID['videomme.lmms.header']}\n{MOONS}\n{MOON}\n\n{ASK}"),
    ("videomme", "official"): PromptParts(
        f"{SAID['videomme.official.header']}\n{MOONS}\n{MOON}\nThe best answer is:"
    ),
    ("videomme", "videoxl2"): PromptParts(
        f"{SAID['videomme.lmms.header']}\n{MOONS}\n['A. One.', 'B. Two.', 'C. Three.', 'D. Four.']\n\n{ASK}"
    ),
    ("videomme_subtitles", "lmms"): PromptParts(
        f"This video's subtitles are listed below: \n{WITH}\n{SAID['videomme.lmms.header']}\n{MOONS}\n"
        f"{MOON}\nThe best answer is:"
    ),
    ("videomme_subtitles", "official"): PromptParts(
        f"This video's subtitles are listed below:\n{WITH}\n{SAID['videomme.official.header']}\n{MOONS}"
        f"\n{MOON}\nThe best answer is:"
    ),
    ("lvbench", "lmms"): PromptParts(f"{HOST}\nAnswer the question with the option letter"),
    ("lvbench", "videoxl2"): PromptParts(
        f"What does the host hold?\nA. (A) a mug\nB. (B) a book\nC. (C) a mug\nD. (D) a pen\n{ASK}"
    ),
    ("vnbench", "official"): PromptParts(
        f"How many times does the object appear?\nA. 3\nB. 5\nC. 4\nD. 2\n{ASK}"
    ),
    ("vnbench", "videoxl"): PromptParts(
        "Question: How many times does the object appear?\nOptions:\n(A) 3\n(B) 5\n(C) 4\n(D) 2\n",
        SAID["mlvu.official.system"],
    ),
    ("charades_sta", "lmms"): PromptParts(
        f"{SAID['charades.lmms.pre']}person closes the door.. {SAID['charades.lmms.post']}"
    ),
    ("charades_sta", "vxl"): PromptParts(
        "Please find the visual event described by the sentence 'person closes the door.', determining its "
        "starting and ending times. The format should be: 'The event happens in <start time> - <end time> "
        "seconds'."
    ),
    ("mvbench", "official"): PromptParts(
        f"Question: What happened?\nOptions:\n{SAT}\nOnly give the best option.",
        SAID["mvbench.official.system"],
        "Best option:(",
    ),
    ("mvbench", "lmms"): PromptParts(
        f"Question:What happened?\nOption:\n{SAT}\nOnly give the best option.\n"
    ),
    ("egoschema", "lmms"): PromptParts(
        "What is the overall aim of c?\nA. to cook\nB. to clean\nC. to mend\nD. to paint\nE. to read\n" + ASK
    ),
    ("tempcompass", "official"): PromptParts(
        "What is the dog doing?\nA. running\nB. sleeping\nC. eating\nPlease directly give the best option:"
    ),
    ("videommmu", "lmms"): PromptParts(
        f"{LECTURE}\nA. Fresco\nB. Etching\nC. Collage{SAID['videommmu.perception_and_comprehension_prompt']}"
    ),
}


@pytest.fixture(scope="module")
def benchmarks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    return dict(every(tmp_path_factory.mktemp("prompts")))


@pytest.mark.parametrize(("name", "preset"), TABLE, ids=[f"{name}-{preset}" for name, preset in TABLE])
def test_the_first_question(benchmarks: dict, name: str, preset: str) -> None:
    (first, *_) = benchmarks[name].items()
    assert benchmarks[name].ask(first, preset, [0.5, 2.0]) == TABLE[name, preset]


def test_the_last_frames_question_is_in_the_prompt_of_videommmu(benchmarks: dict) -> None:
    item: BenchmarkItem = benchmarks["videommmu"].items()[2]
    asked = SAID["videommmu.pre_prompt"] + SAID["videommmu.open_ended_prompt"] + LECTURE
    assert benchmarks["videommmu"].ask(item, "lmms") == PromptParts(asked)


def test_captions_are_asked_for_with_one_wording_a_video(benchmarks: dict) -> None:
    items = benchmarks["vdc"].items()
    assert {item.question for item in items} <= set(SAID["vdc.detailed"])
    assert len({item.question for item in items}) > 1
    assert [item.question for item in items] == [item.question for item in benchmarks["vdc"].items()]
    assert Path(items[0].video).suffix == ".mp4"
