import json
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
import yaml

from vxl.cli.main import main
from vxl.cli.words import sort_words
from vxl.errors import ConfigError

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "lightning", "hydra", "omegaconf", "transformers", "wandb", "av", "numpy", "rich")


# Sizes are counted on an outline of the model.
NOT_FOR_SIZES = ("lightning", "transformers", "wandb", "scipy", "matplotlib", "generate", "_dynamo", "sympy")


def run(*words: str) -> int:
    """The exit status of a command."""
    try:
        main(words)
    except SystemExit as exit:
        return int(exit.code or 0)
    return 0


def make_run(root: Path, name: str, **config: object) -> None:
    (root / name).mkdir(parents=True)
    (root / name / "resolved.yaml").write_text(
        yaml.safe_dump({"seed": 0, "compressor": {"ratio": 16}} | config)
    )
    (root / name / "RESULT.json").write_text(json.dumps({"loss_last": 0.5}))


def test_help_is_quick_since_it_imports_nothing_heavy() -> None:
    code = (
        "import sys\ntry:\n"
        "    from vxl.cli.main import main\n    main(['--help'])\nexcept SystemExit as exit:\n"
        f"    print([name for name in {HEAVY} if name in sys.modules], exit.code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[] 0"
    for command in (
        "ask",
        "serve",
        "shards",
        "import",
        "export",
        "compare",
        "wandb",
        "runs",
        "explain",
        "bench",
    ):
        assert f"  {command} " in done.stdout


def test_a_checkout_that_is_not_installed_has_commands_too(monkeypatch, capsys) -> None:
    def absent(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("vxl.cli.main.version", absent)
    assert run("--version") == 0
    assert "(not installed)" in capsys.readouterr().out


def test_the_package_alone_imports_nothing_heavy() -> None:
    code = f"import sys, vxl; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_words_are_settings_or_not_in_any_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a=b.mp4").write_bytes(b"")
    words = sort_words(
        ["clip.mp4", "run=x", "Is x=3 there?", "video.max_frames=64", "a=b.mp4", "options=a|b=c"]
    )
    assert words.rest == ["clip.mp4", "Is x=3 there?", "a=b.mp4"]
    assert words.settings == {"run": "x", "video.max_frames": "64", "options": "a|b=c"}
    with pytest.raises(ConfigError, match="run is given twice: a and b"):
        sort_words(["run=a", "run=b"])


def test_compare_prints_a_table_and_writes_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for ratio in (4, 16):
        make_run(tmp_path, f"s/ratio={ratio}", compressor={"ratio": ratio})
    assert run("compare", f"paths.runs={tmp_path}", "s", f"json={tmp_path}/out.json") == 0
    assert "\n 16 " in capsys.readouterr().out
    assert len(json.loads((tmp_path / "out.json").read_text())["members"]) == 2


def test_runs_lists_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(tmp_path, "tiny-1234")
    assert run("runs", f"paths.runs={tmp_path}") == 0
    out = capsys.readouterr().out
    assert "tiny-1234" in out
    assert "finished" in out
    assert run("runs", f"paths.runs={tmp_path}/none") == 0
    assert "no runs in" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["compare", "nothing"], "config error: there is no run 'nothing' in"),
        (["compare"], "config error: vxl compare needs a sweep or runs."),
        (["runs", "stauts=failed"], "did you mean status?\n  settings: status, since, sort, paths.runs"),
        (["explain", "compresor=dts"], "did you mean vxl explain compressor=dts?"),
    ],
)
def test_mistakes_are_one_message_and_status_2(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_run(tmp_path, "tiny-1234")
    where = [] if words[0] == "explain" else [f"paths.runs={tmp_path}"]
    assert run(*words, *where) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error


def test_debug_shows_where_a_mistake_was_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("compare", "nothing", f"paths.runs={tmp_path}", "debug=traceback") == 2
    assert "Traceback" in capsys.readouterr().err


def test_runs_folder_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vxl.run.find import runs_folder

    monkeypatch.setattr("vxl.run.find.CONF", tmp_path)
    assert runs_folder() == Path("runs")
    (tmp_path / "paths").mkdir()
    (tmp_path / "paths" / "default.yaml").write_text("runs: somewhere\ncache: x\n")
    assert runs_folder() == Path("somewhere")
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / "default.yaml").write_text("# @package _global_\npaths:\n  runs: /big/disk\n")
    assert runs_folder() == Path("/big/disk")
    assert runs_folder("given") == Path("given")


