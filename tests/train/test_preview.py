"""`dry_run=true`: what its screen says about learning rates, samples and what a selector leaves."""

from dataclasses import replace

from vxl.config.compose import compose
from vxl.selector.query import QueryConfig
from vxl.train.preview import kept_line, preview, stage_line
from vxl.train.step.stage import PartRates

WORDS = ["model=tiny", "trainer=cpu", "logger=csv", "trainer.max_steps=40", "data.batch=4"]


def test_it_names_rates_samples_and_parts(tmp_path, capsys) -> None:
    config = compose("train", [*WORDS, "optim.lr=0.02", f"paths.runs={tmp_path}"])
    preview(config)
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "learning rate 0.02 (cosine)" in said
    assert "160 in all" in said
    rates = replace(config.stage, train=["projector", "llm"], part_lr=PartRates(projector=0.5))
    assert stage_line(replace(config, stage=rates)) == "learning rates projector 0.5, llm 0.02 (cosine)"


def test_it_says_what_a_selector_leaves() -> None:
    config = compose("train", WORDS)
    assert kept_line(config, 100) == ""
    half = replace(config, selector=QueryConfig(keep=0.5, tokens=None))
    assert kept_line(half, 100) == ", of which the selector keeps about 50"
    assert kept_line(replace(config, selector=QueryConfig(keep=0.5, tokens=30)), 100).endswith("about 30")
