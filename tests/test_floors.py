"""An import points down a floor or stays in its room; late imports and those for types count."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]

FLOORS = """
errors
precision seeds units statistics atomic
option distributed sequence weights
video compressor llm
vision selector
relevance
kv
prefill
data run
parts model
generate
checkpoint
train
evaluate
config
cli __init__ train.py evaluate.py
"""
FLOOR = {room: number for number, rooms in enumerate(FLOORS.split("\n")) for room in rooms.split()}


def files() -> dict[str, Path]:
    """Every module of vxl, and the entry scripts, by its dotted name."""
    found = {}
    for file in sorted((ROOT / "vxl").rglob("*.py")):
        name = ".".join(file.relative_to(ROOT).with_suffix("").parts)
        found[name.removesuffix(".__init__") if name != "vxl.__init__" else "vxl"] = file
    return found | {"train.py": ROOT / "train.py", "evaluate.py": ROOT / "evaluate.py"}


FILES = files()
TO_SPLIT = {"vxl.llm.cache", "vxl.llm.decoder", "vxl.prefill.summarizing", "vxl.train.run", "vxl.kv.vst"}


def imports(file: Path) -> set[str]:
    """The modules of vxl that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            below = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in FILES else node.module for name in below}
    return {name for name in found if name in FILES}


def room(name: str) -> str:
    """The room of a module: `vxl.train.step.module` is in `train`."""
    return name.split(".")[1] if name.startswith("vxl.") else {"vxl": "__init__"}.get(name, name)


GRAPH = {name: imports(file) - {name} for name, file in FILES.items()}


def test_every_room_has_a_floor() -> None:
    assert {room(name) for name in FILES} == set(FLOOR)


def test_imports_point_down() -> None:
    upwards = [
        f"{name} -> {target}"
        for name, targets in GRAPH.items()
        for target in targets
        if room(name) != room(target) and FLOOR[room(target)] >= FLOOR[room(name)]
    ]
    assert upwards == []


def test_no_files_import_each_other_in_a_circle() -> None:
    circles, path, done = [], [], set()

    def visit(name: str) -> None:
        if name in path:
            circles.append(" -> ".join([*path[path.index(name) :], name]))
        elif name not in done:
            path.append(name)
            for target in sorted(GRAPH[name]):
                visit(target)
            done.add(path.pop())

    for name in GRAPH:
        visit(name)
    assert circles == []


def test_files_are_short_and_rooms_can_be_looked_over() -> None:
    lengths = {name: len(file.read_text().splitlines()) for name, file in FILES.items()}
    assert {name for name, lines in lengths.items() if lines > 300} <= TO_SPLIT
    for folder in {file.parent for file in FILES.values()}:
        options = {file.stem for file in (ROOT / "conf" / folder.name).glob("*.yaml")}  # each is a file here
        others = [file.stem for file in folder.glob("*.py") if file.stem not in options]
        assert len(others) <= (21 if folder.name == "llm" else 20), folder
