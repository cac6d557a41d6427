"""No text of a stranger's moves a cursor, changes a colour or turns a line round, whatever prints it."""

import ast
import contextlib
import io
import json
import logging
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.table import Table

from tests.compare.test_compare import dts, member
from tests.data.media import talk
from vxl.cli.main import main
from vxl.config.command import run_command
from vxl.terminal.say import PrintableRecord, fitted, guard_terminal, say, tell, typed_here
from vxl.terminal.screen import Screen, prose
from vxl.units import printable

ROOT = Path(__file__).parents[2]
HOSTILE = {
    "clear": "\x1b[2J",
    "clipboard": "\x1b]52;c;eA==\x07",
    "c1": "\x9b31m",
    "override": "\u202egnp.exe",
    "isolate": "\u2066x\u2069",
    "return": "good\rbad",
    "back": "ab\x08\x08",
    "tag": "\U000e0041",
}
OBEYED = set("\x1b\x07\x9b\u202e\u2066\u2069\r\x08\U000e0041")
ALL = "".join(HOSTILE.values())


def refuse_obeyed(shown: str) -> None:
    assert not OBEYED & set(shown), ascii(shown)


@pytest.fixture(autouse=True)
def guarded(monkeypatch: pytest.MonkeyPatch):
    """Undoes what a command does to its process."""
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    before = logging.getLogRecordFactory()
    yield
    logging.setLogRecordFactory(before)


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_a_text(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen(file=io.StringIO(), width=100, force_terminal=True, color_system=None)
    table = Table(title=text)
    table.add_column(text)
    table.add_row(text)
    screen.print(table, text, markup=False)
    screen.log(text)
    say(text)
    say(text, error=True)
    captured = capsys.readouterr()
    for shown in (captured.out, captured.err, screen.file.getvalue()):
        refuse_obeyed(shown)
    assert captured.out == captured.err == f"{printable(text)}\n" != f"{text}\n"


def test_colours_of_ones_own_stay() -> None:
    screen = Screen(file=io.StringIO(), width=100, force_terminal=True, color_system="standard")
    screen.print("[red]good[/] day")
    assert "\x1b[31mgood\x1b[0m day" in screen.file.getvalue()


def test_whatever_is_logged(capsys: pytest.CaptureFixture[str]) -> None:
    guard_terminal()
    seen = io.StringIO()
    handler = logging.StreamHandler(seen)
    other = logging.getLogger("any.package")
    other.addHandler(handler)
    other.warning("masked %s", ALL)
    other.removeHandler(handler)
    refuse_obeyed(seen.getvalue())
    assert "masked \\x1b[2J" in seen.getvalue()
    assert isinstance(logging.makeLogRecord({}), PrintableRecord)
    try:
        raise ValueError(ALL)
    except ValueError as error:
        sys.excepthook(type(error), error, error.__traceback__)
    captured = capsys.readouterr().err
    refuse_obeyed(captured)
    assert "Traceback" in captured


def prints_past(file: Path) -> list[str]:
    """Where a file prints, or makes a console, by itself."""
    found = []
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name in (
                "print",
                "Console",
                "rich.print",
                "get_console",
                "traceback.print_exc",
            ) or name.endswith(("stdout.write", "stderr.write", "print_exception")):
                found.append(f"{file.relative_to(ROOT)}:{node.lineno} {name}")
    return found


def test_nothing_prints_past_say_and_screen() -> None:
    files = [*(ROOT / "vxl").rglob("*.py"), ROOT / "train.py", ROOT / "evaluate.py"]
    ours = [file for file in files if file.parent != ROOT / "vxl/terminal"]
    assert not [place for file in ours for place in prints_past(file)]


def tar_of(folder: Path) -> Path:
    """A shard whose keys, and the text of one sample, are hostile."""
    path = folder / "hostile.tar"
    with tarfile.open(path, "w") as tar:
        for number, text in enumerate(HOSTILE.values()):
            data = json.dumps(talk() if number % 2 else {text: text}).encode()
            info = tarfile.TarInfo(f"k{number}{text}.json")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def list_of(folder: Path) -> Path:
    """A list that names hostile files."""
    path = folder / "list.json"
    path.write_text(json.dumps([{"id": text, "video": text, **talk()} for text in HOSTILE.values()]))
    return path


def runs_of(folder: Path) -> Path:
    """Runs with hostile configs, results and reasons."""
    for number, (name, text) in enumerate(HOSTILE.items()):
        run = member(folder, f"s/{name}", dts(number) | {"model": text}, {"loss_last": 0.5, text: text})
        (run / "provenance.json").write_text(json.dumps([{"command": text}]))
        (run / "FAILED.json").write_text(json.dumps({"error": text, "type": text}))
    return folder


def answers_of(folder: Path) -> Path:
    path = folder / "answers.jsonl"
    path.write_text(
        "".join(json.dumps({"key": t, "id": t, "text": t, "pred": t}) + "\n" for t in HOSTILE.values())
    )
    return path


def vxl(*words: object) -> None:
    main([str(word) for word in words])


def script(name: str, *words: object) -> None:
    """train.py or evaluate.py, as far as they come."""
    run_command(name, lambda config, composed: None, [str(word) for word in words])


COMMANDS: dict[str, Callable[[Path], None]] = {
    "shards index": lambda at: vxl("shards", "index", tar_of(at), "--cache", at),
    "shards lint": lambda at: vxl("shards", "lint", tar_of(at), "--cache", at),
    "shards lint list": lambda at: vxl("shards", "lint", list_of(at), "--videos", at, "--cache", at),
    "shards stats": lambda at: vxl("shards", "stats", tar_of(at), "--cache", at),
    "shards write": lambda at: vxl("shards", "write", "--json", list_of(at), at / "out", "--cache", at),
    "runs": lambda at: vxl("runs", f"paths.runs={runs_of(at)}"),
    "runs one": lambda at: vxl("runs", "s/clear", f"paths.runs={runs_of(at)}"),
    "runs none": lambda at: vxl("runs", ALL, f"paths.runs={runs_of(at)}"),
    "compare": lambda at: vxl("compare", "s", f"paths.runs={runs_of(at)}"),
    "ask": lambda at: vxl("ask", f"run={ALL}", "x.mp4", "What?"),
    "ask weights": lambda at: vxl("ask", f"weights={at}/{ALL}", "x.mp4", "What?"),
    "export": lambda at: vxl("export", ALL, at / "out"),
    "import": lambda at: vxl("import", f"{at}/{ALL}", at / "out"),
    "explain": lambda at: vxl("explain", f"kv={ALL}"),
    "benchmark": lambda at: vxl("benchmark", "score", "egoschema", answers_of(at)),
    "train": lambda at: script("train", f"name={ALL}", f"kv={ALL}", f"paths.runs={at}"),
    "train value": lambda at: script("train", f"trainer.max_steps={ALL}", f"paths.runs={at}"),
    "evaluate": lambda at: script("evaluate", f"run={ALL}", f"benchmark={ALL}"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command(command: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with contextlib.suppress(SystemExit):
        COMMANDS[command](tmp_path)
    captured = capfd.readouterr()
    assert captured.out + captured.err
    refuse_obeyed(captured.out + captured.err)
    assert "Traceback" not in captured.err


@pytest.mark.parametrize("is_terminal", [True, False])
def test_sentences_break_between_words_on_a_terminal_and_stay_whole_in_a_file(is_terminal: bool) -> None:
    console = Screen(file=io.StringIO(), width=30, force_terminal=is_terminal, no_color=True)
    text = "1,388,800 of 1,388,800 parameters trained, at most 32,768 tokens a step"
    prose(console, text)
    lines = console.file.getvalue().splitlines()
    assert " ".join(line.strip() for line in lines) == text
    assert len(lines) == (3 if is_terminal else 1)


def test_a_screen_colours_no_numbers_of_its_own() -> None:
    screen = Screen(file=io.StringIO(), force_terminal=True)
    screen.print("data=clips, 384 of 'them'", markup=False)
    assert screen.file.getvalue() == "data=clips, 384 of 'them'\n"


def test_a_message_breaks_between_words_and_never_in_a_command() -> None:
    command = "python train.py seed=1 trainer.devices=2 cluster=slurm"
    text = (
        "config error: kv.kep is not a key, and this says why at length.\n"
        "  valid keys: bits, residual, offload, keep\n"
        f"  a job a member:  {command}   (docs/slurm.md)"
    )
    assert fitted(text, 200) == text
    lines = fitted(text, 30).split("\n")
    assert " ".join(" ".join(lines).split()) == " ".join(text.split())
    assert f"    {command}" in lines
    assert all(len(line) <= 30 for line in lines if command not in line)
    assert "  valid keys: bits, residual," in lines


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_a_number_stays_with_its_unit_and_a_sentence_before_a_command_wraps(width: int) -> None:
    line = (
        "launched by python: 1 node x 1 task · strategy single · global batch 16 rows (16 x 1 x 1) · "
        "1,388,800 of 1,388,800 parameters trained · 21.9 GiB free on cpu · at most 32,768 tokens a step"
    )
    for text in (line, f"{line}:  vxl runs"):
        shown = fitted(text, width).split("\n")
        assert max(map(len, shown)) <= width
        assert " ".join(part.strip() for part in shown).split() == text.split()
        assert not [part for part in shown if part[-1].isdigit() or part.endswith(" x")]


def test_what_is_to_be_typed_works_where_it_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "no runs:  python train.py name=a; then python evaluate.py run=a (mypython train.py)"
    (tmp_path / "train.py").touch()
    monkeypatch.chdir(tmp_path)
    assert typed_here(text) == text.replace("python evaluate.py", "vxl evaluate")
    (tmp_path / "train.py").unlink()
    tell(text, error=True)
    assert capsys.readouterr().err.startswith("no runs:  vxl train name=a; then vxl evaluate run=a (mypython")


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_the_first_screens_fit_into_any_terminal(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    for words in ((), ("ask", "--help")):
        with contextlib.suppress(SystemExit):
            main(words)
    assert max(map(len, capsys.readouterr().out.splitlines())) <= max(width, 78)


def test_letters_that_a_terminal_lacks_are_question_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    guard_terminal()
    say("1 node · 2 → 3")
    sys.stdout.flush()
    assert written.getvalue() == b"1 node ? 2 ? 3\n"
