"""The dataclass behind an option, and the meaning of its fields."""

import ast
import dataclasses
import inspect
import itertools
import sys
import typing
from functools import cache
from typing import Any

from vxl.option.build import locate, takes_config
from vxl.option.option import Option


@cache
def schema_of(path: str) -> type[Option]:
    """The dataclass that types the option whose `_target_` is `path`.

    A target without a `config` argument (torch.optim) gets one made from its signature.
    """
    target = locate(path)
    if takes_config(target):
        function = target.__init__ if inspect.isclass(target) else target
        return typing.get_type_hints(function)["config"]
    fields = [
        (
            parameter.name,
            Any,
            dataclasses.field(default=parameter.default, metadata={"annotation": parameter.annotation}),
        )
        for parameter in inspect.signature(target).parameters.values()
        if parameter.default is not inspect.Parameter.empty
    ]
    schema: Any = dataclasses.make_dataclass(
        f"{target.__name__}Config", fields, bases=(Option,), frozen=True, kw_only=True
    )
    return schema


@cache
def meanings(schema: type) -> dict[str, str]:
    """The docstring under each field of a dataclass, its bases' included: {field: meaning}."""
    meaning_by_field: dict[str, str] = {}
    for base in reversed(schema.__mro__):
        if not dataclasses.is_dataclass(base) or base.__module__ == "types":
            continue
        for field, text in itertools.pairwise(_body_of(base)):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
                value = getattr(text.value, "value", None)
                if isinstance(field.target, ast.Name) and isinstance(value, str):
                    meaning_by_field[field.target.id] = inspect.cleandoc(value)
    return meaning_by_field


def _body_of(cls: type) -> list[ast.stmt]:
    """What stands in a class's body; nothing where its source is not there."""
    body: list[ast.stmt] = _statements(cls.__module__)
    for name in cls.__qualname__.replace(".<locals>", "").split("."):
        named = (node for node in body if isinstance(node, ast.ClassDef | ast.FunctionDef))
        found = [node for node in named if node.name == name]
        body = found[-1].body if found else []
    return body


@cache
def _statements(module: str) -> list[ast.stmt]:
    """A module's statements; parsed once, which `inspect.getsource` does anew for each class."""
    try:
        return ast.parse(inspect.getsource(sys.modules[module])).body
    except (OSError, TypeError, KeyError):
        return []
