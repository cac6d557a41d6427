"""A comparison as JSON and as CSV: the numbers of the terminal and of the page."""

import csv
import io
import json
from pathlib import Path

from vxl.atomic import why_not, write_text
from vxl.compare.comparison import Comparison
from vxl.compare.fairness import warnings
from vxl.compare.words import sentences
from vxl.errors import ConfigError


def write(path: Path, text: str, setting: str) -> None:
    """Writes a file whole, with the folders above it.

    Args:
        path: The file.
        text: What it is to hold.
        setting: Which setting of the command names the file.

    Raises:
        ConfigError: It can't be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    except OSError as error:
        raise ConfigError(f"{path} can't be written: {why_not(error, f'{setting}=FILE')}") from error


def as_json(comparison: Comparison) -> str:
    """Members, settings, differences, and what they come to."""
    words = {
        "title": comparison.title,
        "sentences": [str(sentence) for sentence in sentences(comparison)],
        "warnings": warnings(comparison),
    }
    return json.dumps(comparison.plain() | words, indent=1, ensure_ascii=False) + "\n"


def as_csv(comparison: Comparison) -> str:
    """A row a member: run, change, status, differing keys, every number, and the intervals of its scores."""
    text = io.StringIO()
    ends = [f"{name} {end}" for name in comparison.benchmarks for end in ("low", "high")]
    numbers = [column.name for column in comparison.columns]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["run", "change", "status", *comparison.keys, *numbers, *ends])
    for member in comparison.members:
        cells = [column.value(member) for column in comparison.columns]
        intervals = [
            end
            for name in comparison.benchmarks
            for end in ((member.scores[name].interval if name in member.scores else None) or (None, None))
        ]
        writer.writerow(
            [
                member.run.name,
                member.change,
                member.status,
                *member.differences.values(),
                *("" if cell is None else repr(cell) for cell in [*cells, *intervals]),
            ]
        )
    return text.getvalue()
