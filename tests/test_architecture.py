"""docs/architecture.md is of this code: floors and tree are made here, and the files that it names exist.

After a file came, went or got another first line:  make tree
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.test_floors import FLOOR, FLOORS

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "architecture.md"


@cache
def first_sentence(file: Path) -> str:
    """What a module says that it is."""
    docstring = ast.get_docstring(ast.parse(file.read_text())) or ""
    paragraph = " ".join(docstring.partition("\n\n")[0].split())
    return re.split(r"(?<=\w{2}[.)`]) (?=[A-Z`])|\.$", paragraph, maxsplit=1)[0].rstrip(".")


def lines(folder: Path, depth: int = 0) -> Iterator[str]:
    """A folder's rooms and files with what each is; those of vxl itself in the order of the floors."""

    def place(path: Path) -> tuple[int, bool, str]:
        return FLOOR.get(path.stem, 0) if depth == 0 else 0, path.is_dir(), path.name

    for path in sorted(folder.iterdir(), key=place):
        source = path / "__init__.py" if path.is_dir() else path
        if path.name in ("__init__.py", "__main__.py") or source.suffix != ".py" or not source.exists():
            continue
        name = "  " * depth + path.name + "/" * path.is_dir()
        yield f"{name:26} {first_sentence(source)}".rstrip()
        if path.is_dir():
            yield from lines(path, depth + 1)


def made() -> dict[str, str]:
    """The parts of the page that are made: {name: text}."""
    floors = [" · ".join(floor.split()) for floor in FLOORS.strip().splitlines()]
    return {"floors": "\n".join(reversed(floors)), "tree": "\n".join(lines(ROOT / "vxl"))}


def page() -> str:
    """The page as it ought to be."""
    text = PAGE.read_text()
    for name, content in made().items():
        block = rf"(<!-- {name} -->\n```text\n).*?```"
        text = re.sub(block, lambda found, content=content: f"{found[1]}{content}\n```", text, flags=re.S)
    return text


def test_the_floors_and_the_tree_are_those_of_the_code() -> None:
    assert PAGE.read_text() == page(), "type  make tree"
    assert all(f"\n{content}\n" in PAGE.read_text() for content in made().values())


def test_the_picture_is_the_same_everywhere() -> None:
    texts = [PAGE.read_text(), (ROOT / "README.md").read_text(), (ROOT / "vxl" / "__init__.py").read_text()]
    pictures = [re.search(r"^    video file .*?(?=\n\n)", text, re.S | re.M) for text in texts]
    assert len({found and found[0] for found in pictures}) == 1
    assert pictures[0] is not None


def test_every_room_and_file_says_what_it_is() -> None:
    assert [line for line in lines(ROOT / "vxl") if len(line.split(maxsplit=1)) < 2 or "..." in line] == []


@pytest.mark.parametrize("file", ["docs/architecture.md", "CONTRIBUTING.md"])
def test_the_files_that_are_named_are_there(file: str) -> None:
    words = re.findall(r"`((?:vxl|conf|tests|docs|experiments)/[\w./-]+)`", (ROOT / file).read_text())
    named = [word for word in words if not re.search("GROUP|NAME", word)]
    assert named
    assert [word for word in named if not (ROOT / word).exists()] == []


if __name__ == "__main__":
    PAGE.write_text(page())
