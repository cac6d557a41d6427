"""What may be typed: words that are text, and names that a file can have."""

import errno
from pathlib import Path

import pytest

from vxl.checkpoint.source import find_source, find_weights
from vxl.cli.main import main
from vxl.config.command import run_command
from vxl.errors import CheckpointError, ConfigError
from vxl.run.find import find_members, find_run
from vxl.terminal.typed import can_be_path, name_too_long, read_words, refuse_no_text

LONG = ["n" * 300, "世" * 100, "a\0b", "half \ud83d"]


@pytest.mark.parametrize("word", LONG, ids=["letters", "bytes", "zero", "half a letter"])
def test_a_word_that_no_file_can_be_called_names_nothing(word: str, tmp_path: Path) -> None:
    assert not can_be_path(word)
    for find in (find_run, find_members, find_source):
        with pytest.raises(ConfigError, match="there is no run"):
            find(word, tmp_path)
    with pytest.raises(CheckpointError, match="neither a run in"):
        find_weights(word, tmp_path)


@pytest.mark.parametrize("word", ["n" * 255, "gone/away", "x=3", "."])
def test_a_word_that_a_file_could_be_called(word: str) -> None:
    assert can_be_path(word)


def test_a_word_taken_for_a_file_and_too_long_is_a_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever a word becomes a path: here an output's and that of train.py."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "v.txt").write_text("a caption")
    with pytest.raises(SystemExit) as ended:
        main(["shards", "write", "o" * 300, "--folder", "."])
    assert ended.value.code == 2
    assert "is too long for the name of a file" in capsys.readouterr().err

    def opens(*_: object) -> None:
        Path("c" * 300).read_text()

    assert run_command("train", opens, ["model=tiny", "dry_run=false", f"paths.runs={tmp_path}"]) == 2
    assert "is too long for the name of a file (300 letters)" in capsys.readouterr().err
    assert name_too_long(OSError(errno.ENOENT, "gone", "x")) is None


@pytest.mark.parametrize("words", [["runs", "a\udcff"], ["train", "name=a\udcff"], ["explain", "\udcff"]])
def test_bytes_that_are_no_text_are_refused_by_every_command(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert "it holds bytes that are not UTF-8" in capsys.readouterr().err
    assert run_command("evaluate", lambda *_: None, words) == 2
    with pytest.raises(ConfigError, match=r"'a\\udcff' is no text"):
        refuse_no_text(["plain", "a\udcff"])


def test_the_home_folder_in_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shells replace `~` at the beginning of a word alone."""
    monkeypatch.setenv("HOME", "/home/me")
    words = [
        "data.json=~/a.json",
        "data.train=[~/a/*.tar,~/b.tar]",
        "x=a~b",
        "~kv",
        "~/v.mp4",
        "is x=~/y it?",
    ]
    assert read_words(words) == [
        "data.json=/home/me/a.json",
        "data.train=[/home/me/a/*.tar,/home/me/b.tar]",
        *words[2:],
    ]


@pytest.mark.parametrize("word", ["name=", "+kv.keep=", "html=", "hydra/launcher="])
def test_a_key_without_a_value(word: str, capsys: pytest.CaptureFixture[str]) -> None:
    for command in ("train", "evaluate"):
        assert run_command(command, lambda *_: None, [word]) == 2
        assert f"error: {word} has no value" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["compare", "first", word])
    assert f"error: {word} has no value" in capsys.readouterr().err
