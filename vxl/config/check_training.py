"""Rules of what trains: a config whose model only watches and answers need not follow them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from vxl.config.origins import refuse_untyped_random
from vxl.errors import ConfigError

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


def check_training(config: "TrainConfig") -> None:
    """Refuses to train what can't learn.

    Raises:
        ConfigError: All the problems that were found, one below the other.
    """
    problems = what_learns_is_not_in_fp8(config)
    if problems:
        raise ConfigError("\n\n".join(problems))


def what_learns_is_not_in_fp8(config: "TrainConfig") -> list[str]:
    """Products in float8 have no backward pass: only a tower may have them, one that does not learn."""
    problems: list[str] = []
    if config.llm.fp8:
        problems.append(
            f"llm.fp8={str(config.llm.fp8).lower()} is for watching, asking and evaluating: in training the "
            "gradient passes through the language model.\n"
            "  type  llm.fp8=false   in training, and  llm.fp8=true  with vxl ask and evaluate.py"
        )
    if not config.vision.fp8:
        return problems
    got = f"vision.fp8={str(config.vision.fp8).lower()}"
    if "vision" in config.stage.train:
        problems.append(
            f"{got} with stage.train=[{','.join(config.stage.train)}]: a tower in float8 can't learn.\n"
            "  type  vision.fp8=false   or a stage that leaves the tower as it is, such as  stage=lora"
        )
    strategy = config.strategy._target_.rpartition(".")[2].lower()
    if strategy not in ("single", "ddp"):
        problems.append(
            f"{got} does not go with strategy={strategy}, which shards whole weights.\n"
            "  type  strategy=ddp   or  vision.fp8=false"
        )
    return problems
