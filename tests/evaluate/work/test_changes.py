"""Which keys of a trained model an evaluation may change."""

import pytest

from vxl.errors import ConfigError
from vxl.evaluate.work.changes import RUNNING, refuse_trained


@pytest.mark.parametrize("key", RUNNING)
def test_how_a_trained_part_runs_may_be_changed(key: str) -> None:
    refuse_trained([f"{key}=true"], {})


@pytest.mark.parametrize(
    "change", ["vision=clip_l_336", "vision.layers=3", "llm.layers=3", "vision.fp8x=true"]
)
def test_what_it_is_may_not(change: str) -> None:
    with pytest.raises(
        ConfigError, match=r"can't be changed at evaluation.*\n.*\n.*llm\.fp8, vision\.fp8, pre"
    ):
        refuse_trained([change], {})
