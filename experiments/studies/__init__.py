"""What the studies share: members are trained, then asked, several at a time; nothing is made twice.

A member is a run of `train.py` and some evaluations of it. At one size, members of all studies lie in one
folder and have one base, so that a run that two studies name is trained once, and a study that was ended
goes on.
"""

from studies.answer import Answer, differences, interval_text, points
from studies.asked import Found, Setting
from studies.base import BASES, Base
from studies.baselines import BASELINES, baseline_lines
from studies.compared import against, kept
from studies.drawing import axis_of_shares, bars, draw_rows, mark_baselines, plt, save_figure
from studies.member import Member, seeds
from studies.study import Study, main

__all__ = [
    "BASELINES",
    "BASES",
    "Answer",
    "Base",
    "Found",
    "Member",
    "Setting",
    "Study",
    "against",
    "axis_of_shares",
    "bars",
    "baseline_lines",
    "differences",
    "draw_rows",
    "interval_text",
    "kept",
    "main",
    "mark_baselines",
    "plt",
    "points",
    "save_figure",
    "seeds",
]
