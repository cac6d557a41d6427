"""What the keys mean in which members differ: what their options' files and dataclasses say of them."""

import typing
from typing import Any

from vxl.compare.comparison import Comparison
from vxl.compare.differences import changed
from vxl.compare.member import Member
from vxl.errors import VxlError
from vxl.evaluate.work.changes import BUDGETS
from vxl.option.files import leading_comment, option_files
from vxl.option.read_yaml import read_yaml
from vxl.option.schema import meanings, schema_of
from vxl.option.words import as_typed
from vxl.train.config import TrainConfig

MOST = 8
"""Options of one key at most that are explained."""


def glossary(comparison: Comparison) -> list[tuple[str, str]]:
    """[(`kv=snapkv` or `compressor.ratio`, its meaning)] of all that differs and whose meaning is known."""
    found: dict[str, str] = {}
    for key in comparison.keys:
        values = list(dict.fromkeys(member.differences[key] for member in comparison.members))
        options = option_files(key)
        if options:
            for value in [value for value in values if value in options][:MOST]:
                found[f"{key}={value}"] = leading_comment(options[value])[0]
        else:
            texts = (_of_key(key, member) for member in comparison.members if member.differences[key] != "-")
            found[key] = next(filter(None, texts), "")
    return [*((name, text) for name, text in found.items() if text), *_alike(comparison)]


def _alike(comparison: Comparison) -> list[tuple[str, str]]:
    """What is the same for all and still must be known: policies' budgets, and what evaluations were told.

    [(`kv.keep=0.5`, whose it is and what it means)].
    """
    holders: dict[str, tuple[str, Member, dict[str, None]]] = {}
    for member in comparison.members:
        policy = member.parts.get("kv")
        budgets = policy if isinstance(policy, dict) else {}
        words = {f"kv.{key}": as_typed(budgets[key]) for key in BUDGETS if budgets.get(key) is not None}
        words |= {key: value for key, value in changed(member.change).items() if "." in key}
        for key, value in words.items():
            if key not in comparison.keys:
                option = member.differences.get(key.partition(".")[0], "")
                holders.setdefault(f"{key}={value}", (key, member, {}))[2][option] = None
    return [
        (name, f"(with {', '.join(options)}) " * any(options) + _of_key(key, member))
        for name, (key, member, options) in holders.items()
    ]


def _of_key(key: str, member: Member) -> str:
    """The docstring of a key; empty where its dataclass can't be found, as a plug-in's that is not loaded."""
    schema: Any = TrainConfig
    node: Any = member.run.config
    *parts, field = key.split(".")
    try:
        for at, part in enumerate(parts):
            chosen = option_files(part).get(member.differences.get(part, "")) if not at else None
            node = read_yaml(chosen.read_text()) if chosen is not None else node.get(part)
            target = node.get("_target_") if isinstance(node, dict) else None
            schema = schema_of(target) if target else typing.get_type_hints(schema)[part]
        return " ".join(meanings(schema).get(field, "").split())
    except (VxlError, ImportError, AttributeError, KeyError, TypeError, ValueError):
        return ""
