"""`--help` of train.py and evaluate.py."""

import re
import sys

import pytest

from vxl.config.catalog import options_by_group
from vxl.config.command import run_command


def shown(name: str, *words: str) -> int:
    return run_command(name, lambda config, composed: None, words)


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_it_lists_every_option_and_key_within_the_terminal(width, monkeypatch, capsys) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    assert shown("train", "--help", "kv=snapkv", "+sweep=seeds") == 0
    text = capsys.readouterr().out
    options, keys = text.split("\nKeys and their values:\n")
    assert "python train.py    GROUP=NAME key=value" in options
    assert max(map(len, options.splitlines())) <= width
    one_line = re.sub(r"\n  (?=\w)", " ", options)
    for group, names in options_by_group().items():
        assert f"\n{group}: {', '.join(names)}\n" in one_line
    assert "_target_: vxl.kv.snapkv.SnapKV\n" in keys
    assert "trainer:\n" in keys


def test_evaluations_help_shows_its_own_keys(capsys) -> None:
    assert shown("evaluate", "kv=recent", "-h") == 0
    keys = capsys.readouterr().out.split("\nKeys and their values:\n")[1]
    assert "change:\n- kv=recent\n" in keys
    assert "trainer:" not in keys


def test_an_option_that_does_not_exist_is_named(capsys) -> None:
    assert shown("train", "--help", "kv=snapk") == 2
    assert "did you mean kv=snapkv?" in capsys.readouterr().err


def test_a_reader_that_leaves_early_is_no_error(monkeypatch, capsys) -> None:
    def closed(*arguments: object, **more: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("vxl.config.command.say", closed)
    monkeypatch.setattr(sys, "stderr", open("/dev/null", "w"))  # noqa: SIM115 -- closed by what is tested
    assert shown("train", "--help") == 141
