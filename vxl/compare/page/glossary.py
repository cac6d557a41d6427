"""What the keys mean in which members differ: what their options' files and dataclasses say of them."""

import typing
from typing import Any

from vxl.compare.alike import alike
from vxl.compare.comparison import Comparison
from vxl.compare.member import Member
from vxl.errors import VxlError
from vxl.option.files import leading_comment, option_files
from vxl.option.read_yaml import read_yaml
from vxl.option.schema import meanings, schema_of
from vxl.train.config import TrainConfig

MOST = 8
"""Options of one key at most that are explained."""


def glossary(comparison: Comparison) -> list[tuple[str, str]]:
    """[(`kv=snapkv` or `compressor.ratio`, its meaning)] of all that differs, and of budgets that do not."""
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
    known = [(name, text) for name, text in found.items() if text]
    for one in alike(comparison.members, comparison.keys):
        whose = f"(with {', '.join(one.options)}) " if one.options else ""
        known.append((str(one), whose + _of_key(one.key, one.member)))
    return known


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
