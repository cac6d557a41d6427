import json

import pytest

from vxl.errors import ConfigError
from vxl.run import code
from vxl.run.code import Code, refuse_changed


@pytest.fixture
def tree(tmp_path, monkeypatch):
    root = tmp_path / "project"
    for name in ("vxl/a.py", "conf/model/tiny.yaml", "train.py", "docs/page.md"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    monkeypatch.setattr(code, "ROOT", root)
    return root


def test_the_same_files_are_the_same_code(tree, tmp_path):
    Code.now().write(tmp_path / "record.json", words=["seed=1"])
    (tree / "docs/page.md").write_text("edited")  # what no run reads
    refuse_changed(tmp_path / "record.json")
    assert json.loads((tmp_path / "record.json").read_text())["words"] == ["seed=1"]


def test_what_changed_since_the_submission_is_named(tree, tmp_path):
    Code.now().write(tmp_path / "record.json")
    (tree / "conf/model/tiny.yaml").write_text("edited")
    (tree / "vxl/b.py").write_text("new")
    (tree / "train.py").write_text("other")
    (tree / "vxl/a.py").unlink()
    with pytest.raises(ConfigError) as error:
        refuse_changed(tmp_path / "record.json")
    for line in (
        "conf/model/tiny.yaml  (edited)",
        "vxl/b.py  (new)",
        "vxl/a.py  (gone)",
        "train.py  (edited)",
    ):
        assert line in str(error.value)
    assert "cluster.same_code=false" in str(error.value)


def test_a_plug_in_counts_too(tree, tmp_path, monkeypatch):
    (tmp_path / "mylab").mkdir()
    (tmp_path / "mylab" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    Code.now(["mylab"]).write(tmp_path / "record.json")
    (tmp_path / "mylab" / "part.py").write_text("x = 1")
    with pytest.raises(ConfigError, match=r"part\.py  \(new\)"):
        refuse_changed(tmp_path / "record.json", ["mylab"])


def test_the_record_says_which_commit_it_was(tmp_path):
    Code.now().write(tmp_path / "record.json")
    kept = json.loads((tmp_path / "record.json").read_text())
    assert kept["commit"] is None or len(kept["commit"]) == 40
    assert {"train.py", "vxl/run/code.py", "conf/train.yaml"} <= kept["files"].keys()
