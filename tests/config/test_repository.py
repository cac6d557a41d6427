"""Config files are read once, and again when they have changed."""

from pathlib import Path

import pytest
from hydra._internal.config_search_path_impl import ConfigSearchPathImpl
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra.core.plugins import Plugins

from vxl.config.compose import compose
from vxl.config.repository import ReadOnce
from vxl.errors import ConfigError


@pytest.fixture
def repository(tmp_path: Path) -> ReadOnce:
    (tmp_path / "a.yaml").write_text("defaults: [b]\nx: 1\n")
    Plugins.instance()  # among them the one that reads files
    path = ConfigSearchPathImpl()
    path.append("main", f"file://{tmp_path}")
    return ReadOnce(path)


def test_what_is_done_to_a_config_does_not_come_back(
    repository: ReadOnce, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = repository.load_config("a")
    monkeypatch.setattr(FileConfigSource, "load_config", None)
    first.config.x = 9
    first.defaults_list.clear()
    again = repository.load_config("a")
    assert again.config == {"x": 1}
    assert [each.path for each in again.defaults_list] == ["b"]


def test_a_file_that_has_changed_is_read_again(repository: ReadOnce, tmp_path: Path) -> None:
    assert repository.load_config("a").config.x == 1
    (tmp_path / "a.yaml").write_text("x: 22\n")
    assert repository.load_config("a").config.x == 22
    (tmp_path / "a.yaml").unlink()
    assert repository.load_config("a") is None


def test_a_value_of_evaluation_is_none_of_the_options_of_training() -> None:
    """`checkpoint=best` chooses a checkpoint, and conf/checkpoint/ is how training keeps them."""
    assert compose("evaluate", ["run=first", "checkpoint=best"]).checkpoint == "best"
    assert compose("evaluate", ["run=first", "checkpoint=step-000300"]).checkpoint == "step-000300"
    with pytest.raises(ConfigError, match="there is no option best in checkpoint"):
        compose("train", ["checkpoint=best"])
