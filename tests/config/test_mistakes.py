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
