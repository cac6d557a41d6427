"""The run's name: `name=NAME`, or made of the model and a hash of the config."""

import re

from vxl.errors import ConfigError
from vxl.run.changes import config_fingerprint
from vxl.run.config import RunConfig

LONGEST = 200
"""Bytes of a name; file systems take 255, and checkpoints are written under longer ones."""


def member_folder(member: str) -> str:
    """A member's name as that of a folder: `train=[projector]` without brackets, quotes and slashes."""
    return re.sub(r"[\s'\"\[\]{}]", "", member.replace("/", "_")) or "only"


def run_name(config: RunConfig) -> str:
    """The run's name below paths.runs: `name`, a sweep's member, or `<model>-<hash of its identity>`.

    Raises:
        ConfigError: `name` is longer than a folder's name may be.
    """
    if config.sweep_name:
        return f"{config.sweep_name}/{member_folder(str(config.sweep_member))}"
    if config.name and any(len(part.encode()) > LONGEST for part in config.name.split("/")):
        raise ConfigError(
            f"name={config.name[:40]}... is {len(config.name.encode())} bytes long.\n  allowed: {LONGEST}"
        )
    return config.name or f"{config.model}-{config_fingerprint(config)}"
