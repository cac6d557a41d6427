"""The answer of 020: policies that a question of one letter can't tell apart are no part of it."""

import runpy

import yaml

from tests.experiments.studies_read import EXPERIMENTS
from vxl.option.files import CONF

STUDY = runpy.run_path(str(EXPERIMENTS / "020_policies" / "study.py"), run_name="study")


def test_what_acts_at_the_question_is_known() -> None:
    """They have read it with the whole cache."""
    files = {name: yaml.safe_load((CONF / "kv" / f"{name}.yaml").read_text()) for name in STUDY["POLICIES"]}
    assert set(STUDY["AT_QUESTION"]) == {name for name, keys in files.items() if keys["at"] == "question"}


def test_the_answer_is_of_what_forgets_before_an_answer() -> None:
    right = {"snapkv": 0.9, "uniform": 0.5, "tova": 0.6}
    rows = [
        {"group": "kv", "method": name, "keep": 1 / 32, "accuracy": accuracy, "cache_bytes": 100}
        | {"difference": accuracy - 0.9, "difference_interval": [-1.0, 1.0]}
        for name, accuracy in right.items()
    ]
    found = STUDY["answer"]({"rows": rows}, {"interval": [0.8, 1.0]})
    assert found.text == (
        "of 2 policies that forget before they answer tova loses least at 1/32 (-30.0 points)"
    )
