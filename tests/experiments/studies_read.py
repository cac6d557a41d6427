"""The studies' scripts as modules, and settings made of scores."""

import runpy
from collections.abc import Sequence
from pathlib import Path

from studies import Setting, Study

from vxl.statistics import ItemScore

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
NAMES = [path.parent.name for path in sorted(EXPERIMENTS.glob("0*/study.py"))]


def study(name: str) -> Study:
    """The study of a folder."""
    return runpy.run_path(str(EXPERIMENTS / name / "study.py"), run_name="study")["STUDY"]


def setting(
    name: str, seeds: Sequence[Sequence[float]], *, variant: str = "", chance: float = 0.25, tokens: float = 0
) -> Setting:
    """A setting whose seeds answered as told: a score a question, each about a video of its own."""
    units = tuple(
        tuple(ItemScore(f"q{n}", score, f"v{n}", "what") for n, score in enumerate(scores))
        for scores in seeds
    )
    return Setting(name, variant, units, tuple(range(len(seeds))), chance, tokens)
