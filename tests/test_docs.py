"""The pages' Python, run as it stands there."""

import re
from pathlib import Path

import pytest

from tests.run_directories import make_run
from vxl.export.write import export_transformers
from vxl.generate.loaded import LoadedModel

ROOT = Path(__file__).parents[1]


def blocks(page: str) -> list[str]:
    """The Python of a page."""
    return re.findall(r"```python\n(.*?)```", (ROOT / "docs" / page).read_text(), re.S)


def test_load_watch_and_ask_are_ten_lines() -> None:
    block = blocks("python.md")[0]
    assert len([line for line in block.splitlines() if line.strip()]) <= 10
    assert all(word in block for word in ("vxl.load(", ".watch(", ".ask("))


# The first page trains and evaluates.
@pytest.mark.parametrize("page", [pytest.param("python.md", marks=pytest.mark.slow), "kv.md", "export.md"])
def test_runs(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path / "runs", "first")
    if page == "export.md":
        export_transformers(run, tmp_path / "exported" / "first")
        monkeypatch.setenv("HF_MODULES_CACHE", str(tmp_path / "modules"))
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    # An untrained model never ends its answer.
    monkeypatch.setitem(LoadedModel.ask_all.__kwdefaults__, "max_new_tokens", 8)
    names: dict[str, object] = {}
    for block in blocks(page):
        exec(block, names if page == "export.md" else {})
    assert len(capsys.readouterr().out.splitlines()) >= 2
