import os
from collections.abc import Callable
from pathlib import Path

import pytest

from vxl.errors import CheckpointError
from vxl.generate import Context
from vxl.generate.loaded import LoadedModel
from vxl.serve.contexts import Contexts

QUESTION = "What is shown?"


@pytest.fixture(scope="module")
def context(loaded: LoadedModel, clips: Path) -> Context:
    return loaded.watch(clips / "city.mp4")


def counted(found: list[str]) -> Callable[[str], None]:
    return found.append


def said(loaded: LoadedModel, context: Context | None) -> str:
    assert context is not None
    return loaded.ask(context, QUESTION, max_new_tokens=6).text


def test_the_least_recently_used_goes_first(loaded: LoadedModel, context: Context) -> None:
    contexts = Contexts(None, 2 * context.cache_bytes, 0)
    for key in "ab":
        contexts.keep(key, context)
    assert contexts.find("a", loaded) is not None
    contexts.keep("c", context)
    assert [key in contexts for key in "abc"] == [True, False, True]
    assert contexts.memory_used == 2 * context.cache_bytes


def test_one_that_is_larger_than_all_is_not_held(loaded: LoadedModel, context: Context) -> None:
    contexts = Contexts(None, context.cache_bytes - 1, 0)
    contexts.keep("a", context)
    assert contexts.find("a", loaded) is None
    assert contexts.memory_used == 0


def test_another_process_finds_what_is_on_disk(loaded: LoadedModel, context: Context, tmp_path: Path) -> None:
    first = Contexts(tmp_path / "kept", 0, 10**9)
    first.keep("a", context)
    first.flush()
    found: list[str] = []
    second = Contexts(tmp_path / "kept", 10**9, 10**9, counted(found))
    assert said(loaded, second.find("a", loaded)) == said(loaded, context)
    assert said(loaded, second.find("a", loaded)) == said(loaded, context)
    assert second.find("b", loaded) is None
    assert found == ["disk", "memory", "none"]
    assert (tmp_path / "kept").stat().st_mode & 0o077 == 0


def test_the_disk_has_a_limit_and_remembers_what_was_used(
    loaded: LoadedModel, context: Context, tmp_path: Path
) -> None:
    contexts = Contexts(tmp_path, 0, 10**9)
    contexts.keep("a", context)
    contexts.flush()
    size = contexts.disk_used
    contexts = Contexts(tmp_path, 0, 2 * size + 1000)
    contexts.keep("b", context)
    contexts.flush()
    os.utime(tmp_path / "b", (1, 1))
    contexts = Contexts(tmp_path, 0, 2 * size + 1000)
    contexts.keep("c", context)
    contexts.flush()
    assert {folder.name for folder in tmp_path.iterdir()} == {"a", "c"}
    assert contexts.disk_used == sum(f.stat().st_size for f in tmp_path.rglob("*") if f.is_file())
    Contexts(tmp_path, 0, 0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("harm", ["cut", "flip", "renamed", "gone"])
def test_what_is_damaged_is_watched_again(
    harm: str, loaded: LoadedModel, context: Context, tmp_path: Path
) -> None:
    first = Contexts(tmp_path, 0, 10**9)
    first.keep("a", context)
    first.close()
    layer, key, found = tmp_path / "a" / "layer-000.safetensors", "a", []
    second = Contexts(tmp_path, 10**9, 10**9, counted(found))
    data = layer.read_bytes()
    if harm == "cut":
        layer.write_bytes(data[:-10])
    elif harm == "flip":
        layer.write_bytes(data[:-10] + bytes([data[-10] ^ 1]) + data[-9:])
    elif harm == "renamed":
        (tmp_path / "a").rename(tmp_path / "b")
        second, key = Contexts(tmp_path, 10**9, 10**9, counted(found)), "b"
    else:
        layer.unlink()
    assert second.find(key, loaded) is None
    assert found == ["damaged", "none"]
    assert not (tmp_path / key).exists()


def test_a_full_disk_costs_time_and_no_answer(
    loaded: LoadedModel, context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise CheckpointError("it can't be written: No space left on device")

    monkeypatch.setattr("vxl.serve.contexts.save_context", full)
    contexts = Contexts(tmp_path, 10**9, 10**9)
    contexts.keep("a", context)
    contexts.flush()
    assert contexts.find("a", loaded) is not None


def test_a_folder_that_cant_be_is_said_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="can't be used"):
        Contexts(tmp_path / "file" / "x", 0, 0)
