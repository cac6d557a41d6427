"""`vxl explain cost`: what a training would take, before any GPU is asked for."""

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape

from vxl.config.check_training import check_training
from vxl.config.compose import compose
from vxl.errors import ConfigError
from vxl.table import facts
from vxl.train.cost import CARD_GIB, TrainingCost, assumed
from vxl.train.recomputing import decide
from vxl.units import GIB

NUMBERS = ("tokens", "frames", "mfu")


def explain_cost(words: Sequence[str], plugins: Sequence[str], console: Console) -> None:
    """Prints what the training that the words describe would cost; nothing is built or read.

    Args:
        words: Settings as for train.py, `devices=8` for trainer.devices (then fsdp2 where no strategy is
            named); and what the arithmetic assumes: `tokens=` and `frames=` of a mean row, `mfu=`, `card=`.
        plugins: Packages whose options may be named.
        console: Where to print.

    Raises:
        ConfigError: A setting is wrong.
    """
    settings = [f"plugins=[{','.join(plugins)}]"] if plugins else []
    numbers: dict[str, float | None] = dict.fromkeys(NUMBERS)
    card = "H100"
    for word in words:
        key, _, value = word.partition("=")
        if key in NUMBERS:
            try:
                numbers[key] = float(value)
            except ValueError as error:
                raise ConfigError(
                    f"{word}: expected a number.\n  e.g.  vxl explain cost {key}=0.4"
                ) from error
        elif key == "card":
            card = value
        else:
            settings.append(f"trainer.{word}" if key == "devices" else word)
    several = any(word.startswith(("trainer.devices=", "trainer.num_nodes=")) for word in settings)
    if several and not any(word.startswith("strategy=") for word in settings):
        settings.append("strategy=fsdp2")  # one GPU's own, single, is refused
    config = compose("train", settings)
    if config.recipe is not None:
        stages = ", ".join(stage.stage for stage in config.recipe.stages)
        raise ConfigError(
            f"a recipe has stages, each of which costs its own: {stages}\n"
            f"  type  vxl explain cost stage={config.recipe.stages[0].stage} …   without recipe="
        )
    check_training(config)
    under = assumed(config, card=card, **numbers)
    card_bytes = CARD_GIB[under.card] * GIB
    recomputing = decide(config, card_bytes, tokens=under.tokens, frames=under.frames)
    cost = TrainingCost.of(config if recomputing is None else recomputing.settle(config), under)
    rows = [*cost.rows(), *([] if recomputing is None else [("blocks", str(recomputing))])]
    title = escape(" ".join(settings) or "model=tiny")
    console.print(facts(title, [(what, escape(text)) for what, text in rows]))
    console.print(
        "assumed: rows as full as they may be, unless tokens= and frames= say what a mean row has; mfu= is "
        f"the share of the peak that is reached, card= one of {', '.join(CARD_GIB)}",
        soft_wrap=True,
        highlight=False,
    )