@pytest.mark.parametrize(
    ("words", "status", "absent"),
    [
        (["explain"], 0, HEAVY[:-1]),
        (["explain", "kv", "kv.keep", "kv=snapkv", "optim=adamw", "trainer.max_steps"], 0, HEAVY[:-1]),
        (["explain", "kvv"], 2, HEAVY[:-1]),
        (["explain", "kv.kepe"], 2, HEAVY[:-1]),
        (["ask"], 2, ("torch", "hydra", "lightning")),
        (["compare", "none"], 2, ("torch", "hydra", "lightning")),
        (["ask", "modl=x", "a.mp4", "what?"], 2, ("torch", "hydra", "lightning")),
        (["train", "model=tiny", "kv.kepe=1"], 2, HEAVY[:2]),
        (["train", "model=tiny", "kv=strea"], 2, HEAVY[:2]),
        (["train", "model=tiny", "dry_run=true"], 0, NOT_FOR_SIZES),
        (["train", "model=tiny", "dry_run=true", "+sweep=compression"], 0, NOT_FOR_SIZES),
        (["explain", "cost", "model=tiny"], 0, NOT_FOR_SIZES[:-2]),
    ],
)
def test_what_needs_no_model_is_answered_without_importing_one(
    words, status, absent, tmp_path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    code = (  # what was executed, since stand-ins have the names of packages
        "import sys\nran = set()\n"
        "sys.addaudithook(lambda event, seen: ran.add(seen[0].co_filename) if event == 'exec' else None)\n"
        "from vxl.cli.main import main\n"
        f"try:\n    main({words})\nexcept SystemExit as end:\n    assert end.code == {status}, end.code\n"
        f"print([name for name in {absent} if any(f.endswith(f'/{{name}}/__init__.py') for f in ran)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_help_of_ask_names_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    from vxl.cli.ask import SETTINGS

    assert run("ask", "--help") == 0
    shown = capsys.readouterr().out
    assert [key for key in SETTINGS if f"{key}=" not in shown] == []


def test_vxl_alone_shows_its_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert run() == 2
    assert "explain" in capsys.readouterr().out


def test_the_package_lists_what_it_offers() -> None:
    import vxl

    assert {"Clip", "load", "load_context", "save_context", "list_runs"} < set(dir(vxl))
    assert all(callable(getattr(vxl, name)) for name in dir(vxl))


def test_words_may_stand_behind_an_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """argparse gives a command the words in front of an option, and would refuse those behind it."""
    out = tmp_path / "out"
    assert run("export", "none", str(out), "--layout", "vxl", f"paths.runs={tmp_path}") == 2
    assert f"no run 'none' in {tmp_path}/" in " ".join(capsys.readouterr().err.split())
    assert run("runs", "--wide") == 2
    assert "unrecognized arguments: --wide" in capsys.readouterr().err


@pytest.mark.parametrize("setting", ["html", "json", "csv"])
def test_a_comparison_that_cannot_be_written_names_its_setting(
    setting: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in "ab":
        make_run(tmp_path, name)
    (tmp_path / "file").write_text("")
    words = ["a", "b", f"{setting}={tmp_path / 'file' / 'page'}", f"paths.runs={tmp_path}"]
    assert run("compare", *words) == 2
    assert capsys.readouterr().err.endswith(f"write elsewhere:  {setting}=FILE\n")
