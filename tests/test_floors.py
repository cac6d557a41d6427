"""An import points down a floor or stays in its room, at the top of its file unless that costs something.

Late imports, and those for types alone, count like others. An import may stand inside a function or under
`TYPE_CHECKING` only if at the top of the file it would make importing that file need one more package: so a
mistake in a command is answered without torch, and `vxl.load` needs neither Hydra nor Lightning. A late
import for any other reason hides a circle or costs a reader's time. Why it is late stands at it, or at the
first of the imports that it stands among: `# late: torch takes 2 s, and --help needs none of it`.
"""

import ast
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

FLOORS = """
errors units json_text in_place
precision seeds table statistics atomic memory faults imported
patience terminal store
option distributed sequence weights
video compressor llm
vision selector prune
relevance
kv
prefill
data run
logger
parts
model
generate
checkpoint
export
train
evaluate
compare serve
config
notebook lmms
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
TO_SPLIT: set[str] = set()


@cache
def parsed(name: str) -> ast.Module:
    """A file's code; read by the tests, not when they are collected."""
    return ast.parse(FILES[name].read_text())


def imports(name: str) -> set[str]:
    """The modules of vxl that a file imports, anywhere in it."""
    found: set[str] = set()
    for node in ast.walk(parsed(name)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            below = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {target if target in FILES else node.module for target in below}
    return {target for target in found if target in FILES and target != name}


def room(name: str) -> str:
    """The room of a module: `vxl.train.step.module` is in `train`."""
    return name.split(".")[1] if name.startswith("vxl.") else {"vxl": "__init__"}.get(name, name)


@cache
def graph() -> dict[str, set[str]]:
    """What each module imports."""
    return {name: imports(name) for name in FILES}


def test_every_room_has_a_floor() -> None:
    assert {room(name) for name in FILES} == set(FLOOR)


def test_imports_point_down() -> None:
    upwards = [
        f"{name} -> {target}"
        for name, targets in graph().items()
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
            for target in sorted(graph()[name]):
                visit(target)
            done.add(path.pop())

    for name in graph():
        visit(name)
    assert circles == []


def test_files_are_short_and_rooms_can_be_looked_over() -> None:
    lengths = {name: len(file.read_text().splitlines()) for name, file in FILES.items()}
    assert {name for name, lines in lengths.items() if lines > 300} <= TO_SPLIT
    targets = [re.search(r"^_target_: (\S+)\.\w+$", c.read_text(), re.M) for c in ROOT.glob("conf/*/*.yaml")]
    options = {FILES[target[1]] for target in targets if target and target[1] in FILES}
    for folder in {file.parent for file in FILES.values()}:
        assert len(set(folder.glob("*.py")) - options) <= 20, folder


# Parts of torch that `import torch` leaves out, and that take as long as a package.
PARTS_OF_TORCH = ("torch.nn.attention.", "torch.utils.flop", "torch._dynamo", "torch._inductor")
PARTS_OF_TORCH += ("torch.distributed.fsdp", "torch.distributed.tensor")


def statements(
    body: list[ast.stmt], late: bool = False, reason: int = 0
) -> Iterator[tuple[ast.Import | ast.ImportFrom, int]]:
    """The imports of a file, each with the line at which stands why it waits; 0 for one at the top.

    One waits inside a function, or for types alone. Its reason stands at the first of the imports among which
    it stands, or at `if TYPE_CHECKING:`.
    """
    for statement in body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            reason = reason or (statement.lineno if late else 0)
            yield statement, reason
            continue
        reason = 0
        for_types = isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING"
        waits = late or for_types or isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef)
        at = statement.lineno if for_types else 0
        for field in ("body", "orelse", "finalbody"):
            yield from statements(getattr(statement, field, []), waits, at)
        for handler in getattr(statement, "handlers", []):
            yield from statements(handler.body, waits)


def imported(statement: ast.Import | ast.ImportFrom) -> tuple[set[str], set[str]]:
    """The modules of vxl that a statement imports, with the packages they lie in, and all others."""
    if isinstance(statement, ast.Import):
        names = {alias.name for alias in statement.names}
    else:
        below = {f"{statement.module}.{alias.name}" for alias in statement.names}
        names = {name if name in FILES else str(statement.module) for name in below}
    own = {name for name in names if name in FILES}
    parents = {name.rsplit(".", k)[0] for name in own for k in range(1, name.count(".") + 1)}
    others = {name for name in names - own if name.split(".")[0] not in sys.stdlib_module_names | {"vxl"}}
    return own | parents, {n if n.startswith(PARTS_OF_TORCH) else n.split(".")[0] for n in others}


@cache
def all_statements(name: str) -> list[tuple[ast.Import | ast.ImportFrom, int]]:
    """The imports of a module of vxl; see `statements`."""
    return list(statements(parsed(name).body))


@cache
def packages(name: str) -> frozenset[str]:
    """The packages that importing a module of vxl needs, through all that it imports at once."""
    seen, to_read, needed = set(), [name], set()
    while to_read:
        module = to_read.pop()
        if module in seen:
            continue
        seen.add(module)
        for statement, late in all_statements(module):
            if not late:
                own, others = imported(statement)
                needed |= others
                to_read += own
    return frozenset(needed)


def test_imports_that_cost_nothing_stand_at_the_top() -> None:
    hidden = []
    for name in FILES:
        for statement, late in all_statements(name):
            if late and not saved(name, statement):
                hidden.append(f"{FILES[name].relative_to(ROOT)}:{statement.lineno} {ast.unparse(statement)}")
    assert not hidden, "\n".join(["nothing is saved by importing these late:", *hidden])


def saved(name: str, statement: ast.Import | ast.ImportFrom) -> set[str]:
    """The packages that a module does not need as long as it does without an import."""
    own, others = imported(statement)
    return others.union(*map(packages, own)) - packages(name)


def test_late_imports_say_what_they_save() -> None:
    silent = []
    for name in FILES:
        file_imports = all_statements(name)
        lines = FILES[name].read_text().splitlines()
        for first in sorted({first for _, first in file_imports if first}):
            among = [statement for statement, line in file_imports if line == first]
            above = first - 1 if lines[first - 2].strip().startswith("#") else first
            reason = re.search(r"# late: (.+)", "\n".join(lines[above - 1 : among[0].end_lineno]))
            names = {package for statement in among for package in saved(name, statement)}
            names |= {package.rsplit(".", 1)[-1] for package in names} | {"pyav" for n in names if n == "av"}
            if reason is None or not any(package.lower() in reason[1].lower() for package in names):
                silent.append(f"{FILES[name].relative_to(ROOT)}:{first} {lines[first - 1].strip()}")
    assert not silent, "\n".join(["name a package that is saved, after `# late: `:", *silent])


@pytest.mark.parametrize(
    "module", ["vxl.config.schema", "vxl.config.check", "vxl.checkpoint.load", "vxl.evaluate.run"]
)
def test_a_wrong_word_is_answered_without_what_only_training_needs(module: str) -> None:
    slow = ("lightning", "transformers", "torch.distributed.tensor", "torch._dynamo")
    assert [package for package in packages(module) if package.startswith(slow)] == []
