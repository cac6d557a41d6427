import json
import subprocess

import lightning

from vxl.run import provenance


def git(folder, *words):
    name = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run(["git", "-C", str(folder), *name, *words], check=True, capture_output=True)


def test_the_commit_what_was_changed_since_and_what_git_does_not_know(tmp_path):
    git(tmp_path, "init", "-q")
    (tmp_path / "a.py").write_text("one\n")
    git(tmp_path, "add", "a.py")
    git(tmp_path, "commit", "-q", "-m", "first")
    (tmp_path / "a.py").write_text("two\n")
    (tmp_path / "b.py").write_text("")
    found = provenance.git(tmp_path)
    assert len(found["commit"]) == 40
    assert "-one\n+two\n" in found["diff"]
    assert found["untracked"] == ["b.py"]


def test_outside_a_repository(tmp_path):
    assert provenance.git(tmp_path) is None


def test_every_start_is_recorded_and_what_did_not_change_only_once(tmp_path, monkeypatch):
    provenance.record(tmp_path, [])
    monkeypatch.delattr("importlib.metadata.distributions")  # which a process asks once
    provenance.record(tmp_path, [{"key": "data.workers", "old": 0, "new": 2}])
    first, second = json.loads((tmp_path / "provenance.json").read_text())["sessions"]
    assert first["packages"]["lightning"] == lightning.__version__
    assert first["hardware"]["cores"] >= 1
    assert first["command"]
    assert second["packages"] == "as in the first session"
    assert second["changes"] == [{"key": "data.workers", "old": 0, "new": 2}]
