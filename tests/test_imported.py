"""What is imported for good: the garbage collector is on again, and walks through none of it."""

import gc
import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from vxl.imported import imported_for_good

MANY = 1000


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a module of many objects that nobody has imported."""
    name = "imported_by_no_other_test"
    (tmp_path / f"{name}.py").write_text(f"things = [[] for _ in range({MANY})]\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, name, raising=False)
    yield name
    assert gc.isenabled()


def test_what_is_imported_is_left_alone_once(module: str) -> None:
    before = gc.get_freeze_count()
    with imported_for_good():
        assert not gc.isenabled()
        things = importlib.import_module(module).things
    assert gc.isenabled()
    assert gc.get_freeze_count() >= before + MANY
    before = gc.get_freeze_count()
    with imported_for_good():
        assert importlib.import_module(module).things is things
    assert gc.get_freeze_count() <= before  # nothing new was imported: what is garbage now is still found


def test_a_failed_import_leaves_the_collector_on_and_a_collector_that_is_off_stays_off() -> None:
    with pytest.raises(ModuleNotFoundError), imported_for_good():
        importlib.import_module("there_is_no_such_module")
    assert gc.isenabled()
    gc.disable()
    try:
        with imported_for_good():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
