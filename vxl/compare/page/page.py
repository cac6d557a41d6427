"""`vxl compare … html=FILE`: the comparison as one self-contained page."""

import base64
import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from vxl.compare.comparison import Comparison
from vxl.compare.differences import last
from vxl.compare.disagreement import MOST, Disagreement, disagreements
from vxl.compare.fairness import warnings
from vxl.compare.member import AXES, Column, Member
from vxl.compare.page.curves import curves
from vxl.compare.page.drawing import SHOWN, Figure
from vxl.compare.page.forest import forest
from vxl.compare.page.glossary import glossary
from vxl.compare.page.heat import heat, labels_of, needle, ranked
from vxl.compare.page.parallel import parallel
from vxl.compare.page.pareto import costs_of, pareto
from vxl.compare.words import sentences
from vxl.errors import DataError
from vxl.video.image import read_rgb

HERE = Path(__file__).parent
HALF = 700
"""Pixels of a section beside another."""
TALL = 40
"""Rows above which a table scrolls in a box of its own."""
NEEDLES = 24
"""Settings at most whose needle map is drawn."""


def render(comparison: Comparison, place: Path, command: str = "") -> str:
    """The page as text.

    Args:
        comparison: The comparison.
        place: The file that it will be, from which the links to run directories lead.
        command: How to make it again.
    """
    panels = _panels(comparison)
    questions = _questions(comparison)
    drawn_costs = {key.partition("|")[2] for key in panels["pareto"]}
    values: dict[str, Any] = {
        "comparison": comparison,
        "command": command,
        "facts": _facts(comparison),
        "tall": TALL,
        "glossary": glossary(comparison),
        "sentences": sentences(comparison),
        "warnings": warnings(comparison),
        "panels": panels,
        "keys": [last(key) for key in comparison.keys],
        "rows": [_Row(member, comparison.varying, place) for member in comparison.members],
        "settings": _settings(comparison),
        "seeds": any(len(setting.members) > 1 for setting in comparison.settings),
        "failures": [(m.name, m.run.failure) for m in comparison.members if m.run.failure is not None],
        "benchmark_names": [(name, name) for name in comparison.benchmarks],
        "cost_names": [(cost.name, cost.label) for cost in AXES if cost.name in drawn_costs],
        "forest_names": [(name, name) for name in panels["forest"]],
        "heat_names": [(key, key.replace("|", ": ")) for key in panels["heat"]],
        "needle_names": [(key, key) for key in panels["needle"]],
        "curve_names": [(name, name) for name in panels["curves"]],
        "shown_note": f" The best {SHOWN} of {len(comparison.settings)} settings are drawn."
        if len(comparison.settings) > SHOWN
        else "",
        "wide": _wide(panels),
        "questions": questions,
        "has_frames": any(one["picture"] for one in questions),
        "has_kept": any(one["q"].kept for one in questions),
        "figures": _inside_script(panels),
        "css": _file("page.css"),
        "glue": _file("glue.js"),
        "plotly_js": _file("third_party/plotly-cartesian.min.js"),
        "sortable_js": _file("third_party/sortable.min.js") + _file("third_party/sortable.a11y.min.js"),
        "plotly": _version(),
    }
    jinja = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    return jinja.get_template("page.html.jinja").render(values)


def _panels(comparison: Comparison) -> dict[str, dict[str, Figure]]:
    """Every figure by panel and by what is picked in it."""
    figures_of_panels: dict[str, dict[str, Figure | None]] = {
        "pareto": {
            f"{name}|{cost.name}": pareto(comparison, name, cost)
            for name in comparison.benchmarks
            for cost in costs_of(comparison, name)
        },
        "forest": {name: forest(comparison, name) for name in comparison.benchmarks},
        "heat": {
            f"{name}|{label}": heat(comparison, name, label)
            for name in comparison.benchmarks
            for label in labels_of(comparison, name)
        },
        "needle": {
            f"{name}: {setting.name}" if len(comparison.benchmarks) > 1 else setting.name: needle(
                setting, name
            )
            for name in comparison.benchmarks
            for setting in ranked(comparison, name)[:NEEDLES]
        },
        "curves": dict(curves(comparison)),
        "parallel": {"all": parallel(comparison)},
    }
    return {
        panel: {key: figure for key, figure in figures.items() if figure is not None}
        for panel, figures in figures_of_panels.items()
    }


def _wide(panels: dict[str, dict[str, Figure]]) -> dict[str, str]:
    """Which sections take the whole width: one that would stand alone, and parallel axes that are many."""
    wide = dict.fromkeys(panels, "")
    many = panels["parallel"] and len(panels["parallel"]["all"]["layout"]["xaxis"]["tickvals"]) > 7
    if many:
        wide["parallel"] = "wide"
    # A map of many columns, which would scroll in half of the page.
    if any(one["layout"].get("meta", {}).get("least", 0) > HALF for one in panels["heat"].values()):
        wide["heat"] = "wide"
    for together in (("pareto", "forest"), ("heat", "needle", "curves", "parallel")):
        halves = [name for name in together if panels[name] and not wide[name]]
        if len(halves) % 2:
            wide[halves[-1]] = "wide"
    return wide


