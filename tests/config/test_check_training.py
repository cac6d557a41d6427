"""What can't be trained, though it may watch and answer."""

import pytest

from vxl.config.check_training import check_training
from vxl.config.compose import compose
from vxl.errors import ConfigError


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["llm.fp8=true"], r"llm\.fp8=true is for watching, asking and evaluating"),
        (["llm.fp8=emulated", "stage=align"], r"llm\.fp8=emulated is for watching"),
        (
            ["vision.fp8=true", "stage.train=[vision,projector]"],
            r"vision\.fp8=true with stage\.train=\[vision,projector\]: a tower in float8 can't learn",
        ),
        (
            ["vision.fp8=true", "stage=lora", "strategy=fsdp2", "trainer.devices=2"],
            r"vision\.fp8=true does not go with strategy=fsdp2, which shards whole weights",
        ),
        (
            ["data.cache=features"],
            r"data\.cache=features keeps what a frozen tower makes of frames; stage\.train names vision, "
            r"whose features change with every step\.\n  allowed: data\.cache=frames or none; or a stage "
            r"that leaves vision frozen, strategy=single or ddp, and a prune that does not ask for attention"
            r"\n  e\.g\.  data\.cache=frames$",
        ),
        (
            ["data.cache=features", "stage=align", "strategy=fsdp2", "trainer.devices=2"],
            r"^data\.cache=features keeps .*; strategy=fsdp2 spreads the tower over all processes",
        ),
        (
            ["data.cache=features", "stage=align", "prune=visionzip"],
            r"^data\.cache=features keeps .*; prune=visionzip reads the tower's attention, so it has to run",
        ),
        (
            ["llm.checkpointing=true", "llm.recomputed=auto", "trainer.micro_batch=auto"],
            r"trainer\.micro_batch=auto and llm\.recomputed=auto both fill the memory that is free",
        ),
        (
            ["video.decoder=torchcodec", "video.device=cuda", "data.workers=3"],
            r"^data\.workers=3 does not go with video\.device=cuda: data workers are forked, and can't",
        ),
        (
            ["stage=lora", "trainer.frozen=bf16", "trainer=cpu"],
            r"^trainer\.frozen=bf16 has frozen weights in bf16, and trainer\.precision=32-true multiplies in "
            r"no other precision than its own\.\n  type  trainer\.precision=bf16-mixed trainer\.frozen=bf16 ",
        ),
    ],
)
def test_what_is_refused(words: list[str], message: str) -> None:
    config = compose("train", words)  # which asks and evaluates
    with pytest.raises(ConfigError, match=message):
        check_training(config)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["vision.fp8=true", "stage=lora"],
        ["vision.fp8=emulated", "stage=align", "strategy=ddp", "trainer.devices=2"],
        ["data.cache=features", "stage=lora", "strategy=ddp", "trainer.devices=2", "vision.fp8=emulated"],
        ["llm.checkpointing=true", "llm.recomputed=auto"],
        ["video.decoder=torchcodec", "video.device=cuda", "data.workers=0"],
        ["video.decoder=torchcodec", "data.workers=3"],
        ["stage=lora", "trainer.frozen=nf4", "trainer.precision=bf16-mixed"],
        ["stage=lora", "trainer.frozen=bf16", "trainer.precision=bf16-true"],
    ],
)
def test_what_may_be_trained(words: list[str]) -> None:
    check_training(compose("train", words))


def test_both_problems_are_said_at_once() -> None:
    config = compose("train", ["llm.fp8=true", "vision.fp8=true", "stage.train=[vision]"])
    with pytest.raises(ConfigError, match=r"(?s)llm\.fp8=true.*\n\nvision\.fp8=true with"):
        check_training(config)
