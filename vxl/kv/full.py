"""Everything stays."""

from dataclasses import dataclass

from vxl.kv.policy import Policy, PolicyConfig


@dataclass(frozen=True, kw_only=True)
class FullConfig(PolicyConfig):
    """Everything stays."""

    _target_: str = "vxl.kv.full.Full"


class Full(Policy):
    """Everything stays."""

    def __init__(self, config: FullConfig) -> None:
        super().__init__(config)
