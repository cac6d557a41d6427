"""Rules of what trains: a config whose model only watches and answers need not follow them."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from vxl.config.origins import refuse_untyped_random
from vxl.config.rules import Rule, apply_rules
from vxl.option.build import build

if TYPE_CHECKING:  # late: torch takes 2 s, and a wrong key is found without
    from vxl.train.config import TrainConfig


def refuse_to_begin(config: "TrainConfig", words: Sequence[str]) -> None:
    """Refuses to train what can't learn, or what is random without a word.

    Args:
        config: The checked config.
        words: The overrides that it is made of.

    Raises:
        ConfigError: What is wrong.
    """
    check_training(config)
    refuse_untyped_random(config, words)


def what_learns_is_not_in_fp8(config: "TrainConfig") -> Iterator[str]:
    """Products in float8 have no backward pass: only a tower may have them, one that does not learn."""
    if config.llm.fp8:
        yield (
            f"llm.fp8={str(config.llm.fp8).lower()} is for watching, asking and evaluating: in training the "
            "gradient passes through the language model.\n"
            "  type  llm.fp8=false   in training, and  llm.fp8=true  with vxl ask and evaluate.py"
        )
    if not config.vision.fp8:
        return
    got = f"vision.fp8={str(config.vision.fp8).lower()}"
    if "vision" in config.stage.train:
        yield (
            f"{got} with stage.train=[{','.join(config.stage.train)}]: a tower in float8 can't learn.\n"
            "  type  vision.fp8=false   or a stage that leaves the tower as it is, such as  stage=lora"
        )
    if not config.strategy.is_whole:
        yield (
            f"{got} does not go with strategy={config.strategy.name}, which shards whole weights.\n"
            "  type  strategy=ddp   or  vision.fp8=false"
        )


def kept_features_stay(config: "TrainConfig") -> Iterator[str]:
    """Features that are kept are those of a tower that every process has whole and that does not change."""
    if config.data.cache != "features":
        return
    reasons = []
    if "vision" in config.stage.train:
        reasons.append("stage.train names vision, whose features change with every step")
    if not config.strategy.is_whole:
        reasons.append(f"strategy={config.strategy.name} spreads the tower over all processes")
    if build(config.prune).needs:
        reasons.append(f"prune={config.prune.module} reads the tower's attention, so it has to run")
    for reason in reasons:
        yield (
            f"data.cache=features keeps what a frozen tower makes of frames; {reason}.\n"
            "  allowed: data.cache=frames or none; or a stage that leaves vision frozen, strategy=single or "
            "ddp, and a prune that does not ask for attention\n"
            "  e.g.  data.cache=frames"
        )


def one_thing_is_left_to_memory(config: "TrainConfig") -> Iterator[str]:
    """Of rows and recomputed blocks, one is given where memory decides the other."""
    if config.trainer.micro_batch == "auto" and config.llm.recomputed == "auto":
        yield (
            "trainer.micro_batch=auto and llm.recomputed=auto both fill the memory that is free.\n"
            "  allowed: one of them\n  e.g.  trainer.micro_batch=given data.batch=ROWS llm.recomputed=auto"
        )


def cards_are_used_by_one_process(config: "TrainConfig") -> Iterator[str]:
    """A data worker is forked off a process that may use a card, and CUDA is of no use behind a fork."""
    if config.video.device == "cuda" and config.data.workers:
        yield (
            f"data.workers={config.data.workers} does not go with video.device=cuda: data workers are "
            "forked, and can't use a card.\n"
            "  allowed: data.workers=0, which decodes in the training process, on its card\n"
            "  e.g.  data.workers=0   or  video.device=cpu"
        )


def moments_of_8_bits_are_whole(config: "TrainConfig") -> Iterator[str]:
    """Codes share scales in blocks of a whole tensor, and are computed with in float32."""
    if config.optim.optimizer._target_ != "vxl.train.step.adamw_8bit.adamw_8bit":
        return
    strategy = config.strategy.name
    if not config.strategy.is_whole:
        yield (
            f"optim=adamw_8bit does not go with strategy={strategy}: 256 numbers of a moment share a scale, "
            "and another number of processes would cut them elsewhere.\n"
            f"  type  strategy=ddp   or  optim=adamw strategy={strategy}"
        )
    if config.trainer.precision == "64-true":
        yield (
            "optim=adamw_8bit computes in float32, and trainer.precision=64-true wants float64.\n"
            "  type  optim=adamw   or another trainer.precision"
        )


def frozen_weights_meet_their_precision(config: "TrainConfig") -> Iterator[str]:
    """Frozen weights in bf16 give bf16, which weights in fp32 multiply under autocast alone."""
    frozen, precision = config.trainer.frozen, config.trainer.precision
    if frozen != "same" and not precision.startswith("bf16"):
        yield (
            f"trainer.frozen={frozen} has frozen weights in bf16, and trainer.precision={precision} "
            "multiplies in no other precision than its own.\n"
            f"  type  trainer.precision=bf16-mixed trainer.frozen={frozen}   or  trainer.frozen=same"
        )


RULES: list[Rule] = [
    what_learns_is_not_in_fp8,
    kept_features_stay,
    one_thing_is_left_to_memory,
    cards_are_used_by_one_process,
    moments_of_8_bits_are_whole,
    frozen_weights_meet_their_precision,
]


def check_training(config: "TrainConfig") -> None:
    """Raises ConfigError where a config can't learn, or not as it is asked for, with all that is wrong.

    Beside a recipe the config's own stage counts for nothing: its stages are configs of their own.
    """
    if config.recipe is None:
        apply_rules(RULES, config)
