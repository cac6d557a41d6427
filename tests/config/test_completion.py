"""What Tab offers, asked of the function, and of a real bash."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_floors import ROOT
from vxl.cli.main import main
from vxl.config.completion import SHELLS, offers
from vxl.errors import ConfigError
from vxl.option.files import option_files


def finished(run: Path) -> None:
    """A run, as far as its name goes."""
    run.mkdir(parents=True)
    (run / "resolved.yaml").write_text("{}")
    (run / "RESULT.json").write_text("{}")


def test_groups_then_options_then_keys() -> None:
    assert offers("train", [], "compr") == ["compressor="]
    assert offers("train", [], "kv=") == [f"kv={name}" for name in option_files("kv")]
    assert offers("train", [], "kv=full,sna") == ["kv=full,snapkv"]
    of_pool = offers("train", ["compressor=pool"], "compressor.p")
    assert of_pool == ["compressor.pool="]
    assert "compressor.published_layout=" in offers("train", [], "compressor.p")
    assert offers("train", [], "dry_run=") == ["dry_run=false", "dry_run=true"]
    assert offers("evaluate", [], "lim") == ["limit="]
    assert offers("explain", [], "compr") == ["compressor"]
    assert offers("ask", [], "max_new", ["max_new_tokens", "stop"]) == ["max_new_tokens="]
    assert offers("runs", [], "stat", ["status"]) == ["status="]
    assert offers("train", [], "+swe") == ["+sweep="]
    assert offers("train", [], "+sweep=comp") == ["+sweep=compression"]
    assert offers("runs", [], "wa") == ["watch"]
    assert offers("ask", [], "film.m") == []  # the shell offers files then


def test_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    finished(tmp_path / "runs" / "first")
    assert offers("ask", [], "run=") == ["run=first"]
    assert offers("serve", [], "fi", ["files"]) == ["files=", "first"]
    assert offers("compare", [], "f") == ["first"]
    assert offers("runs", ["watch"], "f") == ["first"]


def test_another_shell_is_refused() -> None:
    from vxl.config.completion import run_completion

    with pytest.raises(ConfigError, match="one of bash, zsh, fish; got tcsh"):
        run_completion(["tcsh"])


@pytest.mark.parametrize("shell", SHELLS)
def test_the_code_is_the_shells(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    main(["completion", shell])
    code = capsys.readouterr().out
    assert "vxl" in code
    if shutil.which(shell):
        done = subprocess.run([shell, "-n"], input=code, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("vxl tra", {"train "}),
        ("vxl train compressor=dts_", {"dts_published "}),
        ("vxl train compressor=pool compressor.po", {"compressor.pool="}),
        ("vxl ask run=", {"first "}),
        ("vxl shards li", {"lint "}),
        ("vxl export --lay", {"--layout "}),
    ],
)
def test_bash_completes(tmp_path: Path, typed: str, offered: set[str]) -> None:
    finished(tmp_path / "runs" / "first")
    vxl = tmp_path / "bin" / "vxl"
    vxl.parent.mkdir()
    vxl.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m vxl.cli "$@"\n')
    vxl.chmod(0o755)
    # What readline does when Tab is pressed: it splits the line, `=` apart, and calls the function.
    words = [part for word in shlex.split(typed) for part in parted(word)]
    line = f"""
    eval "$(vxl completion bash)"
    COMP_LINE={shlex.quote(typed)} COMP_POINT={len(typed)} COMP_TYPE=9
    COMP_WORDS=({shlex.join(words)}) COMP_CWORD={len(words) - 1}
    _python_argcomplete vxl {shlex.quote(words[-1])} {shlex.quote(words[-2])}
    printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    path = {"PATH": f"{vxl.parent}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-c", line], cwd=tmp_path, env=os.environ | path, capture_output=True, text=True, timeout=120
    )
    assert set(done.stdout.split("\n")) - {""} == offered, done.stderr


def parted(word: str) -> list[str]:
    """A word as bash breaks it: `a=b` is three."""
    key, equals, value = word.partition("=")
    return [key, equals, value] if equals else [key]
