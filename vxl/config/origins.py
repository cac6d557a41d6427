"""Where weights come from, as far as the command line says: no large model is random by accident."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from vxl.config.catalog import options_by_group
from vxl.errors import ConfigError, VxlError
from vxl.option.files import CONF

if TYPE_CHECKING:  # late: torch takes 2 s, and --help needs none of it
    from vxl.train.config import TrainConfig

LARGE = 100_000_000
"""Parameters of a language model from which random weights must be typed."""
_SAYS_WEIGHTS = {"weights", "llm.weights", "init_from"}


def key_of_override(word: str) -> str:
    """The key of an override, without `+` or `~`."""
    return word.lstrip("+~").partition("=")[0]


def with_recipes_model(words: Sequence[str]) -> list[str]:
    """Chooses the model that a recipe is named after, where the words choose none.

    Example:
        >>> with_recipes_model(["recipe=videoxl2", "seed=1"])
        ['recipe=videoxl2', 'seed=1', 'model=videoxl2']
    """
    keys = {key_of_override(word) for word in words}
    recipes = [word.partition("=")[2] for word in words if key_of_override(word) == "recipe"]
    if not recipes or keys & {"model", "experiment"} or not (CONF / "model" / f"{recipes[-1]}.yaml").exists():
        return list(words)
    return [*words, f"model={recipes[-1]}"]


def refuse_untyped_random(config: "TrainConfig", words: Sequence[str]) -> None:
    """Refuses a large language model of random weights, unless the command says `weights=random`.

    Args:
        config: The checked config; of what would only be previewed nothing is refused.
        words: The overrides that it is made of.

    Raises:
        ConfigError: The message names the weights that are meant for the model.
    """
    reason = untyped_random(config, words)
    if reason is not None and not config.dry_run:
        raise ConfigError(reason)


def refused_start(config: "TrainConfig", words: Sequence[str]) -> str | None:
    """Why a new run would not get its weights: random without a word, or not there; None: it would."""
    from vxl.train.sources import refuse_missing_start  # late: torch takes 2 s, and --help needs none of it

    reason = untyped_random(config, words)
    try:
        refuse_missing_start(config)
    except VxlError as error:
        return reason or str(error)
    return reason


def untyped_random(config: "TrainConfig", words: Sequence[str]) -> str | None:
    """Why a training is refused whose large language model is random without a word; None: it is not."""
    from vxl.llm.config import count_parameters  # late: torch takes 2 s, and --help needs none

    if {key_of_override(word) for word in words} & _SAYS_WEIGHTS:
        return None
    if config.llm.weights != "random" or config.stage.objective != "language":
        return None
    parameters = count_parameters(config.llm)
    if parameters < LARGE:
        return None
    named = _pretrained(config.model, words) or "NAME"
    return (
        f"model={config.model} has a language model of {parameters:,} parameters, and no weights are named.\n"
        f"  pretrained:      llm.weights={named}   (a hub name or a folder)\n"
        "  a whole model:   weights=FOLDER   or  init_from=RUN\n"
        "  random weights:  weights=random\n"
        "  in miniature:    size=tiny"
    )


def _pretrained(model: str, words: Sequence[str]) -> str | None:
    """The hub name that the comment of the chosen option of `llm` gives."""
    groups = options_by_group()
    llm_words = [
        word for word in [*groups["model"][model].overrides, *words] if key_of_override(word) == "llm"
    ]
    option = groups["llm"].get(llm_words[-1].partition("=")[2]) if llm_words else None
    recommended = re.search(r"llm\.weights=([^\s,]+)", option.meaning) if option else None
    return recommended[1] if recommended else None
