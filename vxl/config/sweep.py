"""Sweeps: `+sweep=NAME` or `key=a,b` on the command line becomes one run a member, each with its own name.

Hydra parses the values; which runs they make, what the sweep is called and where it lies is decided here.
"""

import hashlib
import itertools
import json
import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vxl.config.check_training import refuse_to_begin
from vxl.config.compose import checked, compose_yaml, translated, typed
from vxl.config.hydra_words import parsed, sweep_options, sweep_params, values_by_key
from vxl.config.member import SweepMember
from vxl.config.origins import key_of_override
from vxl.errors import ConfigError
from vxl.option.build import build
from vxl.run.changes import identity
from vxl.run.name import member_folder
from vxl.terminal.say import complain

if TYPE_CHECKING:  # late: OmegaConf, for composing alone
    from omegaconf import DictConfig

# Overrides that were no part of a sweep's name when it was made of the command's text.
_NOT_IN_TEXT = ("hydra", "paths", "logger", "debug", "dry_run", "on_existing", "cluster", "strategy", "name")

MOST = 1000
"""Members of a sweep: each is composed and checked before the first one begins."""


@dataclass(frozen=True)
class Sweep:
    """The runs that one command asks for."""

    name: str
    """Folder below paths.runs."""
    folder: Path
    """The same with paths.runs."""
    members: list[list[str]]
    """The overrides of each member, as one would type them for it alone."""
    refused: dict[int, ConfigError] = field(default_factory=dict)
    """What is wrong with which members; the others run."""

    @property
    def sound(self) -> list[list[str]]:
        """The members that can run."""
        return [words for number, words in enumerate(self.members) if number not in self.refused]

    def member(self, words: list[str]) -> SweepMember:
        """The member that overrides make; where they make no config, its name is of the values as typed."""
        try:
            member = SweepMember.of(_composed(words))
        except ConfigError:
            values = {key_of_override(word): word.partition("=")[2].strip("'") for word in words}
            label = re.sub(r"\$\{([\w.]+)\}", lambda key: values[key[1]], values["sweep_member"])
            member = SweepMember(self.name, member_folder(label), self.folder / member_folder(label))
        assert member is not None, words
        return member


def plan_sweep(words: list[str], multirun: bool, folders: Sequence[Path]) -> Sweep | None:
    """The sweep that overrides ask for; None where they ask for one run.

    Args:
        words: The overrides of the command line.
        multirun: Whether `--multirun` is given, so that a single value is a sweep of one member.
        folders: The config folders.

    Raises:
        ConfigError: The sweep doesn't exist, has too many members, its members need processes that no
            launcher would start, or something is wrong with all of them.
    """
    overrides = parsed(words)
    if overrides is None:
        return None
    options = [value for o in overrides if o.key_or_group == "sweep" for value in sweep_options(o, folders)]
    swept = {o.key_or_group for o in overrides if o.is_sweep_override() and o.key_or_group != "sweep"}
    if not options and not swept and not multirun:
        return None
    fixed = {o.key_or_group: str(o.input_line) for o in overrides if o.key_or_group not in swept}
    params = sweep_params(options, folders)
    for key in params.keys() & fixed.keys():
        complain(
            f"{fixed[key]} on the command line replaces the sweep's {key}={params[key]}: it varies no more."
        )
    typed_keys = {o.key_or_group for o in overrides}
    file_words = [f"{key}={value}" for key, value in params.items() if key not in typed_keys]
    common_words = [str(o.input_line) for o in overrides if o.key_or_group not in ("sweep", "name")]
    if "name" in swept:
        raise ConfigError(
            "a sweep has one name, and its members are named after what they vary.\n  type  name=NAME"
        )
    values = values_by_key([*file_words, *common_words], folders)
    if (count := math.prod(map(len, values.values()))) > MOST:
        raise ConfigError(f"the values that are listed make {count:,} members.\n  allowed: {MOST:,}")
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
    return Sweep(name, runs / name, members, _refused(members))


def _bare(key: str) -> str:
    return key.lstrip("+~")


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


def _refused(members: Sequence[list[str]]) -> dict[int, ConfigError]:
    """What is wrong with which members, before the first of them takes hours.

    Raises:
        ConfigError: Something is wrong with all.
    """
    refused: dict[int, ConfigError] = {}
    for number, words in enumerate(members):
        try:
            refuse_to_begin(checked(_composed(words), "train"), words)
        except ConfigError as error:
            refused[number] = error
    if len(refused) == len(members):
        reasons = list(dict.fromkeys(map(str, refused.values())))
        more = [f"… and {len(reasons) - 3} more members like these"] if len(reasons) > 3 else []
        raise ConfigError("\n\n".join([*reasons[:3], *more]))
    return refused


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
