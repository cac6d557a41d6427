"""Searches: a sweeper of Hydra's plug-ins, or W&B's agent, proposes the values, one run a proposal.

`hydra/sweeper=NAME` runs the trials here, one after the other, and gets the objective of each.
Under `wandb agent` each proposal is a command of its own, and its run lies below the W&B sweep's id.
"""

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from vxl.config.compose import compose_yaml, translated
from vxl.config.hydra_words import parsed
from vxl.config.member import Outcome, report
from vxl.config.origins import key_of_override
from vxl.config.sweep import is_here, text_digest
from vxl.errors import ConfigError, VxlError
from vxl.option.files import CONF
from vxl.run.find import Run
from vxl.run.metrics import MetricsFile
from vxl.run.objective import objective
from vxl.terminal.say import say

_SWEEPER = "hydra/sweeper"
_OF_THE_SEARCH = ("hydra", "name", "sweep", "sweep_name")
"""First parts of keys that are about the search and not about one of its trials."""

_INSTALL = "pip install hydra-optuna-sweeper 'sqlalchemy<2' 'alembic<1.9'"


def sweeper_of(words: Sequence[str]) -> str | None:
    """The sweeper that a command line chooses; None for vxl's own grids."""
    chosen = [word.partition("=")[2] for word in words if key_of_override(word) == _SWEEPER]
    return None if not chosen or chosen[-1] == "basic" else chosen[-1]


def run_search(words: list[str], run_member: Callable[[list[str]], Outcome]) -> int:
    """Lets a sweeper propose trials and tells it what came of each; exit status 1 where one failed.

    Args:
        words: The overrides, with `hydra/sweeper=NAME` and its settings.
        run_member: Carries out one run.

    Raises:
        ConfigError: The sweeper is not installed, or its trials can't run here.
    """
    import hydra  # late: Hydra, for composing alone
    from hydra.core.hydra_config import HydraConfig

    sweeper = sweeper_of(words)
    _refuse_absent(str(sweeper))
    fixed = [o for o in parsed(words) or [] if not o.is_sweep_override()]
    fixed_words = [str(o.input_line) for o in fixed if _first(str(o.key_or_group)) not in _OF_THE_SEARCH]
    _refuse_elsewhere(fixed_words)
    named = [str(o.value()) for o in fixed if o.key_or_group == "name" and o.value()]
    name = named[-1].strip("'\"") if named else f"{sweeper}-{text_digest(words)}"
    fixed_keys = {o.key_or_group for o in fixed}
    outcomes: list[Outcome] = []

    def trial(_: Any) -> float:
        task = map(str, HydraConfig.get().overrides.task)
        proposed = [word for word in task if key_of_override(word) not in {*fixed_keys, "sweep_name"}]
        label = ",".join(map(_short, proposed)) or "only"
        say(f"\ntrial {len(outcomes) + 1}: {label}")
        own = [f"sweep_name='{name}'", f"sweep_member='{label}'"]
        outcomes.append(run_member([*fixed_words, *proposed, *own]))
        return _reached(outcomes[-1])

    others = [word for word in words if key_of_override(word) not in ("name", "sweep_name")]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come to us as they are, and we print them
    sys.argv[1:] = ["--multirun", *others, f"sweep_name='{name}'"]
    try:
        with translated("train", words):
            hydra.main(version_base="1.3", config_path=str(CONF), config_name="train")(trial)()
    except VxlError as error:
        if not outcomes:
            raise
        say(f"\nthe search has ended: {error}", error=True)
    except Exception as error:  # of the plug-in's own: trials keep theirs
        raise _broken(str(sweeper), error) from error
    status = report(outcomes)
    _say_best([outcome for outcome in outcomes if outcome.error is None])
    return status


