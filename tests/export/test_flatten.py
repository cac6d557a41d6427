import ast
import re
import sys
from pathlib import Path

import pytest

from tests.small_model import settings
from tests.test_floors import FILES
from vxl.errors import CheckpointError
from vxl.export.flatten import HANDLE, REQUIRED, flatten
from vxl.export.write import ROOTS, code
from vxl.kv.snapkv import SnapKVConfig
from vxl.option.files import option_files


def modules_of_options() -> list[str]:
    """The modules of every option that a model may name."""
    groups = ("video", "vision", "compressor", "prune", "selector", "llm", "prefill", "kv", "relevance")
    files = [file.read_text() for group in groups for file in option_files(group).values()]
    found = {re.search(r"^_target_: (\S+)\.\w+$", text, re.M) for text in files}
    return sorted({target[1] for target in found if target is not None})


@pytest.fixture(scope="module")
def everything() -> dict[str, str]:
    """The files of a model that has every option at once."""
    return flatten(ROOTS, modules_of_options())


def imports_of(source: str) -> list[ast.ImportFrom | ast.Import]:
    return [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import | ast.ImportFrom)]


def test_no_file_imports_vxl_and_every_relative_import_is_there(everything: dict[str, str]) -> None:
    for name, source in everything.items():
        for node in imports_of(source):
            if isinstance(node, ast.Import):
                assert all(alias.name.split(".")[0] != "vxl" for alias in node.names), name
            elif node.level:
                assert node.level == 1, name
                assert node.module in everything, (name, node.module)
                there = defined(everything[str(node.module)])
                assert {alias.name for alias in node.names} <= there, (name, ast.unparse(node))
            else:
                assert str(node.module).split(".")[0] != "vxl", name


def defined(source: str) -> set[str]:
    names: set[str] = set()
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        for inner in ast.walk(node) if not isinstance(node, ast.FunctionDef | ast.ClassDef) else ():
            if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Store):
                names.add(inner.id)
    return names


def test_transformers_sees_every_import_that_matters(everything: dict[str, str]) -> None:
    """It follows `from .x import …` alone, and wants packages that are not in a `try` to be installed."""
    allowed = REQUIRED | sys.stdlib_module_names

    def unguarded(body: list[ast.stmt]) -> set[str]:
        found = set()
        for node in body:
            if isinstance(node, ast.Try):
                continue
            for inner in ast.iter_child_nodes(node):
                if isinstance(inner, ast.stmt):
                    found |= unguarded([inner])
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(str(node.module).split(".")[0])
        return found

    for name, source in everything.items():
        assert unguarded(ast.parse(source).body) <= allowed, name
        followed = set(re.findall(r"^\s*from\s+\.(\S+)\s+import", source, flags=re.MULTILINE))
        relative = {
            node.module for node in imports_of(source) if isinstance(node, ast.ImportFrom) and node.level
        }
        assert relative <= followed, name


def test_only_what_is_reached_is_taken() -> None:
    files = code(settings())
    assert not [name for name in files if name.startswith(("train", "evaluate", "compare", "config_", "cli"))]
    assert "kv_full" in files
    assert "kv_snapkv" not in files
    assert "SnapKV" in code(settings(kv=SnapKVConfig()))["export_targets"]


def test_sources_are_the_real_ones_but_for_their_imports() -> None:
    own = FILES["vxl.llm.rope"].read_text()
    flat = flatten({"vxl.llm.rope": "rope"})["rope"]
    assert flat.split("class Rotary")[1] == own.split("class Rotary")[1]


def test_a_module_imported_as_a_whole_hands_itself_on() -> None:
    files = flatten({"vxl.llm.decoder": "decoder"})
    assert f"from .llm_fused import {HANDLE} as fused" in files["decoder"]
    assert f"{HANDLE} = sys.modules[__name__]" in files["llm_fused"]


def test_every_file_compiles(everything: dict[str, str]) -> None:
    assert len([name for name in everything if name.startswith("kv_")]) > 20
    for name, source in everything.items():
        compile(source, name, "exec")


def test_a_package_of_a_users_own_is_taken_along_under_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "ourlab"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "errors.py").write_text("class Ours(Exception):\n    pass\n")
    (package / "part.py").write_text(
        "import einops\nfrom vxl.errors import VxlError\nfrom .errors import Ours\nfrom . import errors\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    files = flatten({"vxl.atomic": "atomic"}, ["ourlab.part"])
    assert files.keys() == {"atomic", "errors", "ourlab_errors", "ourlab_part"}
    lines = files["ourlab_part"].splitlines()
    assert "from .errors import VxlError" in lines
    assert "from .ourlab_errors import Ours" in lines
    assert f"from .ourlab_errors import {HANDLE} as errors" in lines
    assert lines[0] == "try:"  # transformers must not look for einops

    (package / "whole.py").write_text("import ourlab.errors\n")
    with pytest.raises(CheckpointError, match=r"line 1: `import ourlab\.errors`.*\n  write  from PACKAGE"):
        flatten({"vxl.atomic": "atomic"}, ["ourlab.whole"])
