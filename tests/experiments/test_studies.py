"""The studies' members: what they type composes, baselines are among them, and what is missing is run."""

import json
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import studies
from studies.base import BASES, CPU, SMALL, TINY
from studies.member import Member, aligned, reports, seeds, tasks
from studies.study import arguments
from studies.work import chosen

from tests.experiments.studies_read import EXPERIMENTS, NAMES, study
from vxl.config.compose import compose
from vxl.config.evaluation import prepare

ROOT = EXPERIMENTS.parent


@pytest.mark.slow
@pytest.mark.parametrize("size", BASES)
@pytest.mark.parametrize("name", NAMES)
def test_what_a_study_types_composes(name: str, size: str) -> None:
    options = arguments("", [] if size == "small" else [f"--{size}"])
    seen = set()
    members = [*aligned(BASES[size]), *study(name).members(BASES[size])]
    for task in [task for member in members for task in tasks(member, BASES[size], options)]:
        words = [word for word in task.command[2:] if not word.startswith(("seed=", "name=", "run="))]
        if tuple(words) in seen:
            continue
        seen.add(tuple(words))
        if task.command[1] == "train.py":
            compose("train", words)
        else:
            for prepared in prepare(["run=any", *words]):
                compose("evaluate", prepared)


@pytest.mark.parametrize("base", BASES.values(), ids=BASES)
@pytest.mark.parametrize("name", NAMES)
def test_baselines_are_members_of_every_study(name: str, base: object) -> None:
    members = chosen(study(name).members(base), arguments("", []))
    blind = {member.seed for member in members if member.name == "full" and "blind=true" in member.asked}
    single = {member.seed for member in members if member.name == "single_frame"}
    assert blind == single == {0, 1, 2}
    assert study(name).needs in {member.name for member in members if "" in member.asked}


def test_sizes_have_folders_of_their_own() -> None:
    """A miniature would refuse to go on with a run of the true size, and write over its results."""
    small, tiny = arguments("", []), arguments("", ["--tiny"])
    assert small.runs != tiny.runs != arguments("", ["--cpu"]).runs
    assert small.base is SMALL
    assert tiny.base is TINY
    assert TINY.files is None
    assert arguments("", ["--repeat", "1"]).runs != small.runs
    assert arguments("", ["--repeat", "1"]).seeds == (1,)


def test_members_with_the_same_run_say_the_same() -> None:
    """Runs are shared between studies, so a name means the same words in each."""
    words: dict[str, str] = {}
    for name in NAMES:
        for member in study(name).members(SMALL):
            assert (
                words.setdefault(member.run, f"{member.words} {member.after}")
                == f"{member.words} {member.after}"
            )


def test_reports_lie_where_an_evaluation_puts_them() -> None:
    run = Path("runs/full_0")
    assert reports("", run, "long") == {"": run / "evaluate" / "long.json"}
    assert reports("blind=true", run, "long") == {"blind": run / "evaluate" / "long.blind.json"}
    found = reports("kv=recent kv.keep=0.5,0.25 kv.of=visual", run, "long")
    assert list(found) == ["kv=recent,kv.keep=0.5,kv.of=visual", "kv=recent,kv.keep=0.25,kv.of=visual"]


def test_what_a_member_starts_from_comes_along() -> None:
    members = [*seeds("first", "", asked=()), *seeds("then", "", after="first"), *seeds("other", "")]
    options = arguments("", ["--cpu", "--seeds", "1", "--only", "then"])
    assert [member.run for member in chosen(members, options)] == ["then_1", "first_1"]
    (train, ask) = tasks(next(member for member in members if member.run == "then_1"), CPU, options)
    assert train.needs == options.runs / "first_1" / "RESULT.json"
    assert ask.needs == options.runs / "then_1" / "RESULT.json"
    with pytest.raises(SystemExit, match="no setting is called thn"):
        chosen(members, arguments("", ["--only", "thn"]))


def test_all_start_from_the_aligned_run_where_a_size_has_one() -> None:
    options = arguments("", ["--tiny"])
    (first,) = aligned(TINY)
    train, _ = tasks(first, TINY, options)
    assert train.needs is None
    assert not any(word.startswith("init_from=") for word in train.command)
    begun = options.runs / "aligned_0" / "RESULT.json"
    for member in (*seeds("other", ""), Member("full", "compressor=none")):
        train, _ = tasks(member, TINY, options)
        assert train.needs == begun
        assert f"init_from={begun.parent}" in train.command
    then, _ = tasks(Member("then", "", after="first_0"), TINY, options)
    assert then.needs == options.runs / "first_0" / "RESULT.json"
    assert aligned(CPU) == []


def test_all_studies_at_once_are_all_there_are() -> None:
    every = runpy.run_path(str(Path(studies.__file__).with_name("__main__.py")), run_name="every")
    assert [study.here.name for study in every["every_study"]()] == NAMES


def test_a_task_is_done_when_all_that_it_leaves_is_there(tmp_path: Path) -> None:
    member = Member("full", "", asked=("kv=recent kv.keep=0.5,0.25",))
    _, ask = tasks(member, CPU, arguments("", ["--cpu", "--runs", str(tmp_path)]))
    first, second = ask.leaves
    for path in (first, second):
        assert not ask.done
        path.parent.mkdir(parents=True)
        path.write_text("{}")
    assert ask.done


@pytest.mark.slow
def test_a_miniature_goes_on_after_a_kill(tmp_path: Path) -> None:
    """010 from training to figure: ended once it has trained, then carried through by the same command."""
    command = [sys.executable, "experiments/010_compression/study.py", "--tiny", "--seeds", "0"]
    command += ["--only", "full", "pool_4", "--jobs", "2", "--runs", str(tmp_path)]
    first = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    trained = tmp_path / "tiny" / "full_0" / "RESULT.json"
    for _ in range(3000):
        if trained.exists() or first.poll() is not None:
            break
        time.sleep(0.1)
    first.send_signal(signal.SIGTERM)
    assert first.wait(60) != 0
    written = trained.stat().st_mtime_ns
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert trained.stat().st_mtime_ns == written
    assert "train full_0" not in ended.stdout
    results = tmp_path / "tiny" / "results" / "010_compression"
    found = json.loads((results / "results.json").read_text())
    assert [(row["name"], row["tokens"], row["questions"]) for row in found["rows"]] == [
        ("full", 128, 14),
        ("pool_4", 32, 14),
    ]
    assert found["baselines"].keys() == {"blind"}
    assert found["answer"]["text"].startswith("nothing can be said")
    assert (results / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert "| blind: asked without the video |" in ended.stdout