class _Row:
    """A member as a row of the table."""

    def __init__(self, member: Member, columns: Sequence[Column], place: Path) -> None:
        self.member = member
        self.sort = in_order(member.name)
        self.link = quote(os.path.relpath(member.run.path, place.absolute().parent) + "/")
        self.cells = [self._cell(column) for column in columns]

    def _cell(self, column: Column) -> tuple[str, str, str]:
        """(what it sorts by, the number, its interval)."""
        value = column.value(self.member)
        if value is None:
            return "", "-", ""
        score = self.member.scores.get(column.name)
        interval = ""
        if score is not None and score.interval is not None:
            low, high = (score.scale * end for end in score.interval)
            interval = f"[{low:.1f}, {high:.1f}]"
        elif column.name == "held-out acc" and self.member.result.get("heldout_interval"):
            low, high = self.member.result["heldout_interval"]
            interval = f"[{100 * low:.1f}, {100 * high:.1f}]"
        return repr(value), column.text(value), interval


def _settings(comparison: Comparison) -> list[list[tuple[float | str | None, str]]]:
    """Rows of (what it sorts by, text): every setting's scores with both errors."""
    rows: list[list[tuple[float | str | None, str]]] = []
    for setting in comparison.settings:
        for name in comparison.benchmarks:
            own = setting.reached(name)
            if own is None:
                continue
            scale, pair = own.score.scale, comparison.pair(name, setting)
            ends = [own.of_questions, own.interval if own.seeds.count > 1 else None]
            texts = [
                "-" if end is None else f"{scale * end.low:.1f} to {scale * end.high:.1f}" for end in ends
            ]
            deviation = own.seeds.deviation
            row: list[tuple[float | str | None, str]] = [
                (in_order(setting.name), setting.name),
                (None, name),
                (own.mean, own.score.text(own.mean)),
                *(("" if end is None else end.low, text) for end, text in zip(ends, texts, strict=True)),
                (deviation or "", "-" if deviation is None else f"{scale * deviation:.1f}"),
                (own.seeds.count, str(own.seeds.count)),
            ]
            if pair is None or pair.test is None:
                row += [("", "-" if pair is None else f"not paired: {pair.reason}"), ("", "-"), ("", "-")]
            elif pair.identical:
                row += [(0.0, "same on every question"), ("", "-"), ("", "-")]
            else:
                by = f"{100 * pair.test.estimate.mean:+.1f}"
                if pair.interval is not None:
                    by += f" [{100 * pair.interval.low:+.1f}, {100 * pair.interval.high:+.1f}]"
                row += [(pair.test.estimate.mean, by)]
                row += [(p_value, f"{p_value:.2g}") for p_value in (pair.p_value, pair.adjusted)]
            rows.append(row)
    return rows


def in_order(name: str) -> str:
    """A name with its numbers as wide as each other, so that 4 comes before 16."""
    return re.sub(r"\d+(\.\d+)?", lambda digits: f"{float(digits[0]):025.9f}", name)


def _questions(comparison: Comparison) -> list[dict[str, Any]]:
    """Questions on which members part, with their frames inside the page."""
    most = max(4, min(MOST, 4 * MOST // max(1, len(comparison.benchmarks))))
    several: Sequence[Disagreement] = [
        one for name in comparison.benchmarks for one in disagreements(comparison, name, most)
    ]
    return [{"q": one, **_strip(one.frames)} for one in several]


def _strip(file: Path | None) -> dict[str, Any]:
    """A picture of frames side by side, and how many it shows: they are as wide as they are high."""
    try:
        height, width, _ = (0, 0, 0) if file is None else read_rgb(file).shape
    except DataError:  # whatever stands there is no picture
        height = width = 0
    if file is None or not height:
        return {"picture": "", "count": 0}
    data = base64.b64encode(file.read_bytes()).decode("ascii")
    return {"picture": f"data:image/jpeg;base64,{data}", "count": max(1, round(width / height))}


def _facts(comparison: Comparison) -> str:
    """How many there are of what: a member, a setting and a run are three things."""
    runs, members = len({m.run.name for m in comparison.members}), len(comparison.members)
    parts = [_counted(runs, "run")]
    if members != runs:
        parts.append(
            f"{_counted(members, 'member')} (a run as trained, or one evaluation of it with parts exchanged)"
        )
    else:
        parts[0] += ", each a member"
    if len(comparison.settings) != members:
        parts.append(f"{_counted(len(comparison.settings), 'setting')} (members that differ by seed alone)")
    if comparison.benchmarks:
        parts.append("benchmarks: " + ", ".join(comparison.benchmarks))
    if comparison.base is not None and len(comparison.settings) > 1:
        parts.append(f"compared with {comparison.base.name}")
    return " · ".join(parts)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" + ("s" if number != 1 else "")


def _inside_script(value: Any) -> Markup:
    """JSON that can't end the script element it stands in."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _file(name: str) -> Markup:
    """One of the files of this folder, as it is: scripts and styles of ours, and of kept libraries."""
    return Markup((HERE / name).read_text(encoding="utf-8"))


def _version() -> str:
    head = (HERE / "third_party/plotly-cartesian.min.js").read_text(encoding="utf-8")[:200]
    match = re.search(r"v(\d+\.\d+\.\d+)", head)
    return match[1] if match else ""
