"""Sweeps: `+sweep=NAME` or `key=a,b` on the command line becomes one run a member, each with its own name."""

import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from vxl.errors import ConfigError
from vxl.run.failure import reason, write_failure
from vxl.run.name import member_folder
from vxl.units import percent

# Hydra's flags that run nothing, and those that a value may follow.
_ONLY_SHOW = {"--help", "-h", "--hydra-help", "--cfg", "-c", "--info", "-i", "--version"}
_WITH_VALUE = {"--cfg", "-c", "--info", "-i", "--package", "-p", "--config-path", "-cp"}
_WITH_VALUE |= {"--config-name", "-cn", "--config-dir", "-cd"}
# Overrides that don't change what a sweep is: the same sweep resumes whatever they say.
_NOT_IDENTITY = ("hydra", "paths", "logger", "debug", "dry_run", "on_existing", "cluster", "strategy", "name")


def prepare(
    arguments: list[str],
    compose: Callable[[list[str]], Any],
    check: Callable[[Any], object],
    folders: Sequence[Path],
) -> list[str]:
    """The command line as Hydra should see it.

    Where it asks for a sweep, adds `--multirun` (nobody has to type it), the sweep's name, and the members'
    naming pattern as an interpolation, so that any launcher's jobs agree on them.

    Args:
        arguments: `sys.argv[1:]`.
        compose: Composes a config from overrides.
        check: Raises ConfigError for a composed config that can't run.
        folders: The config folders.

    Raises:
        ConfigError: The sweep doesn't exist, its members need processes that nobody would start, or something
            is wrong with all of them.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import Override
    from hydra.errors import HydraException

    flags, words = _flags_first(arguments)
    words = ["+" + word if word.startswith("sweep=") else word for word in words]
    if set(flags) & _ONLY_SHOW:
        return flags + words
    try:
        overrides: list[Override] = OverridesParser.create().parse_overrides(words)
    except HydraException:  # Hydra meets it again, and it is put in words then
        return flags + words
    options = [v for o in overrides if o.key_or_group == "sweep" for v in _listed(o.value())]
    swept = {o.key_or_group: o for o in overrides if o.is_sweep_override() and o.key_or_group != "sweep"}
    multirun = any(flag in ("-m", "--multirun") for flag in flags)
    if not options and not swept and not multirun:
        return flags + words
    params = _params(options, folders)
    fixed = {o.key_or_group: w for o, w in zip(overrides, words, strict=True) if o.key_or_group not in swept}
    for key in params.keys() & fixed.keys():
        print(
            f"{fixed[key]} on the command line replaces the sweep's {key}={params[key]}: it varies no more.",
            file=sys.stderr,
        )
    # What a sweep file gives one value is the same for all members, and no part of their names.
    keys = list(dict.fromkeys([*(key for key, value in params.items() if "," in str(value)), *swept]))
    base = [
        w
        for o, w in zip(overrides, words, strict=True)
        if not o.is_sweep_override() or o.key_or_group == "sweep"
    ]
    config = compose([w for w in base if not w.startswith("+sweep=")])
    if "sweep_name" not in config:
        raise ConfigError(
            f"{' '.join([*swept] or flags)} asks for several runs; only python train.py does that.\n"
            "  type one command for each"
        )
    _refuse_idle_devices(config, words)
    name = fixed.get("name", "=").partition("=")[2] or _name(options, keys, words)
    words = [w for w in words if not w.startswith("name=")]
    words += [f"sweep_name='{name}'", f"sweep_member='{_pattern(keys, config)}'"]
    if not any(_is_group(key, config) for key in keys):
        lists = {key: str(value).split(",") for key, value in params.items()}
        lists |= {key: list(override.sweep_string_iterator()) for key, override in swept.items()}
        ends = [
            [f"{key}={values[at]}" for key, values in lists.items() if key not in fixed] for at in (0, -1)
        ]
        _refuse_for_all(ends, [w for w in base if not w.startswith("+sweep=")], name, compose, check)
    return [flag for flag in flags if flag not in ("-m", "--multirun")] + ["--multirun", *words]


def expand(arguments: Sequence[str], folders: Sequence[Path]) -> list[list[str]]:
    """The overrides of each member of a prepared sweep, as one would type them for it alone."""
    from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
    from hydra.core.override_parser.overrides_parser import OverridesParser

    _, words = _flags_first(list(arguments))
    parser = OverridesParser.create()
    overrides = parser.parse_overrides(words)
    options = [v for o in overrides if o.key_or_group == "sweep" for v in _listed(o.value())]
    kept = [w for o, w in zip(overrides, words, strict=True) if o.key_or_group != "sweep"]
    typed = {o.key_or_group for o in overrides}
    given = [f"{key}={value}" for key, value in _params(options, folders).items() if key not in typed]
    (batch,) = BasicSweeper.split_arguments(parser.parse_overrides([*given, *kept]), max_batch_size=None)
    return [list(member) for member in batch]


def _flags_first(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Hydra's flags with their values, and the overrides: its parser does not take them mixed."""
    flags: list[str] = []
    words: list[str] = []
    for argument in arguments:
        value = bool(flags) and flags[-1] in _WITH_VALUE and "=" not in argument
        (flags if value or argument.startswith("-") else words).append(argument)
    return flags, words


def _listed(value: Any) -> list[str]:
    return [str(v) for v in value] if isinstance(value, list) else [str(value)]


