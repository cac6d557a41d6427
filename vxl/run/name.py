"""What a run is called."""

import re

from vxl.run.changes import fingerprint
from vxl.run.config import RunConfig


def member_folder(member: str) -> str:
    """A member's name as that of a folder: `train=[projector]` without brackets, quotes and slashes."""
    return re.sub(r"[\s'\"\[\]{}]", "", member.replace("/", "_")) or "only"


def run_name(config: RunConfig) -> str:
    """The run's name below paths.runs: `name`, a sweep's member, or `<model>-<hash of its identity>`."""
    if config.sweep_name:
        return f"{config.sweep_name}/{member_folder(str(config.sweep_member))}"
    return config.name or f"{config.model}-{fingerprint(config)}"
