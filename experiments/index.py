"""Makes the index of experiments and the README's results out of each folder's header and JSON.

A header is `experiment.toml`. Its sentences hold no numbers but names of them (`{accuracy}`), and each name
says where in the folder's JSON its number is. A study's answer is in its JSON, where `study.py` writes it.
"""

import json
import re
import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
NOT_RUN = "not known yet: not run"
TYPED_NUMBER = re.compile(r"(?<![\w./{-])\d")
"""A digit that begins a number, and is no part of a name such as H100 or Video-XL-2."""
BEGIN, END = "<!-- results of experiments -->", "<!-- end of results -->"
RESULTS, TRUE_SIZE = ("results.json", "cpu.json"), "`model=small`"
"""The files of a study, and what the first is of."""


class HeaderError(Exception):
    """A header that can't be read, or that its JSON does not hold."""


@dataclass(frozen=True)
class Number:
    """Where a number is in an experiment's JSON, and how it is shown."""

    at: list[Any]
    """The way to it: keys, places in lists, and tables, which choose the one row that has those values."""
    file: str = "results.json"
    over: list[Any] | None = None
    """The way to what it is divided by."""
    count: dict[str, Any] | None = None
    """Show how many rows of the list have these values, instead."""
    times: float = 1.0
    """What it is multiplied by: 100 for per cent."""
    digits: int = 1
    """Behind the point."""

    def shown(self, folder: Path) -> str:
        """The number as a sentence has it."""
        found = json.loads((folder / self.file).read_text())
        value = _follow(found, self.at, folder)
        if self.count is not None:
            return str(sum(self.count.items() <= row.items() for row in value))
        if self.over is not None:
            value /= _follow(found, self.over, folder)
        return f"{self.times * value:,.{self.digits}f}"


@dataclass(frozen=True)
class Header:
    """What `experiment.toml` holds."""

    question: str
    command: str
    answer: str | None = None
    """A sentence; None for a study, which answers in its JSON."""
    interval: str = ""
    """95 % intervals of the numbers in it; empty where it was measured once."""
    commit: str | None = None
    """Where the JSON names none."""
    headline: bool = False
    """Whether the README shows it."""
    numbers: dict[str, Number] = field(default_factory=dict)


@dataclass(frozen=True)
class Row:
    """A line of the index."""

    name: str
    question: str
    answer: str
    interval: str
    command: str
    commit: str
    headline: bool
    study: bool
    """Whether it compares many settings: its intervals are too many for the README."""


def _follow(value: Any, way: list[Any], folder: Path) -> Any:
    for step in way:
        if isinstance(step, dict):
            rows = [row for row in value if step.items() <= row.items()]
            if len(rows) != 1:
                raise HeaderError(f"{folder.name}: {len(rows)} rows have {step}; one is needed")
            value = rows[0]
        else:
            value = value[step]
    return value


def read_header(folder: Path) -> Header:
    """The header of an experiment.

    Raises:
        HeaderError: It has other keys than those, a number of its own, or a name for which there is none.
    """
    typed = tomllib.loads((folder / "experiment.toml").read_text())
    typed["numbers"] = {
        name: Number(**_known(number, Number, folder)) for name, number in typed.get("numbers", {}).items()
    }
    header = Header(**_known(typed, Header, folder))
    sentences = f"{header.answer or ''} {header.interval}"
    if TYPED_NUMBER.search(re.sub(r"\{\w+\}", "", sentences)):
        raise HeaderError(
            f"{folder.name}: a number is typed into {sentences!r}; name where in the JSON it is"
        )
    if set(re.findall(r"\{(\w+)\}", sentences)) != set(header.numbers):
        raise HeaderError(f"{folder.name}: the numbers of {sentences!r} are not those of [numbers]")
    return header


def _known(typed: dict[str, Any], kind: type, folder: Path) -> dict[str, Any]:
    names = [one.name for one in fields(kind)]
    if unknown := sorted(set(typed) - set(names)):
        raise HeaderError(f"{folder.name}: unknown {', '.join(unknown)}; known: {', '.join(names)}")
    return typed


def row_of(folder: Path) -> Row:
    """An experiment's line."""
    header = read_header(folder)
    if header.answer is None:
        answer, interval = _answer_of_study(folder)
    else:
        numbers = {name: number.shown(folder) for name, number in header.numbers.items()}
        answer, interval = header.answer.format(**numbers), header.interval.format(**numbers)
    commits = header.commit or ", ".join(sorted(commits_in(folder)))
    return Row(
        folder.name,
        header.question,
        answer,
        interval,
        header.command,
        commits,
        header.headline,
        study=header.answer is None,
    )


def _answer_of_study(folder: Path) -> tuple[str, str]:
    answers, intervals = [], []
    for path in [folder / name for name in RESULTS if (folder / name).exists()]:
        found = json.loads(path.read_text())
        answers.append(f"{found['size']}: {found['answer']['text']}")
        intervals.append(f"{found['size']}: {found['answer']['interval']}")
    if not answers:
        return NOT_RUN, ""
    if not (folder / "results.json").exists():
        answers.insert(0, f"{TRUE_SIZE}: {NOT_RUN}")
    return ". ".join(answers), ". ".join(intervals)


def commits_in(folder: Path) -> set[str]:
    """The commits that an experiment's JSON names, by their first seven digits."""
    found: set[str] = set()

    def look(value: Any) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                if key == "commit" and isinstance(inner, str):
                    found.add(inner[:7])
                elif key == "commits":
                    found.update(commit[:7] for commit in inner)
                else:
                    look(inner)
        elif isinstance(value, list):
            for inner in value:
                look(inner)

    for path in folder.glob("*.json"):
        look(json.loads(path.read_text()))
    return found


def rows() -> list[Row]:
    """Every experiment, by its number."""
    return [row_of(path.parent) for path in sorted(HERE.glob("*/experiment.toml"))]


def index(found: list[Row]) -> str:
    """experiments/README.md."""
    lines = [
        "# Experiments",
        "",
        "Each folder is one question: its command, its numbers (JSON) and what they say. Experiments import",
        "vxl; vxl never imports them. This page is made of each `experiment.toml` and its JSON by",
        "`python experiments/index.py`, and a test compares. Intervals are of 95 %; none: measured once.",
        "",
        "| experiment | question | answer | interval | command | commit |",
        "|---|---|---|---|---|---|",
    ]
    for row in found:
        link, command = f"[{row.name}]({row.name})", f"`{row.command}`"
        cells = (link, row.question, row.answer, row.interval, command, row.commit)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def with_headlines(readme: str, found: list[Row]) -> str:
    """The README with its results replaced."""
    lines = [
        f"- {row.question} {row.answer[0].upper()}{row.answer[1:]}"
        + (f" (95 %: {row.interval})" if row.interval and not row.study else "")
        + f". [{row.name}](experiments/{row.name})"
        for row in found
        if row.headline
    ]
    before, mark, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not mark or not end:
        raise HeaderError(f"README.md needs {BEGIN} and {END}")
    return f"{before}{BEGIN}\n" + "\n".join(lines) + f"\n{END}{after}"


def main() -> None:
    """Writes both."""
    found = rows()
    (HERE / "README.md").write_text(index(found))
    readme = HERE.parent / "README.md"
    readme.write_text(with_headlines(readme.read_text(), found))


if __name__ == "__main__":
    main()
