"""`vxl completion SHELL`, and what Tab offers: groups, options, keys, settings, runs; read without torch."""

import argparse
import os
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from vxl.config.catalog import OptionFile, options_by_group
from vxl.errors import ConfigError
from vxl.option.files import CONF
from vxl.option.read_yaml import read_yaml
from vxl.option.rebuild import INTERNAL
from vxl.option.words import flatten
from vxl.run.find import list_runs, runs_folder
from vxl.terminal.say import say

SHELLS = ("bash", "zsh", "fish")
OF_A_CONFIG = ("train", "evaluate", "ask", "serve", "export", "runs", "explain")
"""Commands whose words are groups and keys."""
OF_RUNS = ("compare", "wandb", "serve", "export")
"""Commands whose first word is a run."""
RUNS = ("run", "init_from")
"""Keys whose values are runs."""


def run_completion(words: Sequence[str]) -> None:
    """Prints what a shell evaluates once, so that Tab completes `vxl`."""
    import argcomplete  # late: argcomplete, which only what a shell asks needs

    if len(words) != 1 or words[0] not in SHELLS:
        raise ConfigError(
            f"vxl completion takes one of {', '.join(SHELLS)}; got {' '.join(words) or 'none'}."
        )
    say(argcomplete.shellcode(["vxl"], shell=words[0]))


def typed_before() -> list[str]:
    """The words of the line that is being completed, before the one at the cursor."""
    line = os.environ.get("COMP_LINE", "")[: int(os.environ.get("COMP_POINT", "1000000"))]
    line = re.sub(r"\S*$", "", line)
    try:
        return shlex.split(line)
    except ValueError:  # an open quote
        return line.split()


def answer_tab(made: argparse.ArgumentParser) -> None:
    """Answers the shell that asks what may follow, and ends the process."""
    import argcomplete  # late: argcomplete, as above

    command, *before = [*typed_before()[1:], ""]

    def offered(prefix: str, **_: Any) -> list[str]:
        return offers(command, before, prefix, settings)

    settings: list[str] = []
    for parser in _subparsers(made):
        words = next((action for action in parser._actions if action.dest == "words"), None)
        if words is not None:
            vars(words)["completer"] = offered
        if parser.prog == f"vxl {command}":
            settings += re.findall(r"(?<![\w.=])([a-z_]\w*)=", parser.epilog or "")
    argcomplete.autocomplete(made, validator=lambda offer, prefix: offer.startswith(prefix))


def offers(command: str, before: Sequence[str], prefix: str, settings: Iterable[str] = ()) -> list[str]:
    """What may stand where a word begins with `prefix`.

    Args:
        command: Of `vxl`.
        before: The words between the command and this one: choices there say which keys there are.
        prefix: What is typed of the word.
        settings: Keys of the command's own.

    Returns:
        Whole words, or words that end in `=` or `.` where more must follow.
    """
    added = prefix[: len(prefix) - len(prefix.lstrip("+~"))]
    if added and command == "train":  # +sweep=NAME, as it is typed
        return [added + word for word in offers(command, before, prefix.removeprefix(added), settings)]
    options = options_by_group() if command in OF_A_CONFIG else {}
    key, equals, value = prefix.partition("=")
    if equals:
        several, comma, _ = value.rpartition(",")
        values = _values(key, options, before)
        return _fitting((f"{key}={several}{comma}{each}" for each in values), prefix)
    watches = command == "runs" and "watch" in before
    found: set[str] = set(_runs()) if command in OF_RUNS or watches else set()
    if command == "runs" and not watches:
        found.add("watch")
    found |= {f"{name}=" for name in settings}
    group, dot, _ = prefix.partition(".")
    if command in OF_A_CONFIG:
        found |= {f"{name}=" for name in (*options, *_defaults_of_run(command))}
    if dot and group in options:
        found |= {f"{group}.{name}=" for name in _defaults(options[group], group, before)}
    if command == "explain":
        found = {name.removesuffix("=") for name in found}
    return _fitting(found, prefix)


def _values(key: str, options: dict[str, dict[str, OptionFile]], before: Sequence[str]) -> list[str]:
    """The values that a key may have: options of a group, runs, true and false."""
    if key in options:
        return list(options[key])
    if key in RUNS:
        return list(_runs())
    group, _, name = key.partition(".")
    defaults = _defaults(options[group], group, before) if name and group in options else {}
    of_run = {**_defaults_of_run("train"), **_defaults_of_run("evaluate")}
    return ["true", "false"] if isinstance(defaults.get(name, of_run.get(key)), bool) else []


def _defaults(options: dict[str, OptionFile], group: str, before: Sequence[str]) -> dict[str, Any]:
    """The keys of the option that was typed for a group; those of all where none was."""
    typed = [word.partition("=")[2] for word in before if word.startswith(f"{group}=")]
    chosen = [options[name] for name in typed if name in options] or list(options.values())
    parts = [option.values for option in chosen if not option.is_global]
    return {key: value for values in parts for key, value in flatten(values).items() if key != "_target_"}


def _defaults_of_run(command: str) -> dict[str, Any]:
    """The keys of a run that belong to no group."""
    file = CONF / ("evaluate.yaml" if command == "evaluate" else "train.yaml")
    values = read_yaml(file.read_text()) or {}
    hidden = ("defaults", *INTERNAL)
    return {key: value for key, value in values.items() if key not in hidden and not isinstance(value, dict)}


def _runs() -> Iterator[str]:
    """Names of runs and sweeps below the folder of runs."""
    for run in list_runs(runs_folder()):
        if run.status == "new":  # looked at, and never trained
            continue
        yield run.name
        if "/" in run.name:
            yield run.name.partition("/")[0]


def _fitting(words: Iterable[str], prefix: str) -> list[str]:
    return sorted({word for word in words if word.startswith(prefix)})


def _subparsers(made: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    for action in made._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.values()
