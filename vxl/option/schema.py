"""The dataclass behind an option, and the meaning of its fields."""

import ast
import dataclasses
import inspect
import itertools
import textwrap
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
        try:
            class_node = ast.parse(textwrap.dedent(inspect.getsource(base))).body[0]
        except (OSError, TypeError):
            continue
        for field, text in itertools.pairwise(getattr(class_node, "body", [])):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
                value = getattr(text.value, "value", None)
                if isinstance(field.target, ast.Name) and isinstance(value, str):
                    meaning_by_field[field.target.id] = inspect.cleandoc(value)
    return meaning_by_field
