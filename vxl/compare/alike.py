"""What does not tell members apart and must be known: budgets of policies, what evaluations set."""

from collections.abc import Sequence
from dataclasses import dataclass

from vxl.compare.differences import changed
from vxl.compare.member import Member
from vxl.evaluate.work.changes import BUDGETS
from vxl.option.words import as_typed


@dataclass(frozen=True)
class Alike:
    """A key with the value that it has wherever there is one."""

    key: str
    value: str
    options: list[str]
    """The options that have it (snapkv, recent); none where all members have the same."""
    member: Member
    """One that has it."""

    def __str__(self) -> str:
        """`kv.keep=0.5`."""
        return f"{self.key}={self.value}"


def alike(members: Sequence[Member], keys: Sequence[str]) -> list[Alike]:
    """Budgets of policies and keys that evaluations set, of those that are not among the differing keys.

    Args:
        members: The members.
        keys: The differing keys.
    """
    found: dict[str, Alike] = {}
    for member in members:
        policy = member.parts.get("kv")
        budgets = policy if isinstance(policy, dict) else {}
        words = {f"kv.{key}": as_typed(budgets[key]) for key in BUDGETS if budgets.get(key) is not None}
        words |= {key: value for key, value in changed(member.change).items() if "." in key}
        for key, value in words.items():
            if key not in keys:
                one = found.setdefault(f"{key}={value}", Alike(key, value, [], member))
                option = member.differences.get(key.partition(".")[0])
                if option is not None and option not in one.options:
                    one.options.append(option)
    return list(found.values())
