"""A profiled run: the screen, the trace, and that the run is none the wiser."""

import io
import json

import pytest
from rich.console import Console

from tests.run.test_changes import changed
from tests.train import quick_training as fake
from tests.train.test_run import digest, path_of
from vxl.checkpoint.step_folder import step_folders


@pytest.fixture
def config(tmp_path):
    config = fake.Config(paths=fake.Paths(runs=str(tmp_path)), name="first")
    return changed(config, trainer={"max_steps": 30}, checkpoint={"every": 0})


def test_a_profile_leaves_a_trace_and_a_summary_and_no_checkpoint(config):
    screen = Console(file=io.StringIO(), width=110)
    with pytest.raises(SystemExit) as stopped:
        fake.train(changed(config, debug={"profile": 2}), screen)
    assert stopped.value.code == 0
    folder = path_of(config) / "profile"
    trace = json.loads((folder / "trace.json").read_text())
    names = {event.get("name") for event in trace["traceEvents"]}
    assert {"vision", "splice, head, loss"} <= names
    assert any(name and "addmm" in name for name in names)
    said = screen.file.getvalue()
    for section in ("data wait", "vision", "backward", "optimizer", "longest kernels", "ms a step"):
        assert section in said
    assert "where a step went (mean of 2)" in (folder / "summary.txt").read_text()
    assert step_folders(path_of(config)) == []
    assert not (path_of(config) / "RESULT.json").exists()
    fake.train(config)
    other = changed(config, name="second")
    fake.train(other)
    assert digest(config) == digest(other)


def test_the_sections_add_up(config, monkeypatch):
    import vxl.train.debug.profile as module

    seen = []
    show = module.Profile.show
    monkeypatch.setattr(
        module.Profile, "show", lambda self, console: (seen.append(self), show(self, console))
    )
    with pytest.raises(SystemExit):
        fake.train(changed(config, debug={"profile": 3}))
    profile = seen[0]
    assert profile.whole > 0
    assert sum(profile.seconds.values()) == pytest.approx(profile.whole, rel=1e-6)
    assert profile.seconds["vision"] > 0
    assert profile.seconds["backward"] > 0
    assert len(profile.kernels) > module.KERNELS  # all of them; the summary shows the longest


def test_a_run_shorter_than_the_profile_ends_by_itself(config):
    config = changed(config, trainer={"max_steps": 4})
    with pytest.raises(SystemExit):
        fake.train(changed(config, debug={"profile": 2}))
    assert (path_of(config) / "profile" / "summary.txt").exists()
