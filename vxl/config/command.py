"""The command lines of train.py and evaluate.py: `command_line` makes an entry point of a function.

Hydra composes, and answers `--cfg`, `--info` and the shell's completion; the runs of a command, one or those
of a sweep or a recipe, are carried out here.
"""

import functools
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from vxl.atomic import why_not
from vxl.config import recipe
from vxl.config.check_training import check_training, refuse_to_begin
from vxl.config.compose import checked, compose_yaml, config_folders, quoted, translated, with_plugins
from vxl.config.evaluation import prepare
from vxl.config.help import help_text
from vxl.config.hydra_words import HELP, ONLY_SHOW, refuse_hydra_settings, split_flags
from vxl.config.member import Outcome, SweepMember, report
from vxl.config.origins import refused_start, with_recipes_model
from vxl.config.search import as_agents_run, run_search, sweeper_of
from vxl.config.sweep import Sweep, is_here, plan_sweep
from vxl.config.unforeseen import ending, in_words
from vxl.errors import GOES_ON, ConfigError, VxlError
from vxl.imported import imported_for_good
from vxl.option.files import CONF
from vxl.run.code import refuse_changed
from vxl.run.typing_next import followed
from vxl.terminal.begin import begin_command
from vxl.terminal.interrupts import hidden_interrupts
from vxl.terminal.say import complain, say, tell
from vxl.terminal.typed import read_words
from vxl.units import human_age

Main = Callable[[Any, str], None]
"""`main(config, composed)`: carries out one run of a checked config; `composed` is the same as YAML."""


def command_line(name: str) -> Callable[[Main], Callable[[], None]]:
    """Decorates `main(config, composed)` so that it can be called as a script.

    `main` gets the config as dataclasses, checked, and the composed YAML text. A user's errors are printed on
    one screen (exit status 2); a sweep runs all its members, ends with a table of them, and exits with 1 if
    any failed. Ctrl-C outside of the training loop ends with a line and status 130.

    Args:
        name: Config file in conf/ without its ending; its schema is vxl.config.schema.root_schema(name).
    """

    def decorate(main: Main) -> Callable[[], None]:
        @functools.wraps(main)
        def script() -> None:
            sys.exit(run_command(name, main, sys.argv[1:]))

        return script

    return decorate


def run_command(name: str, main: Main, arguments: Sequence[str]) -> int:
    """Carries out a command line; returns its exit status."""
    begin_command()
    try:
        arguments = read_words(arguments)
        with hidden_interrupts():
            if name == "evaluate":
                return _run_benchmarks(main, arguments)
            return _run(name, main, [quoted(word) for word in arguments])
    except KeyboardInterrupt:
        if os.environ.get("RANK", "0") == "0":
            say(f"\nstopped; {GOES_ON if name == 'train' else 'the same command goes on'}", error=True)
        return 130
    except Exception as error:
        end = ending(error, arguments)
        if end is None:
            raise
        message, status = end
        complain(f"\n{message}")
        return status


def _run_benchmarks(main: Main, arguments: Sequence[str]) -> int:
    """Runs evaluate.py, once a benchmark; its workers repeat `sys.argv`."""
    each, typed = prepare(arguments), sys.argv[1:]
    try:
        for words in each:
            if len(each) > 1:
                say(f"\n{words[0]}")
            sys.argv[1:] = words
            _run("evaluate", main, [quoted(word) for word in words])
    finally:
        sys.argv[1:] = typed
    return 0


def _run(name: str, main: Main, arguments: list[str]) -> int:
    flags, words = split_flags(arguments)
    words = with_plugins(words)
    if set(flags) & ONLY_SHOW or any(flag.startswith("--shell_completion") for flag in flags):
        return _show(name, flags, words)
    refuse_hydra_settings(flags, words)
    words = with_recipes_model(words)
    if name == "train" and sweeper_of(words):
        return run_search(words, functools.partial(_run_member, main))
    if name == "train":
        words = as_agents_run(words)
    sweep = plan_sweep(words, bool(flags), config_folders(words)) if name == "train" else None
    if sweep is not None:
        return _run_sweep(sweep, main)
    with translated(name, words):
        composed = compose_yaml(name, words)
    if name == "train" and not is_here(composed):
        _ready(words, composed)
        return _hand_over([words])
    try:
        _run_one(name, main, words, composed)
    except Exception as error:
        member = SweepMember.of(composed) if name == "train" else None
        if member is not None:  # a cluster's process carries out one member
            member.failed(error)
        raise
    return 0


def _run_sweep(sweep: Sweep, main: Main) -> int:
    """Carries out all members, whichever fail, and shows what became of them."""
    first = compose_yaml("train", sweep.sound[0])
    if not is_here(first):
        for number, error in sweep.refused.items():
            sweep.member(sweep.members[number]).failed(error)
        return _hand_over(sweep.sound) or (1 if sweep.refused else 0)
    if first.get("dry_run") and not first.get("recipe"):
        return _preview_sweep(sweep)
    try:
        sweep.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{sweep.folder} can't be written: {why_not(error)}") from error
    for number, error in sweep.refused.items():  # before the others take hours
        complain(f"\nmember {sweep.member(sweep.members[number]).name} is refused: {error}")
    outcomes: list[Outcome] = []
    for number, words in enumerate(sweep.members):
        say(f"\nmember {number + 1} of {len(sweep.members)}{_time_left(outcomes, len(sweep.members))}")
        error = sweep.refused.get(number)
        outcomes.append(sweep.member(words).failed(error) if error else _run_member(main, words))
    return report(outcomes, list(first.get("plugins") or []))


