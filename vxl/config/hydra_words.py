"""Hydra's own flags and settings on the command line: what they mean here, and what to type instead."""

from collections.abc import Sequence

from vxl.errors import ConfigError

HELP = {"--help", "-h"}
ONLY_SHOW = HELP | {"--hydra-help", "--cfg", "-c", "--info", "-i", "--version", "--shell-completion"}
ONLY_SHOW |= {"-sc"}
"""Flags that show something and run nothing."""
_MULTIRUN = {"--multirun", "-m"}
_WITH_VALUE = {"--cfg", "-c", "--info", "-i", "--package", "-p", "--config-path", "-cp"}
_WITH_VALUE |= {"--config-name", "-cn", "--config-dir", "-cd", "--shell-completion", "-sc"}
# What a setting of Hydra would do elsewhere, and what does that here.
_INSTEAD = {
    "hydra.run": "a run lies in paths.runs/name.\n  type  paths.runs=FOLDER name=NAME",
    "hydra.sweep": "a sweep lies in paths.runs/name.\n  type  paths.runs=FOLDER name=NAME",
    "hydra.sweeper": "a sweep runs every combination of the values that are listed.\n  e.g.  seed=0,1,2\n"
    "  a search:  hydra/sweeper=optuna 'optim.lr=interval(1e-4,1e-2)' hydra.sweeper.n_trials=20",
    "hydra.launcher": "clusters start runs.\n  type  cluster=slurm or cluster=local",
    "hydra.job": "the working directory and the environment stay as they are.",
    "hydra.verbose": "errors are shown with debug=traceback.",
}


def split_flags(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Hydra's flags with their values, and the overrides: its parser does not take them mixed."""
    flags: list[str] = []
    words: list[str] = []
    for argument in arguments:
        value = bool(flags) and flags[-1] in _WITH_VALUE and "=" not in argument
        (flags if value or argument.startswith("-") else words).append(argument)
    return flags, words


def refuse_hydra_settings(flags: Sequence[str], words: Sequence[str]) -> None:
    """Refuses settings of Hydra that have no effect here, rather than to ignore them.

    Raises:
        ConfigError: One is there; the message says what to type in its place.
    """
    problems = []
    searches = any(w.lstrip("+").startswith("hydra/sweeper=") and not w.endswith("=basic") for w in words)
    for flag in flags:
        if flag.startswith("-") and flag not in _MULTIRUN:
            problems.append(
                f"{flag} has no effect here.\n  flags: --help, --cfg job, --info, -m\n"
                "  configs of your own: plugins=[PACKAGE], or conf/experiment/NAME.yaml"
            )
    for word in words:
        key = word.lstrip("+~").partition("=")[0].replace("/", ".")
        if key.partition(".")[0] != "hydra" or key == "hydra.searchpath":
            continue
        beginning = ".".join(key.split(".")[:2])
        if searches and beginning == "hydra.sweeper":
            continue
        instead = _INSTEAD.get(beginning, "Hydra only composes the config.")
        problems.append(f"{word} has no effect here: {instead}")
    if problems:
        raise ConfigError("\n\n".join(dict.fromkeys(problems)))
