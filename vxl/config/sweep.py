"""Sweeps: `+sweep=NAME` or `key=a,b` on the command line becomes one run a member, each with its own name.

Hydra parses the values; which runs they make, what the sweep is called and where it lies is decided here.
"""

import hashlib
import itertools
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vxl.config.check_training import refuse_to_begin
from vxl.config.compose import checked, compose_yaml, translated, typed
from vxl.config.origins import key_of_override
from vxl.errors import ConfigError
from vxl.option.build import build
from vxl.option.read_yaml import read_yaml
from vxl.run.changes import identity
from vxl.terminal.say import complain

if TYPE_CHECKING:  # late: Hydra, for composing alone
    from hydra.core.override_parser.types import Override
    from omegaconf import DictConfig

# Overrides that were no part of a sweep's name when it was made of the command's text.
_NOT_IN_TEXT = ("hydra", "paths", "logger", "debug", "dry_run", "on_existing", "cluster", "strategy", "name")


@dataclass(frozen=True)
class Sweep:
    """The runs that one command asks for."""

    name: str
    """Folder below paths.runs."""
    folder: Path
    """The same with paths.runs."""
    members: list[list[str]]
    """The overrides of each member, as one would type them for it alone."""


def plan_sweep(words: list[str], multirun: bool, folders: Sequence[Path]) -> Sweep | None:
    """The sweep that overrides ask for; None where they ask for one run.

    Args:
        words: The overrides of the command line.
        multirun: Whether `--multirun` is given, so that a single value is a sweep of one member.
        folders: The config folders.

    Raises:
        ConfigError: The sweep doesn't exist, its members need processes that no launcher would start, or the
            same is wrong with its first and its last member.
    """
    overrides = parsed(words)
    if overrides is None:
        return None
    options = [value for o in overrides if o.key_or_group == "sweep" for value in _options(o, folders)]
    swept = {o.key_or_group for o in overrides if o.is_sweep_override() and o.key_or_group != "sweep"}
    if not options and not swept and not multirun:
        return None
    fixed = {o.key_or_group: str(o.input_line) for o in overrides if o.key_or_group not in swept}
    params = _params(options, folders)
    for key in params.keys() & fixed.keys():
        complain(
            f"{fixed[key]} on the command line replaces the sweep's {key}={params[key]}: it varies no more."
        )
    typed_keys = {o.key_or_group for o in overrides}
    file_words = [f"{key}={value}" for key, value in params.items() if key not in typed_keys]
    common_words = [str(o.input_line) for o in overrides if o.key_or_group not in ("sweep", "name")]
    values = _values([*file_words, *common_words], folders)
    # What a sweep file gives one value is the same for all members, and no part of their names.
    keys = [key for key, listed in values.items() if len(listed) > 1 or _bare(key) in swept]
    base = [word for key, listed in values.items() if key not in keys for word in listed]
    bare_keys = list(map(_bare, keys))
    combined = [list(member) for member in itertools.product(*values.values())]
    config = _first_that_composes([base, *combined])
    _refuse_idle_devices(config, words)
    label = "+".join(options) or "+".join(key.rpartition(".")[2] for key in bare_keys) or "sweep"
    runs = Path(config.paths.runs)
    name = fixed.get("name", "=").partition("=")[2].strip("'\"")
    if not name:
        name = _name(label, _digest(bare_keys, [config, *combined]), words, runs)
    members = [
        _with_room(m, words, [f"sweep_name='{name}'", f"sweep_member='{_label(m, keys, folders)}'"])
        for m in combined
    ]
    _refuse_for_all(members)
    return Sweep(name, runs / name, members)


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


def _values(words: Sequence[str], folders: Sequence[Path]) -> dict[str, list[str]]:
    """The overrides that each key is given, one for each value of a sweep; of a key given twice, the last."""
    values_by_key: dict[str, list[str]] = {}
    for override in parsed(words) or []:
        key, line = override.get_key_element(), override.input_line
        if not override.is_sweep_override():
            values_by_key[key] = [str(line)]
        elif override.is_discrete_sweep():
            values_by_key[key] = [f"{key}={value}" for value in _of_sweep(override, folders)]
        else:
            raise ConfigError(
                f"{line} names no values: a sweep runs every combination of values that are listed.\n"
                f"  forms: {key}=a,b   '{key}=range(1,5)'   '{key}=choice(a,b)'   'GROUP=glob(*)'\n"
                "  a search proposes them:  hydra/sweeper=optuna (docs/compare.md)"
            )
    return values_by_key


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


def _bare(key: str) -> str:
    return key.lstrip("+~")


def _options(override: "Override", folders: Sequence[Path]) -> list[str]:
    """The sweeps that `sweep=a`, `sweep=[a,b]` or `sweep=a,b` names."""
    value = _of_sweep(override, folders) if override.is_discrete_sweep() else override.value()
    return [str(v) for v in value] if isinstance(value, list) else [str(value)]


def _params(options: list[str], folders: Sequence[Path]) -> dict[str, str]:
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