def _preview_sweep(sweep: Sweep) -> int:
    """Shows a row a member; a member that is refused does not hide the others."""
    with imported_for_good():
        from vxl.train.preview import preview_members  # late: torch takes 2 s, and --help needs none

    members: list[tuple[str, Any]] = []
    for number, words in enumerate(sweep.members):
        ready = sweep.refused.get(number) or _ready(words, compose_yaml("train", words))
        members.append((sweep.member(words).name, ready))
    status = preview_members(sweep.name, members)
    for words, (_, config) in zip(sweep.members, members, strict=True):
        if not isinstance(config, VxlError) and _say_refused(words, config):
            break
    return status


def _say_refused(words: list[str], config: Any) -> bool:
    """Says below a preview why the command would not run like this; whether it would not."""
    reason = refused_start(config, words)
    if reason is not None:
        tell(f"without dry_run=true this is refused: {reason}")
    return reason is not None


def _time_left(outcomes: Sequence[Outcome], members: int) -> str:
    """About how long the rest takes, by the members that took a while (finished ones are passed over)."""
    took = [outcome.seconds for outcome in outcomes if outcome.error is None and outcome.seconds > 1]
    if not took:
        return ""
    left = sum(took) / len(took) * (members - len(outcomes))
    return f", about {human_age(left)} to go"


def _run_member(main: Main, words: list[str]) -> Outcome:
    with translated("train", words):
        composed = compose_yaml("train", words)
    member = SweepMember.of(composed)
    assert member is not None, words
    start = time.monotonic()
    try:
        _run_one("train", main, words, composed)
    except Exception as error:  # kept and shown: the other members go on
        message = None if isinstance(error, VxlError) else in_words(error)
        if "debug=traceback" in words or not (message or isinstance(error, VxlError)):
            say(traceback.format_exc(), error=True)
        return member.failed(ConfigError(message) if message else error)
    return Outcome(member, seconds=time.monotonic() - start)


def _run_one(name: str, main: Main, words: list[str], composed: Any) -> None:
    """Carries out one run, or the stages of a recipe one after the other."""
    from omegaconf import OmegaConf  # late: OmegaConf, for composing alone

    config = _ready(words, composed) if name == "train" else checked(composed, name)
    if name == "train" and os.environ.get("VXL_SUBMITTED"):
        _refuse_other_code(config.plugins)
    if name != "train" or config.recipe is None:
        main(config, OmegaConf.to_yaml(composed, sort_keys=False))
        if name == "train" and config.dry_run:
            _say_refused(words, config)
        return
    stages = _stages(config, words)
    start, done, steps = time.monotonic(), 0, sum(stage.trainer.max_steps for stage, _ in stages)
    for number, (stage, yaml) in enumerate(stages, 1):
        took = time.monotonic() - start  # a finished stage is passed over, and says nothing of the others
        trained = done and took > number and not config.dry_run
        left = f", about {human_age(took / done * (steps - done))} to go" if trained else ""
        say(f"recipe: stage {number} of {len(stages)}, {stage.name}{left}")
        with followed(by_more=number < len(stages)):
            main(stage, OmegaConf.to_yaml(yaml, sort_keys=False))
        done += stage.trainer.max_steps
    if config.dry_run:
        _say_refused(words, config)


def _stages(config: Any, words: list[str]) -> list[tuple[Any, Any]]:
    """The stages of a recipe, each checked and as it was composed: a mistake in a late one is met at once."""
    composed = list(recipe.stage_configs(config, words, functools.partial(compose_yaml, "train")))
    stages = [checked(stage, "train") for stage in composed]
    for stage in stages:
        check_training(stage)
    return list(zip(stages, composed, strict=True))


def _ready(words: list[str], composed: Any) -> Any:
    """The checked config of a training that may begin: it can learn, and is random on purpose only."""
    config = checked(composed, "train")
    refuse_to_begin(config, words)
    return config


def _hand_over(members: list[list[str]]) -> int:
    """Gives the runs of this command to the cluster that their config names."""
    from omegaconf import OmegaConf  # late: OmegaConf, for composing alone

    from vxl.train.launch.dispatch import dispatch  # late: torch takes 2 s, and --help needs none

    def ready(words: list[str]) -> Any:
        config = _ready(words, compose_yaml("train", words))
        if config.recipe is not None:
            _stages(config, words)
        return config

    def failed(words: list[str], error: VxlError) -> None:
        member = SweepMember.of(compose_yaml("train", words))
        if member is not None:
            member.failed(error)

    return dispatch(
        members,
        compose=ready,
        composed=lambda words: OmegaConf.to_yaml(compose_yaml("train", words), sort_keys=False),
        script=Path(sys.argv[0]),
        failed=failed,
    )


def _refuse_other_code(plugins: list[str]) -> None:
    """Compares code and configs with those that were there when a cluster was given this run."""
    from vxl.train.launch.cluster import ANY_CODE, SUBMITTED  # late: torch takes 2 s, and --help needs none

    record = os.environ[SUBMITTED]
    if record != ANY_CODE:
        refuse_changed(Path(record), plugins)


def _show(name: str, flags: list[str], words: list[str]) -> int:
    """Answers a flag that runs nothing."""
    try:
        if HELP & set(flags):
            with translated(name, words):
                say(help_text(name, words), end="")
        else:
            _show_with_hydra(name, [*flags, *words])
    except BrokenPipeError:  # `python train.py --help | head`
        sys.stderr.close()  # where Python would say, at its end, that the pipe is closed
        return 141
    return 0


def _show_with_hydra(name: str, arguments: list[str]) -> None:
    import hydra  # late: Hydra, for composing alone

    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come to us as they are, and we print them
    sys.argv[1:] = ["+" + word if word.startswith("sweep=") else word for word in arguments]
    with translated(name, [word for word in arguments if not word.startswith("-")]):
        hydra.main(version_base="1.3", config_path=str(CONF), config_name=name)(lambda composed: None)()
