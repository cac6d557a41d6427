"""`vxl serve` from the command line: what the documentation says to type, mistakes, and a kill -9."""

import contextlib
import io
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from tests.run_directories import make_run
from tests.test_readme import TYPED
from vxl.cli.main import main
from vxl.serve.config import SETTINGS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "serve.md").read_text()
USUAL = "127.0.0.1:8000"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like a checkout in which a run `first` was trained."""
    folder = tmp_path_factory.mktemp("place")
    make_run(folder / "runs", "first", steps=(10,))
    (folder / "examples").symlink_to(ROOT / "examples")
    (folder / "key.txt").write_text("secret\n")
    (folder / "videomme" / "data").mkdir(
        parents=True
    )  # where docs/lmms_eval.md has the videos of a benchmark
    return folder


@pytest.fixture
def listened(place: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What would have been listened with."""
    called: list[Any] = []
    monkeypatch.chdir(place)
    monkeypatch.delenv("VXL_SERVE_KEY", raising=False)
    monkeypatch.setattr("vxl.serve.listen.listen", lambda *given: called.append(given))
    return called


@pytest.mark.parametrize(
    "command", [line for line in TYPED if line.startswith("vxl serve ") and "--help" not in line]
)
def test_what_is_said_to_be_typed_serves(command: str, listened: list[Any]) -> None:
    main(shlex.split(command)[1:])
    ((loaded, config, _),) = listened
    assert loaded.checkpoint.parents[1].name == "first"
    assert config.port == 8000


def test_settings_of_the_server_and_of_the_model_stand_together(listened: list[Any], place: Path) -> None:
    words = "port=0 kv=snapkv run=first kv.keep=0.25 files=examples|runs name=mine contexts=null page=false"
    main(["serve", *words.split(" ")])
    ((loaded, config, _),) = listened
    assert (loaded.config.kv.keep, config.port, config.name, config.contexts) == (0.25, 0, "mine", None)
    assert config.files == (Path("examples"), Path("runs"))
    assert not config.page


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("", ["vxl serve needs a model", "vxl serve RUN port=8000"]),
        ("first second", ["serves one model; got first, second"]),
        ("first run=other", ["run is given twice: first and other"]),
        ("nothing", ["there is no run 'nothing'"]),
        ("first prot=8000", ["there is no key prot", "or port"]),
        ("first port=http", ["port=http has the wrong type", "expected: int"]),
        (
            "first port=99999 batch=0 files=nowhere domains=http://a.org host=0.0.0.0",
            [
                "port=99999 is no port",
                "batch=0",
                "files=nowhere is no folder",
                "domains=http",
                "there is no key",
            ],
        ),
        ("first host=0.0.0.0 key_file=absent.txt", ["key_file=absent.txt can't be read"]),
        ("first contexts=key.txt/x", ["contexts=key.txt/x can't be used", "contexts=null"]),
        ("first video.decoder=torchcodec video.device=cuda", ["video.device=cuda: torch"]),
        ("first host=192.0.2.1 open=true", ["host=192.0.2.1 port=8000 can't be listened at"]),
    ],
)
def test_mistakes_are_said_at_once(
    words: str,
    said: list[str],
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(place)
    with pytest.raises(SystemExit) as left:
        main(["serve", *words.split()])
    assert left.value.code == 2
    error = capsys.readouterr().err
    assert all(text in error for text in said), error


def test_the_help_names_every_setting_within_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["serve", "--help"])
    screen = capsys.readouterr().out
    assert [name for name in SETTINGS if f"{name}=" not in screen] == []
    assert max(map(len, screen.splitlines())) <= 80


def test_packages_that_are_not_there_are_named(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(place)
    monkeypatch.delitem(sys.modules, "vxl.serve.listen", raising=False)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(SystemExit):
        main(["serve", "first"])
    assert "uvicorn is not installed.\n  type  pip install 'vxl[serve]'" in capsys.readouterr().err


@contextlib.contextmanager
def serving(place: Path, *more: str) -> Generator[tuple[subprocess.Popen[str], str]]:
    """The first command of the documentation as a process, and where it listens."""
    command = next(line for line in TYPED if line.startswith("vxl serve first") and line in PAGE.splitlines())
    words = [sys.executable, "-m", "vxl.cli", *shlex.split(command)[1:], "port=0", *more]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(words, cwd=place, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.fullmatch(
            r"first at http://(127\.0\.0\.1:\d+)/v1, and a page to try it at http://\1/\n", line
        )
        assert found, line
        yield process, found[1]
    finally:
        process.kill()
        process.wait()


def run_python(address: str) -> list[str]:
    """What the documentation's Python prints."""
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(block.replace(USUAL, address), {})
    return re.findall(r"cached_tokens=(\d+)", out.getvalue())


@pytest.mark.slow
def test_what_was_watched_is_there_after_a_kill(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openai")
    monkeypatch.chdir(place)
    with serving(place) as (process, address):
        first = run_python(address)
        assert first[0] == "0"
        assert int(first[1]) > 0
        blocks = re.findall(r"```bash\n(.*?)```", PAGE, re.S)
        asked = re.findall(r"^curl .*?(?=^curl |\Z)", blocks[1], re.S | re.M)
        assert len(asked) == 4
        for command in asked if shutil.which("curl") else ():
            typed = ["bash", "-c", command.replace(USUAL, address)]
            done = subprocess.run(typed, capture_output=True, text=True, check=True, cwd=place)
            assert "error" not in done.stdout.partition("# HELP")[0], done.stdout
        process.send_signal(signal.SIGKILL)
        process.wait()
    with serving(place) as (process, address):
        assert run_python(address) == [first[1], first[1]]
        process.terminate()
        assert process.wait(30) in (0, -signal.SIGTERM)
