"""Modules of a package as flat files that import each other relatively, and no others.

transformers loads a model's code from single files in one folder: it follows lines of the form
`from .name import …` only, and looks whether packages that are imported outside a `try` are installed.
"""

import ast
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from vxl.errors import CheckpointError

REQUIRED = {"torch", "transformers", "safetensors", "numpy", "PIL", "av", "typing_extensions"}
"""Packages without which the flat files can't be used; what else is imported is for single functions."""
HANDLE = "this_module"
"""What a flat module calls itself, for those that import it as a whole."""


@dataclass(frozen=True)
class Edit:
    """Lines [first, last] of a file, counted from 1, and what stands there instead."""

    first: int
    last: int
    text: str


def flatten(
    roots: Mapping[str, str], others: Iterable[str] = (), replaced: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The flat files of some modules and of all that they import: {name without .py: source}.

    Comments and lines stay as they are; only imports change. A name that a package's `__init__` hands on
    comes from where it is defined. Imports for types alone are left out.

    Args:
        roots: {module: name of its file}, which have names of their own.
        others: Further modules to take in, which none need import.
        replaced: {module: source that stands in its place}, flat already.

    Example:
        >>> sorted(flatten({"vxl.atomic": "atomic"}))
        ['atomic', 'errors']
    """
    files: dict[str, str] = {}
    waiting, handled = [*roots, *others], set[str]()
    whole: set[str] = set()
    packages = {module.split(".")[0] for module in (*roots, *waiting)}
    while waiting:
        module = waiting.pop()
        if module in handled:
            continue
        handled.add(module)
        if replaced and module in replaced:
            files[module] = replaced[module]
            continue
        edits = []
        for statement, for_types in _imports(_parsed(module).body):
            if for_types:
                edits.append(Edit(statement.lineno, statement.end_lineno or 0, ""))
                continue
            if (lines := _rewritten(statement, module, roots, packages)) is not None:
                needed, as_whole, text = lines
                waiting += needed
                whole |= as_whole
                edits.append(_edit(statement, text))
        files[module] = _edited(_source(module), edits)
    return {
        flat_name(module, roots): _with_handle(text) if module in whole else text
        for module, text in sorted(files.items())
    }


def flat_name(module: str, roots: Mapping[str, str] | None = None) -> str:
    """What the file of a module is called: `vxl.llm.cache.size` is `llm_cache_size`.

    Modules of other packages keep their package's name: `mylab.errors` is `mylab_errors`.
    """
    if roots and module in roots:
        return roots[module]
    return module.removeprefix("vxl.").replace(".", "_")


def _rewritten(
    statement: ast.stmt, module: str, roots: Mapping[str, str], packages: set[str]
) -> tuple[list[str], set[str], list[str]] | None:
    """(modules that it needs, those of them that are imported whole, its lines); None = it stays."""
    if isinstance(statement, ast.Import):
        if any(alias.name.split(".")[0] in packages for alias in statement.names):
            raise CheckpointError(
                f"{module}, line {statement.lineno}: `{ast.unparse(statement)}` can't be exported.\n"
                "  write  from PACKAGE import MODULE  in its place"
            )
        outside = {alias.name.split(".")[0] for alias in statement.names}
        return None if _is_there(outside) else ([], set(), _guarded(statement))
    assert isinstance(statement, ast.ImportFrom)
    source = _imported_from(statement, module)
    if source.split(".")[0] not in packages:
        return None if _is_there({source.split(".")[0]}) else ([], set(), _guarded(statement))
    needed: list[str] = []
    whole: set[str] = set()
    names: dict[str, list[str]] = {}
    for alias in statement.names:
        called = alias.asname or alias.name
        if _file(f"{source}.{alias.name}") is not None:
            needs, name = f"{source}.{alias.name}", HANDLE
            whole.add(needs)
        else:
            needs, name = _defined_in(source, alias.name)
        needed.append(needs)
        renamed = "" if called == name else f" as {called}"
        names.setdefault(flat_name(needs, roots), []).append(f"{name}{renamed}")
    return needed, whole, [f"from .{file} import {', '.join(listed)}" for file, listed in names.items()]


def _imported_from(statement: ast.ImportFrom, module: str) -> str:
    """The whole name of what a statement imports from: `from .x import y` is of the module's own package."""
    if not statement.level:
        return statement.module or ""
    file = _file(module)
    is_package = file is not None and file.name == "__init__.py"
    above = module.split(".")[: len(module.split(".")) - statement.level + is_package]
    return ".".join([*above, *([statement.module] if statement.module else [])])


def _is_there(packages: set[str]) -> bool:
    return packages <= REQUIRED | sys.stdlib_module_names


def _guarded(statement: ast.stmt) -> list[str]:
    """An import that transformers does not look at: the package need not be there."""
    return ["try:", f"    {ast.unparse(statement)}", "except ImportError:", "    raise"]


@cache
def _defined_in(module: str, name: str) -> tuple[str, str]:
    """Where a name is defined that a module may only hand on: (module, name there)."""
    for statement in _parsed(module).body:
        if isinstance(statement, ast.ImportFrom):
            source = _imported_from(statement, module)
            for alias in statement.names:
                own = source.split(".")[0] == module.split(".")[0]
                if own and (alias.asname or alias.name) == name:
                    return _defined_in(source, alias.name)
    return module, name


@cache
def _source(module: str) -> str:
    file = _file(module)
    assert file is not None, module
    return file.read_text(encoding="utf-8")


@cache
def _parsed(module: str) -> ast.Module:
    return ast.parse(_source(module))


@cache
def _file(module: str) -> Path | None:
    """The source of a module or a package; None if there is none of that name."""
    package, *inside = module.split(".")
    spec = find_spec(package)
    assert spec is not None, package
    if not spec.submodule_search_locations:  # a plain module
        return Path(str(spec.origin)) if not inside else None
    place = Path(spec.submodule_search_locations[0]).joinpath(*inside)
    found = (place.with_suffix(".py"), place / "__init__.py") if inside else (place / "__init__.py",)
    return next((file for file in found if file.is_file()), None)


def _imports(body: list[ast.stmt], for_types: bool = False) -> Iterator[tuple[ast.stmt, bool]]:
    """The imports of a file wherever they stand; a block under `TYPE_CHECKING` as a whole, marked."""
    for statement in body:
        if isinstance(statement, ast.If) and ast.unparse(statement.test) == "TYPE_CHECKING":
            yield statement, True
        elif isinstance(statement, ast.Import | ast.ImportFrom):
            yield statement, for_types
        else:
            for field in ("body", "orelse", "finalbody"):
                yield from _imports(getattr(statement, field, []), for_types)
            for handler in getattr(statement, "handlers", []):
                yield from _imports(handler.body, for_types)


def _edit(statement: ast.stmt, lines: list[str]) -> Edit:
    indent = " " * statement.col_offset
    return Edit(
        statement.lineno, statement.end_lineno or statement.lineno, "\n".join(indent + x for x in lines)
    )


def _edited(source: str, edits: list[Edit]) -> str:
    lines = source.split("\n")
    for edit in sorted(edits, key=lambda edit: edit.first, reverse=True):
        lines[edit.first - 1 : edit.last] = [edit.text] if edit.text else []
    return "\n".join(lines)


def _with_handle(source: str) -> str:
    """A module that can be imported as a whole, behind its docstring."""
    tree = ast.parse(source)
    documented = ast.get_docstring(tree) is not None
    after = (tree.body[0].end_lineno or 0) if documented else 0
    lines = source.split("\n")
    handle = ["", "import sys", "", f"{HANDLE} = sys.modules[__name__]"]
    return "\n".join([*lines[:after], *handle, *lines[after:]])
