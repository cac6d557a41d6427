"""Video-XL-Pro in miniature: trained on the clips, asked, and its tokens budgeted, as a user does it."""

from pathlib import Path

import pytest

import vxl
from tests.acceptance.forked import typed
from tests.acceptance.scripts import ROOT, result, with_clips

CLIP = ROOT / "examples" / "clips" / "city.mp4"


@pytest.mark.slow
def test_train_ask_and_budget(tmp_path: Path) -> None:
    words = ["model=videoxl_pro", "size=tiny", "logger=csv", "name=pro", "data.batch=4", "data.held_out=8"]
    steps = ["trainer.max_steps=4", "trainer.val_every=4", "checkpoint.every=4"]
    status, said = typed("train.py", *words, *steps, cwd=with_clips(tmp_path))
    assert status == 0, said
    assert result(tmp_path / "runs" / "pro")["steps"] == 4

    loaded = vxl.load("pro", runs=tmp_path / "runs", device="cpu")
    assert loaded.config.prompt.time_text == "Time {seconds:06.1f}s:"
    context = loaded.watch(CLIP)
    assert context.cache.bytes() == 0  # what of it is read, the question says
    answer = loaded.ask(context, "What is shown?", max_new_tokens=4)
    assert loaded.ask(context, "What is shown?", max_new_tokens=4).tokens == answer.tokens

    all_of_it = vxl.load("pro", runs=tmp_path / "runs", device="cpu", overrides=["selector.keep=1"])
    more = all_of_it.ask(all_of_it.watch(CLIP), "What is shown?", max_new_tokens=4)
    assert more.cache_bytes > answer.cache_bytes
