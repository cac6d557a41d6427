"""Hydra's words on the command line: overrides, values of sweeps, and what flags and settings mean here."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vxl.errors import ConfigError
from vxl.option.read_yaml import read_yaml

if TYPE_CHECKING:  # late: Hydra, for composing alone
    from hydra.core.override_parser.types import Override

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


def parsed(words: Sequence[str]) -> "list[Override] | None":
    """The overrides; None where one can't be read (composing meets it again, and it is put in words then)."""
    # late: Hydra, for composing alone
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    words = ["+" + word if word.startswith("sweep=") else word for word in words]
    try:
        return OverridesParser.create().parse_overrides(list(words))
    except HydraException:
        return None


def values_by_key(words: Sequence[str], folders: Sequence[Path]) -> dict[str, list[str]]:
    """The overrides that each key is given, one for each value of a sweep; of a key given twice, the last."""
    by_key: dict[str, list[str]] = {}
    for override in parsed(words) or []:
        key, line = override.get_key_element(), override.input_line
        if not override.is_sweep_override():
            by_key[key] = [str(line)]
        elif override.is_discrete_sweep():
            by_key[key] = [f"{key}={value}" for value in dict.fromkeys(_of_sweep(override, folders))]
            if not by_key[key]:
                raise ConfigError(f"{line} lists no value.\n  e.g.  '{key}=range(1,4)'  is 1, 2 and 3")
        else:
            raise ConfigError(
                f"{line} names no values: a sweep runs every combination of values that are listed.\n"
                f"  forms: {key}=a,b   '{key}=range(1,5)'   '{key}=choice(a,b)'   'GROUP=glob(*)'\n"
                "  a search proposes them:  hydra/sweeper=optuna (docs/compare.md)"
            )
    return by_key


def _of_sweep(override: "Override", folders: Sequence[Path]) -> list[str]:
    """The values of a discrete sweep; those of `glob(…)` are a group's options."""
    from hydra.core.override_parser.types import Glob  # late: Hydra, for composing alone

    pattern = override.value()
    if not isinstance(pattern, Glob):
        return list(override.sweep_string_iterator())
    group = override.key_or_group
    options = sorted({file.stem for folder in folders for file in (folder / group).glob("*.yaml")})
    matching = pattern.filter(options)
    if not matching:
        raise ConfigError(
            f"{override.input_line} matches no option of {group}.\n  options of {group}: {', '.join(options)}"
            if options
            else f"{override.input_line}: {group} is no group of options.\n  list the values:  {group}=a,b"
        )
    return matching


def sweep_options(override: "Override", folders: Sequence[Path]) -> list[str]:
    """The sweeps that `sweep=a`, `sweep=[a,b]` or `sweep=a,b` names."""
    value = _of_sweep(override, folders) if override.is_discrete_sweep() else override.value()
    return [str(v) for v in value] if isinstance(value, list) else [str(value)]


def sweep_params(options: list[str], folders: Sequence[Path]) -> dict[str, str]:
    """What the chosen sweep files vary: {key: "a,b,c"}."""
    params: dict[str, str] = {}
    files = {file.stem: file for folder in folders for file in sorted((folder / "sweep").glob("*.yaml"))}
    for option in options:
        file = files.get(option)
        if file is None:
            sweep_names = ", ".join(files)
            raise ConfigError(
                f"sweep={option} does not exist.\n  sweeps: {sweep_names}\n  or type the values: seed=0,1,2"
            )
        params |= read_yaml(file.read_text())["hydra"]["sweeper"]["params"]
    return params
