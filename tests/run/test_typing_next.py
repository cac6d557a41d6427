"""Commands to type next: right where the user is, with the folder of runs and the user's own packages."""

from pathlib import Path

import pytest

from vxl.run.typing_next import followed, more_follows, next_words


def test_outside_a_checkout_it_is_the_command_that_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert next_words("evaluate", "run=a", runs="runs") == "vxl evaluate run=a"
    (tmp_path / "evaluate.py").touch()
    assert next_words("evaluate", "run=a", runs="runs") == "python evaluate.py run=a"
    assert next_words("compare", "a", runs="runs") == "vxl compare a"
    assert next_words("compare", "a", runs=str(tmp_path / "runs")) == "vxl compare a"


def test_it_names_what_the_run_is_found_by() -> None:
    assert next_words("wandb", "a", runs="/r", plugins=["mylab", "b"]) == (
        "vxl wandb a paths.runs=/r plugins=[mylab,b]"
    )


def test_a_run_that_another_follows_says_so_until_it_is_done() -> None:
    assert not more_follows()
    with followed():
        assert more_follows()
        with followed(by_more=False):
            assert not more_follows()
        assert more_follows()
    assert not more_follows()
