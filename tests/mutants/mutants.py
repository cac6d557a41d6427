"""The committed list of breaks: single lines of vxl, each with what to put in its place.

A file `ROOM.txt` of this folder has sections that begin with a file of vxl and the tests to run for it, then
pairs of lines, as in a diff. A line that begins with `=` says why the tests may miss the break above it:

    vxl/seeds.py  tests/test_seeds.py
    - return seed + step
    + return seed
    = why this one may survive
"""

import ast
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class Mutant:
    """One line of one file, broken."""

    room: str
    """The list that it stands in."""
    file: str
    """Where the line is, as the list says it."""
    tests: tuple[str, ...]
    """Files or folders of tests, of which one should fail."""
    line: str
    """The whole line, without its indentation; there once in the file."""
    replacement: str
    reason: str = ""
    """Why no quick test can be expected to notice."""

    def __str__(self) -> str:
        return f"{self.file}\n    - {self.line}\n    + {self.replacement}"

    def place(self, root: Path = ROOT) -> Path | None:
        """The file that has the line; if it moved, the one file of its room that has it. None: gone."""
        named = root / self.file
        if named.is_file() and self.count(named) == 1:
            return named
        room = root / "vxl" / self.file.split("/")[1].removesuffix(".py")
        having = [file for file in sorted(room.rglob("*.py")) if self.count(file)]
        return having[0] if len(having) == 1 and self.count(having[0]) == 1 else None

    def count(self, file: Path) -> int:
        """How often the line stands in a file."""
        text = file.read_text()
        return [line.strip() for line in text.splitlines()].count(self.line) if self.line in text else 0

    def applied(self, text: str) -> str:
        """A file's text with the line broken.

        Raises:
            SyntaxError: The result isn't Python.
        """
        lines = text.splitlines(keepends=True)
        (at,) = (number for number, line in enumerate(lines) if line.strip() == self.line)
        lines[at] = lines[at].replace(self.line, self.replacement)
        ast.parse("".join(lines))
        return "".join(lines)


def read(file: Path) -> list[Mutant]:
    """The mutants of one list."""
    mutants: list[Mutant] = []
    place, tests, line = "", (), ""
    for number, written in enumerate(file.read_text().splitlines(), start=1):
        mark, _, rest = written.strip().partition(" ")
        if mark.startswith("vxl/"):
            place, tests = mark, tuple(rest.split())
        elif mark == "-":
            line = rest.strip()
        elif mark == "+":
            mutants.append(Mutant(file.stem, place, tests, line, rest.strip()))
        elif mark == "=":
            last = mutants.pop()
            mutants.append(
                Mutant(last.room, last.file, last.tests, last.line, last.replacement, rest.strip())
            )
        elif mark not in ("", "#"):
            raise ValueError(
                f"{file.name}, line {number}: expected a file of vxl/, -, +, = or #, got: {written}"
            )
    return mutants


def read_all() -> list[Mutant]:
    """All lists, in the order of their names."""
    return [mutant for file in sorted(FOLDER.glob("*.txt")) for mutant in read(file)]
