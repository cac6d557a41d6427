"""The commands of README and docs: every one composes, so that none of them rots."""

import re
import shlex
from pathlib import Path

import pytest

from vxl.cli.main import main
from vxl.config.compose import compose
from vxl.config.evaluation import prepare
from vxl.evaluate.work.changes import sweep

ROOT = Path(__file__).parents[1]


def commands(page: Path) -> list[str]:
    """What a page says to type."""
    blocks = re.findall(r"```bash\n(.*?)```", page.read_text(), re.S)
    whole = [re.sub(r"\\\n\s*", "", block) for block in blocks]  # a command over several lines is one
    lines = [line.split("  #")[0].strip() for block in whole for line in block.splitlines()]
    return [line for line in lines if line]


COMMANDS = commands(ROOT / "README.md")
TYPED = list(
    dict.fromkeys([*COMMANDS, *(c for page in sorted((ROOT / "docs").rglob("*.md")) for c in commands(page))])
)
# By plain python, torchrun, srun or vxl.
STARTS = re.compile(r"(?:^vxl train|\btrain\.py) (.*)")
# Several runs, and packages that are not here.
ELSEWHERE = re.compile(r"sweep=|plugins=|hydra/sweeper=| [\w.]+=[\w.]+,")
TRAINED = (found[1] for c in TYPED if (found := STARTS.search(c)) and not ELSEWHERE.search(c))
TRAIN = list(dict.fromkeys(TRAINED))
EVALUATE = [c for c in TYPED if c.startswith(("python evaluate.py", "vxl evaluate")) and "plugins=" not in c]
EXPLAIN = [c for c in COMMANDS if c.startswith("vxl explain")]


def test_there_are_commands() -> None:
    assert {"make train", "make test"} <= set(COMMANDS)
    assert len(TRAIN) >= 20


@pytest.mark.parametrize("command", TRAIN)
def test_training_composes(command: str) -> None:
    assert compose("train", shlex.split(command))


@pytest.mark.parametrize("command", EVALUATE)
def test_evaluation_composes(command: str) -> None:
    for words in prepare(shlex.split(command)[2:]):
        config = compose("evaluate", words)
        assert config.members is None or sweep(config.members, {})


@pytest.mark.parametrize("command", [c for c in TYPED if "+sweep=" in c and "evaluate.py" not in c])
def test_sweeps_exist(command: str) -> None:
    (names,) = re.findall(r"\+sweep=([\w,\[\]]+)", command)
    for name in names.strip("[]").split(","):
        assert (ROOT / "conf" / "sweep" / f"{name}.yaml").exists()


@pytest.mark.parametrize("command", EXPLAIN)
def test_explains(command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", shlex.split(command))
    try:
        status = main()
    except SystemExit as stop:
        status = stop.code
    assert not status
    said = {"vxl explain": "compressor", "vxl explain cost": "GPU-hours"}.get(command[:16].strip(), "ratio")
    assert said in capsys.readouterr().out


@pytest.mark.parametrize("target", re.findall(r"^make (\w[\w-]*)", "\n".join(COMMANDS), re.M))
def test_make_targets_exist(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.M)