def as_agents_run(words: list[str]) -> list[str]:
    """Puts a run that `wandb agent` starts below its sweep, under W&B's id of it, unless it has a name."""
    sweep, run = os.environ.get("WANDB_SWEEP_ID"), os.environ.get("WANDB_RUN_ID")
    named = {key_of_override(word) for word in words} & {"name", "sweep_name", "sweep", "recipe"}
    if not sweep or not run or named:
        return words
    return [*words, f"sweep_name='{sweep}'", f"sweep_member='{run}'"]


def _reached(outcome: Outcome) -> float:
    """The objective of a trial.

    Raises:
        ConfigError: The trial failed, or the metric was never measured.
    """
    if outcome.error is not None:
        raise ConfigError(f"{outcome.member.name} failed: {outcome.error.partition(chr(10))[0]}")
    name, mode = _sought(outcome)
    found = objective(MetricsFile(outcome.member.directory / "metrics.csv"), name, mode)
    if found is None:
        raise ConfigError(
            f"checkpoint.best={name} was not measured, so there is nothing to search by.\n"
            "  e.g.  checkpoint.best=val/accuracy checkpoint.mode=max trainer.val_every=50"
        )
    return found


def _sought(outcome: Outcome) -> tuple[str | None, str]:
    """(metric, min or max) of a trial."""
    config = Run(outcome.member.name, outcome.member.directory).config
    return config["checkpoint"]["best"], config["checkpoint"]["mode"]


def _say_best(finished: Sequence[Outcome]) -> None:
    if not finished:
        return
    name, mode = _sought(finished[0])
    choose = min if mode == "min" else max
    best = choose(finished, key=_reached)
    say(f"best of {len(finished)}: {best.member.name}, {name} {_reached(best):.4g} ({mode})")


def _refuse_absent(sweeper: str) -> None:
    """Refuses a sweeper whose plug-in is not installed."""
    from hydra.core.plugins import Plugins  # late: Hydra, for composing alone

    Plugins.instance()  # their configs are registered by importing them
    from hydra.core.config_store import ConfigStore  # late: Hydra, for composing alone

    there = [name.removesuffix(".yaml") for name in ConfigStore.instance().list("hydra/sweeper")]
    if sweeper not in there:
        raise ConfigError(
            f"hydra/sweeper={sweeper} is not installed.\n  sweepers here: {', '.join(sorted(there))}\n"
            f"  Optuna's:  {_INSTALL}\n"
            "  every combination of listed values needs none:  optim.lr=1e-3,1e-4 seed=0,1"
        )


def _refuse_elsewhere(words: list[str]) -> None:
    """Refuses what one process can't search through."""
    composed = compose_yaml("train", words)
    devices = composed.trainer.get("devices", 1)
    if composed.get("dry_run") or composed.get("recipe"):
        what = "dry_run=true" if composed.get("dry_run") else f"recipe={composed.recipe}"
        raise ConfigError(f"a search trains one run a trial: {what} can't be searched through.")
    if not is_here(composed) or (isinstance(devices, int) and devices > 1):
        raise ConfigError(
            "a search runs its trials in this process, one after the other: no cluster, one device.\n"
            "  many at once:  a W&B sweep, and wandb agent in a job each (docs/compare.md)"
        )


def _broken(sweeper: str, error: Exception) -> ConfigError:
    """For an error of a sweeper's own code: often it does not fit another package, or a setting of it."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    text = str(error).partition("\n")[0]
    what = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return ConfigError(
        f"hydra/sweeper={sweeper} has failed: {what}  ({Path(last.filename).name}, line {last.lineno})\n"
        "  runs that it has made are kept\n"
        f"  packages that fit Optuna's:  {_INSTALL}\n"
        "  where it failed:  debug=traceback"
    )


def _first(key: str) -> str:
    return key.replace("/", ".").partition(".")[0]


def _short(word: str) -> str:
    """`lr=0.003` of `optim.lr=0.003`."""
    key, _, value = word.lstrip("+").partition("=")
    return f"{key.rpartition('.')[2]}={value}"
