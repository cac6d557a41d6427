"""The studies: what they type composes, and their numbers are those of their answers."""

import runpy
import shlex
import sys
from pathlib import Path

import pytest

from vxl.config.compose import compose

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
STUDIES = [path.parent.name for path in sorted(EXPERIMENTS.glob("0*/study.py"))]


def typed(study: str, *words: str) -> tuple[dict, list]:
    """A study's script, and the tasks of its members."""
    sys.path.insert(0, str(EXPERIMENTS))
    sys.argv = ["study.py", *words]
    script = runpy.run_path(str(EXPERIMENTS / study / "study.py"), run_name="study")
    import studies as shared

    options = shared.arguments("")
    tasks = [task for member in script["MEMBERS"] for task in shared.tasks(member, options)]
    return script, tasks


@pytest.mark.slow
@pytest.mark.parametrize("size", ["--tiny", ""])
@pytest.mark.parametrize("study", STUDIES)
def test_what_a_study_types_composes(study: str, size: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", sys.argv)
    monkeypatch.setattr(sys, "path", [*sys.path])
    _, tasks = typed(study, *shlex.split(size))
    seen = set()
    for task in tasks:
        words = [word for word in task.command[2:] if not word.startswith(("seed=", "name=", "run="))]
        if task.command[1] == "train.py" and tuple(words) not in seen:
            seen.add(tuple(words))
            compose("train", words)