def _params(options: list[str], folders: Sequence[Path]) -> dict[str, str]:
    """What the chosen sweep files vary: {key: "a,b,c"}."""
    params: dict[str, str] = {}
    files = {file.stem: file for folder in folders for file in sorted((folder / "sweep").glob("*.yaml"))}
    for option in options:
        file = files.get(option)
        if file is None:
            known = ", ".join(files)
            raise ConfigError(
                f"sweep={option} does not exist.\n  sweeps: {known}\n  or type the values: seed=0,1,2"
            )
        params |= yaml.safe_load(file.read_text())["hydra"]["sweeper"]["params"]
    return params


def _refuse_idle_devices(config: Any, words: list[str]) -> None:
    """Several devices in a sweep without a launcher would re-run the whole sweep in every rank (P1)."""
    devices = config.get("trainer", {}).get("devices", 1)
    launched = "LOCAL_RANK" in os.environ or "SLURM_PROCID" in os.environ
    many = isinstance(devices, int) and devices > 1
    if many and not launched and is_here(config):
        rest = " ".join(w for w in words if not w.startswith(("trainer.devices=", "cluster=")))
        raise ConfigError(
            f"a sweep with trainer.devices={devices} needs a launcher of {devices} processes a member.\n"
            f"  one device a member:        python train.py {rest} trainer.devices=1\n"
            f"  a SLURM job a member:       python train.py {rest} trainer.devices={devices} cluster=slurm\n"
            f"  processes of this machine:  python train.py {rest} trainer.devices={devices} cluster=local"
        )


def is_here(composed: Any) -> bool:
    """Whether a config runs in this process: no cluster is chosen, or this is a cluster's process."""
    target = str((composed.get("cluster") or {}).get("_target_", "vxl.train.launch.cluster.Here"))
    return target.endswith(".Here") or bool(os.environ.get("VXL_SUBMITTED"))


def _refuse_for_all(
    ends: list[list[str]],
    base: list[str],
    name: str,
    compose: Callable[[list[str]], Any],
    check: Callable[[Any], object],
) -> None:
    """Refuses the sweep where the same is wrong with its first and its last member: it is with all."""
    errors: list[ConfigError] = []
    for number, values in enumerate(ends):
        try:
            check(compose([*base, *values, f"sweep_name='{name}'", f"sweep_member={number}"]))
        except ConfigError as error:
            errors.append(error)
        else:
            return
    if str(errors[0]) == str(errors[-1]):
        raise errors[0]


def _name(options: list[str], keys: list[str], words: list[str]) -> str:
    """`<option>-<hash of the overrides>`: the same command is the same sweep."""
    kept = sorted(w for w in words if w.lstrip("+").partition("=")[0].partition(".")[0] not in _NOT_IDENTITY)
    digest = hashlib.sha256("\n".join(kept).encode()).hexdigest()[:6]
    label = "+".join(options) or "+".join(key.rpartition(".")[2] for key in keys) or "sweep"
    return f"{label}-{digest}"


def _pattern(keys: list[str], config: Any) -> str:
    """`ratio=${compressor.ratio},kv=${hydra:runtime.choices.kv}`: resolved in each member's own config."""
    parts = []
    for key in keys:
        short = key.rpartition(".")[2]
        group = _is_group(key, config)
        parts.append(f"{short}=${{hydra:runtime.choices.{key}}}" if group else f"{short}=${{{key}}}")
    return ",".join(parts) or "only"


def _is_group(key: str, config: Any) -> bool:
    """Whether a key chooses an option of a group."""
    return "." not in key and (hasattr(config.get(key), "keys") or key in ("model", "size", "experiment"))


@dataclass
class Member:
    """One run of a sweep, as the closing table shows it."""

    sweep: str
    name: str
    directory: Path
    error: str | None = None
    seconds: float = 0.0
    started: float = field(default_factory=time.monotonic)

    @classmethod
    def of(cls, composed: Any) -> "Member | None":
        """The member that a composed config is, or None for a single run."""
        if not composed.get("sweep_name"):
            return None
        name = member_folder(str(composed.sweep_member))
        return cls(str(composed.sweep_name), name, Path(composed.paths.runs) / composed.sweep_name / name)

    def fail(self, error: BaseException) -> None:
        """Keeps the reason where `vxl compare` and `vxl runs` find it, if the run did not begin at all.

        A run that began keeps its own (vxl.run.directory), and one that another process is at work on, or
        that has another config, has not failed.
        """
        self.error = reason(error)
        if not any((self.directory / name).exists() for name in (".lock", "provenance.json")):
            write_failure(self.directory, error)
        print(f"\nmember {self.name} failed: {self.error}\n", file=sys.stderr)


def report(members: list[Member]) -> int:
    """Prints the table of all members; exit status 1 if any failed."""
    from rich.console import Console
    from rich.table import Table

    columns: dict[str, tuple[str, Callable[[float], str]]] = {
        "loss": ("loss_last", "{:.3f}".format),
        "held-out acc": ("heldout_accuracy", percent),
        "seconds": ("seconds", "{:,.0f}".format),
    }
    table = Table(title=f"sweep {members[0].sweep}", title_justify="left")
    table.add_column("member")
    table.add_column("status")
    for column in columns:
        table.add_column(column, justify="right")
    for member in members:
        result = member.directory / "RESULT.json"
        numbers = json.loads(result.read_text()) if result.exists() and member.error is None else {}
        status = (
            "failed: " + member.error.splitlines()[0]
            if member.error
            else "finished"
            if numbers
            else "previewed"
        )
        found = [(numbers.get(key), write) for key, write in columns.values()]
        shown = ["-" if value is None else write(value) for value, write in found]
        table.add_row(member.name, status, *shown)
    console = Console()
    console.print(table)
    failed = sum(member.error is not None for member in members)
    if failed:
        console.print(f"{failed} of {len(members)} members failed; the same command runs only those again.")
    else:
        console.print(f"compare:  vxl compare {members[0].sweep}")
    return 1 if failed else 0