def _composed(words: list[str]) -> Any:
    with translated("train", words):
        return compose_yaml("train", words)


def _first_that_composes(candidates: Sequence[list[str]]) -> Any:
    """The config of the first overrides that make one: a base may need what is swept over (kv.keep)."""
    from hydra.errors import HydraException  # late: Hydra, for composing alone
    from omegaconf.errors import OmegaConfBaseException

    for words in candidates:
        try:
            return compose_yaml("train", words)
        except (HydraException, OmegaConfBaseException, ValueError):
            continue  # of all of them, the last one's mistakes are put in words below
    return _composed(candidates[-1])


def _with_room(member: list[str], words: Sequence[str], names: list[str]) -> list[str]:
    """A member, its names, and `data.max_tokens=` where its videos are too long and none is typed.

    Of this member alone, so that one that joins later changes no other.
    """
    from vxl.compressor.base import plan  # late: torch takes 2 s, and --help needs none of it
    from vxl.config.check import tokens_for

    if any(key_of_override(word) == "data.max_tokens" for word in words):
        return [*member, *names]
    try:
        config = typed(_composed([*member, *names]), "train")
        shape = plan(config.compressor, config.vision.grid)
        groups = shape.groups(max(0, config.video.max_frames))
        visual = build(config.prune).most_fed(groups, shape.tokens_per_group)
    except ConfigError:
        return [*member, *names]  # reported where members are checked
    if visual < config.data.max_tokens:
        return [*member, *names]
    word = f"data.max_tokens={tokens_for(visual)}"
    complain(
        f"{' '.join(member)}: {word}, since a video is {visual:,} visual tokens and the stage's rows have "
        f"{config.data.max_tokens:,}"
    )
    return [*member, word, *names]


def _refuse_idle_devices(composed: "DictConfig", words: list[str]) -> None:
    """Several devices in a sweep without a launcher would re-run the whole sweep in every rank."""
    devices = composed.trainer.get("devices", 1)
    launched = "LOCAL_RANK" in os.environ or "SLURM_PROCID" in os.environ
    many = isinstance(devices, int) and devices > 1
    if many and not launched and is_here(composed):
        words = ["+" + word if word.startswith("sweep=") else word for word in words]
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


def _refuse_for_all(members: Sequence[list[str]]) -> None:
    """Refuses the sweep where the same is wrong with its first and its last member: it is with all."""
    errors: list[ConfigError] = []
    for words in (members[0], members[-1]):
        try:
            refuse_to_begin(checked(_composed(words), "train"), words)
        except ConfigError as error:
            errors.append(error)
        else:
            return
    if str(errors[0]) == str(errors[-1]):
        raise errors[0]


def _name(label: str, digest: str | None, words: Sequence[str], runs: Path) -> str:
    """`<label>-<digest>`: of what is swept over and what identifies the rest, however many members there are.

    A sweep that is there already keeps the name that it has: with another label (`+sweep=compression`, or
    `compressor.ratio=4,8` typed), or from when names were made of the command's text.
    """
    before = f"{label}-{text_digest(words)}"
    if (runs / before).is_dir():
        return before
    digest = digest or text_digest(words)
    there = sorted(folder.name for folder in runs.glob(f"*-{digest}") if folder.is_dir())
    return there[0] if there else f"{label}-{digest}"


def _digest(keys: list[str], candidates: Sequence[Any]) -> str | None:
    """Six hex digits of the identity of a sweep; None where none of its configs can be made.

    Args:
        keys: What is swept over.
        candidates: The composed base, and the overrides of the members in case the base lacks something.
    """
    for candidate in candidates:
        try:
            composed = _composed(candidate) if isinstance(candidate, list) else candidate
            rest = identity(typed(composed, "train"))
        except ConfigError:
            continue  # without a swept key (data.json=a,b) the base may be none
        same = {key: v for key, v in rest.items() if not any(f"{key}.".startswith(f"{k}.") for k in keys)}
        text = json.dumps([sorted(keys), same], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:6]
    return None


def text_digest(words: Sequence[str]) -> str:
    """What sweeps were named by before: the words of the command."""
    words = ["+" + word if word.startswith("sweep=") else word for word in words]
    identifying_words = sorted(
        w for w in words if w.lstrip("+").partition("=")[0].partition(".")[0] not in _NOT_IN_TEXT
    )
    return hashlib.sha256("\n".join(identifying_words).encode()).hexdigest()[:6]


def _label(member: Sequence[str], keys: Sequence[str], folders: Sequence[Path]) -> str:
    """`ratio=${compressor.ratio},kv=snapkv`: values read as the member's own config has them."""
    parts = []
    for key in map(_bare, keys):
        short = key.rpartition(".")[2]
        is_group = any((folder / key).is_dir() for folder in folders)
        option = next(word.partition("=")[2] for word in member if _bare(word).startswith(f"{key}="))
        parts.append(f"{short}={option}" if is_group else f"{short}=${{{key}}}")
    return ",".join(parts) or "only"
