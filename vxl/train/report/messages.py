"""What a run prints around its training: new or resumed, what runs where, and what to type next."""

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from vxl.checkpoint.step_folder import StepFolder
from vxl.run.directory import RunDirectory
from vxl.run.name import run_name
from vxl.run.result import Result
from vxl.run.typing_next import more_follows, next_words
from vxl.terminal.screen import prose
from vxl.train.config import TrainConfig
from vxl.train.launch.processes import Processes

if TYPE_CHECKING:  # late: Lightning takes seconds, and a finished run needs none of it
    from vxl.train.debug.profile import Profile


def announce(directory: RunDirectory, checkpoint: Path | None, console: Console) -> None:
    """Prints whether the run is new or goes on, and with which changes of its config."""
    if checkpoint is not None:
        console.print(
            f"{directory.path}: goes on after step {StepFolder(checkpoint).step}",
            markup=False,
            soft_wrap=True,
        )
    elif directory.status == "resume":
        console.print(f"{directory.path}: had no checkpoint yet, begins anew", markup=False, soft_wrap=True)
    else:
        console.print(f"{directory.path}: a new run", markup=False, soft_wrap=True)
    for change in directory.changes:
        console.print(f"  {change.key}: {change.old} -> {change.new}", markup=False, soft_wrap=True)


def start_line(processes: Processes, config: TrainConfig, parameters: int, learning: int) -> str:
    """One line of what runs where: who launched it, strategy, global batch size, what learns, tokens a step.

    Args:
        processes: The processes of the run.
        config: Its config.
        parameters: All parameters of the model.
        learning: Those that learn.
    """
    context = config.strategy.context
    batch = (config.data.batch, config.trainer.accumulate, processes.ranks // context)
    rows = batch[0] * batch[1] * batch[2]
    parts = [
        str(processes),
        f"strategy {config.strategy.name}{f', a row on {context} processes' if context > 1 else ''}",
        f"global batch {rows} rows ({' x '.join(map(str, batch))})",
        f"{learning:,} of {parameters:,} parameters trained",
        f"at most {rows * config.data.max_tokens:,} tokens a step",
    ]
    return " · ".join(parts)


def say_finished(directory: RunDirectory, config: TrainConfig, console: Console) -> Result:
    """Shows the result of a run that is finished, and how to train longer or anew.

    Of a member of a sweep a line: the sweep ends with a table of all; and of a stage that others follow.
    """
    result = Result.read(directory.result)
    if config.sweep_name is not None or more_follows():
        prose(console, f"{directory.path} is finished ({result.steps} steps); nothing to do.")
        return result
    result.show(console, next_command(config))
    console.print(
        f"{directory.path} is finished ({result.steps} steps); nothing to do.\n"
        f"  train it longer:   trainer.max_steps={2 * config.trainer.max_steps}\n"
        f"  start it anew:     on_existing=overwrite  (removes it)\n"
        f"  another name:      name=NAME",
        markup=False,
        soft_wrap=True,
    )
    return result


def next_command(config: TrainConfig) -> str:
    """What to type when a run is finished, and what explains its numbers.

    Of a member of a sweep nothing, the whole says it; of a stage that others follow nothing to type.
    """
    if config.sweep_name is not None:
        return ""
    name, baseline = run_name(config), ""
    if config.stage.objective == "language":
        asked = ["benchmark=json", "benchmark.json=HELD_OUT.json", "benchmark.videos=FOLDER"]
        if config.data.benchmark is not None:
            asked = [f"benchmark={config.data.benchmark}"]
        script, words = "evaluate", [f"run={name}", *asked]
    else:
        script, words = "train", [f"model={config.model}", f"init_from={name}", "stage=align"]
        baseline = "baseline: a group's mean patch in every place\n"
    unheld = config.stage.objective == "language" and not config.data.holds_out
    if more_follows():
        return baseline.rstrip()
    held_out = "held-out numbers while it trains:  data.val=…\n" if unheld else ""
    typed = next_words(script, *words, runs=config.paths.runs, plugins=config.plugins)
    return f"{baseline}{held_out}next:  {typed}"


def show_stopped(step: int, config: TrainConfig, console: Console) -> None:
    """Prints that a run was interrupted, and how to go on."""
    console.print(
        f"stopped after step {step} of {config.trainer.max_steps}; checkpoint saved.\n"
        "go on:  the same command again",
        markup=False,
    )


def show_profile(profile: "Profile", console: Console) -> None:
    """Prints a profile's summary and where its trace lies."""
    profile.show(console)
    console.print(
        f"trace:  {profile.folder}/trace.json  (chrome://tracing, ui.perfetto.dev)",
        markup=False,
        soft_wrap=True,
    )
