"""Which keys of a trained model an evaluation may change."""

import pytest

from vxl.errors import ConfigError
from vxl.evaluate.work.changes import RUNNING, refuse_trained, shown


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


@pytest.mark.parametrize(
    ("label", "text"),
    [
        ("", ""),
        ("kv=snapkv,kv.keep=0.25", "kv=snapkv keep=0.25"),
        ("kv=full,video.max_frames=8,kv.keep=0.5", "kv=full max_frames=8 keep=0.5"),
        ("prune.keep=0.5,kv.keep=0.25", "prune.keep=0.5 kv.keep=0.25"),
        ("llm.fp8=false,vision.fp8=true", "llm.fp8=false vision.fp8=true"),
        ("kv=snapkv,llm.attention=flex", "kv=snapkv llm.attention=flex"),
        ("relevance.layers=1,2.5", "relevance.layers=1 2.5"),
    ],
)
def test_a_label_in_tables_tells_keys_apart(label: str, text: str) -> None:
    assert shown(label) == text
