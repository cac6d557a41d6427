"""One mistake on a command line is one problem."""

import pytest

from vxl.config.compose import compose
from vxl.errors import ConfigError


@pytest.mark.parametrize("value", ["eq=dir/l.json", "~/l.json", "my videos (1)/l.json"])
def test_a_word_that_can_not_be_read_makes_no_other_one_wrong(value: str) -> None:
    with pytest.raises(ConfigError) as error:
        compose("train", ["model=tiny", "data=json", f"data.json={value}", "data.videos=."])
    assert f"'data.json={value}' can't be read" in str(error.value)
    assert "data.videos" not in str(error.value)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("max_steps=3", "did you mean trainer.max_steps?"),
        ("ratio=4", "did you mean compressor.ratio?"),
        ("workers=0", "did you mean data.workers?"),
        ("+seed=3", "+seed=3: seed is there already.\n  type  seed=3"),
        ("seed=99999999999999999999", "seed=99999999999999999999 is too large.\n  allowed: 64 bits"),
    ],
)
def test_what_was_meant(word: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        compose("train", ["model=tiny", word])
    assert said in str(error.value)
