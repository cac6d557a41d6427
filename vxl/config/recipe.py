"""Recipes: `recipe=NAME` runs the stages of a training in order, inside one job, each a run of its own.

`runs/<name>/<stage>/` is an ordinary run that starts from the weights of the one before. The same command
again passes over the finished ones and goes on in the one that is not.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from vxl.errors import ConfigError
from vxl.run.name import run_name

if TYPE_CHECKING:  # late: torch takes 2 s, and --help needs none of it
    from vxl.train.config import TrainConfig


def stage_configs(
    config: "TrainConfig", words: list[str], compose: Callable[[list[str]], Any]
) -> Iterator[Any]:
    """The composed config of each stage, one after the other.

    Args:
        config: The checked config of the whole command; its stage counts for nothing.
        words: The command line's overrides.
        compose: Composes overrides.

    Raises:
        ConfigError: The command line chooses a stage, too.
    """
    assert config.recipe is not None
    stage_words = [word for word in words if _key(word) == "stage"]
    if stage_words:
        listed = ", ".join(stage.stage for stage in config.recipe.stages)
        raise ConfigError(
            f"{stage_words[0]} has no effect: the recipe says which stages run ({listed}).\n"
            "  one stage alone:  leave out recipe=…\n"
            "  others:           'recipe.stages=[{stage: align}, {stage: lora}]'"
        )
    name, before, whole = run_name(config), None, False
    stage_overrides = [
        word for word in words if _key(word) not in ("name", "recipe", "sweep_name", "sweep_member")
    ]
    names = folders([stage.stage for stage in config.recipe.stages])
    for stage, folder in zip(config.recipe.stages, names, strict=True):
        own = [*stage_overrides, f"stage={stage.stage}", *stage.set, f"name='{name}/{folder}'"]
        if before is not None:
            # What `weights` holds beyond what a stage without language model went on with is still to come.
            dropped = ("init_from", "weights") if whole else ("init_from",)
            own = [*(word for word in own if _key(word) not in dropped), f"init_from='{name}/{before}'"]
        composed = compose(own)
        yield composed
        before, whole = folder, whole or composed.stage.get("objective", "language") == "language"


def folders(stages: list[str]) -> list[str]:
    """A folder for each stage; the second of a name is NAME-2."""
    times_by_name: dict[str, int] = {}
    folder_names = []
    for stage in stages:
        times_by_name[stage] = times_by_name.get(stage, 0) + 1
        folder_names.append(stage if times_by_name[stage] == 1 else f"{stage}-{times_by_name[stage]}")
    return folder_names


def _key(word: str) -> str:
    """The key or group of an override, without what is below a recipe."""
    key = word.lstrip("+~").partition("=")[0]
    return "recipe" if key.startswith("recipe.") else key
