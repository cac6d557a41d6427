"""Rebuilds a plain config (dicts, lists, scalars) strictly into dataclasses, collecting every problem.

Hydra's `+key=value` accepts any key, whatever the schema says; here an unknown key is an error whatever its
prefix, and a value of the wrong type is one too. All problems are reported together.
"""

import dataclasses
import difflib
import itertools
import json
import math
import re
import types
import typing
from pathlib import Path
from typing import Any, Literal

from vxl.errors import ConfigError
from vxl.option.option import Option
from vxl.option.schema import schema_of

_MISSING = object()
_SCREEN = 18  # lines of problems in one message
INTERNAL = ("sweep_name", "sweep_member")
"""Keys that the command line sets itself; users do not type them."""


def rebuild(schema: type, data: dict[str, Any], path: str = "") -> Any:
    """The dataclass `schema` filled with `data`.

    Args:
        schema: A dataclass of scalars, containers, dataclasses and options (resolved by `_target_`).
        data: Plain values, as YAML gives them.
        path: Key of `data` in the whole config, for messages.

    Raises:
        ConfigError: Unknown keys (with the nearest valid ones), missing keys and wrong types, all at once.
    """
    problems: list[str] = []
    value = _dataclass(schema, data, path, problems)
    if problems:
        raise ConfigError(_on_a_screen(problems))
    return value


def _on_a_screen(problems: list[str]) -> str:
    """As many problems as a screen shows, and how many more there are."""
    lines = [0, *itertools.accumulate(problem.count("\n") + 2 for problem in problems)]
    shown = max(1, sum(end <= _SCREEN for end in lines[1:]))
    more = len(problems) - shown
    return "\n\n".join([*problems[:shown], *([f"… and {more} more like these"] if more else [])])


def _dataclass(schema: type, data: Any, path: str, problems: list[str]) -> Any:
    if not isinstance(data, dict):
        problems.append(f"{path}={data!r} is not a group of keys.\n  expected: {', '.join(_names(schema))}")
        return _MISSING
    if dataclasses.is_dataclass(schema) and issubclass(schema, Option):
        target = data.get("_target_") or getattr(schema, "_target_", None)
        if not isinstance(target, str | None):
            problems.append(_wrong(f"{path}._target_", target, str))
            return _MISSING
        if target is None:
            problems.append(f"{path} names no option; choose one: {path}=NAME")
            return _MISSING
        try:
            found = schema_of(target)
        except ConfigError as error:
            problems.append(f"{path}.{error}")
            return _MISSING
        if not issubclass(found, schema):
            problems.append(
                f"{path}._target_={target} takes a {found.__name__}, not a {schema.__name__}.\n"
                f"  derive {found.__name__} from {schema.__module__}.{schema.__name__}"
            )
            return _MISSING
        schema = found
    hints = typing.get_type_hints(schema)
    fields = {field.name: field for field in _fields(schema) if field.init}
    before = len(problems)
    for key in data.keys() - fields.keys():
        problems.append(_unknown(_join(path, key), key, list(fields)))
    values = {}
    for name, field in fields.items():
        where = _join(path, name)
        if name in data and data[name] != "???":
            found = len(problems)
            values[name] = _value(hints[name], data[name], where, problems)
            example = field.default if isinstance(field.default, bool | int | float | str) else None
            if example is not None and len(problems) > found and "\n  expected: " in problems[-1]:
                problems[-1] += f"\n  e.g.  {where}={_shown(example)}"
        elif name in data or _is_required(field):
            problems.append(f"{where} has no value.\n  type  {where}=VALUE  ({describe_type(hints[name])})")
    if len(problems) > before:
        return _MISSING
    try:
        return schema(**values)
    except ConfigError as error:
        problems.append(_placed(str(error), path, fields))
        return _MISSING


def _value(hint: Any, data: Any, path: str, problems: list[str]) -> Any:
    """`data` as type `hint`, or a problem."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return data
    if origin in (typing.Union, types.UnionType):
        if data is None and type(None) in arguments:
            return None
        attempts: list[list[str]] = []
        for argument in arguments:
            if argument is type(None):
                continue
            attempts.append([])
            value = _value(argument, data, path, attempts[-1])
            if not attempts[-1]:
                return value
        dataclass_tries = [
            tried
            for tried, argument in zip(attempts, [a for a in arguments if a is not type(None)], strict=True)
            if dataclasses.is_dataclass(argument) and isinstance(data, dict)
        ]
        problems.extend(dataclass_tries[0] if dataclass_tries else [_wrong(path, data, hint)])
        return _MISSING
    if dataclasses.is_dataclass(hint):
        return _dataclass(typing.cast(type, hint), data, path, problems)
    if origin is Literal:
        if data in arguments and type(data) in {type(argument) for argument in arguments}:
            return data
    elif origin in (list, tuple):
        if isinstance(data, list | tuple):
            if origin is tuple and arguments and arguments[-1] is not Ellipsis:
                kinds = list(arguments)
                if len(kinds) != len(data):
                    problems.append(_wrong(path, data, hint))
                    return _MISSING
            else:
                kinds = [arguments[0] if arguments else Any] * len(data)
            items = [
                _value(kind, item, f"{path}[{i}]", problems)
                for i, (kind, item) in enumerate(zip(kinds, data, strict=True))
            ]
            return tuple(items) if origin is tuple else items
    elif origin is dict:
        if isinstance(data, dict):
            kind = arguments[1] if arguments else Any
            return {key: _value(kind, item, _join(path, key), problems) for key, item in data.items()}
    elif hint is float:
        number = None if isinstance(data, bool) else _number(data)
        if number is not None and not math.isfinite(number):
            problems.append(f"{path}={data} is no finite number.\n  expected: {describe_type(hint)}")
        if number is not None:
            return number
    elif hint is int:
        if isinstance(data, int) and not isinstance(data, bool):
            if abs(data) >= 2**63:  # libraries count in 64 bits
                problems.append(f"{path}={data} is too large.\n  allowed: 64 bits")
            return data
    elif hint is Path:
        if isinstance(data, str | Path):
            return Path(data)
    elif hint is str:
        # A scalar typed as text on the command line (name=7, wandb ids) is text all the same.
        if isinstance(data, str):
            return data
        if isinstance(data, int | float) and not isinstance(data, bool):
            return str(data)
    elif isinstance(hint, type) and isinstance(data, hint):
        return data
    problems.append(_wrong(path, data, hint))
    return _MISSING


def _number(data: Any) -> float | None:
    """A number as YAML gives it: 1e-5 comes as text, and whole numbers may be longer than a float is."""
    try:
        return float(data) if isinstance(data, int | float | str) else None
    except ValueError:
        return None
    except OverflowError:
        return math.inf


def plain(value: Any) -> Any:
    """The inverse of `rebuild`: dataclasses as dicts of plain values, in the order of their fields."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return str(value) if isinstance(value, Path) else value


def describe_type(hint: Any) -> str:
    """A type as a user reads it: `int`, `'pyav' | 'opencv'`, `list of str`, `float or null`."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(describe_type(argument) for argument in arguments)
    if origin is Literal:
        return " | ".join(_shown(argument) for argument in arguments)
    if origin in (list, tuple):
        inner = [describe_type(argument) for argument in arguments if argument is not Ellipsis]
        return f"list of {', '.join(dict.fromkeys(inner))}" if inner else "list"
    if origin is dict:
        return f"keys to {describe_type(arguments[1])}"
    if hint in (type(None), bool):
        return "null" if hint is type(None) else "true or false"
    if dataclasses.is_dataclass(hint):
        return "a group of keys"
    return getattr(hint, "__name__", str(hint))


def nearest(word: str, choices: typing.Iterable[str], n: int = 3) -> list[str]:
    """The choices most like `word`, best first."""
    return difflib.get_close_matches(word, list(choices), n=n, cutoff=0.5)


def _unknown(where: str, key: str, valid: list[str]) -> str:
    close = nearest(key, valid)
    valid = [name for name in valid if name not in INTERNAL]
    close = [name for name in close if name not in INTERNAL]
    lines = [f"{where} is not a key."]
    if close:
        prefix = where[: -len(key)]
        lines.append("  did you mean " + " or ".join(prefix + name for name in close) + "?")
    lines.append("  valid keys: " + ", ".join(name for name in valid if not name.startswith("_")))
    return "\n".join(lines)


def _wrong(path: str, data: Any, hint: Any) -> str:
    if typing.get_origin(hint) is Literal:
        choices = [_shown(choice) for choice in typing.get_args(hint)]
        close = nearest(str(data), choices, 1)
        meant = f"\n  did you mean {path}={close[0]}?" if close and "[" not in path else ""
        return f"{path}={_shown(data)} is none of its values.{meant}\n  allowed: {', '.join(choices)}"
    kinds: dict[type, str] = {str: "text", bool: "true or false", dict: "a group of keys", type(None): "null"}
    kind = kinds.get(type(data), type(data).__name__)
    example = (
        f"\n  e.g.  {path}=[{data}]" if typing.get_origin(hint) is list and isinstance(data, str) else ""
    )
    return f"{path}={_shown(data)} has the wrong type ({kind}).\n  expected: {describe_type(hint)}{example}"


def _shown(value: Any) -> str:
    """A value as it is typed on the command line."""
    if isinstance(value, str):
        return value if value and value.strip() == value else repr(value)
    if isinstance(value, list):
        return f"[{', '.join(_shown(item) for item in value)}]"
    return json.dumps(value) if value is None or isinstance(value, bool) else str(value)


def _placed(message: str, path: str, fields: typing.Iterable[str]) -> str:
    """A part's own message with its keys as they are typed: `ratio=0` becomes `compressor.ratio=0`."""
    if not path or message.startswith(path):
        return message
    keys = "|".join(re.escape(field) for field in fields)
    placed = re.sub(rf"(?<![\w.])(?=(?:{keys})=)", f"{path}.", message) if keys else message
    return placed if placed.startswith(path) else f"{path}: {placed}"


def _names(schema: type) -> list[str]:
    return [field.name for field in _fields(schema) if not field.name.startswith("_")]


def _fields(schema: Any) -> tuple[dataclasses.Field, ...]:
    return dataclasses.fields(schema)


def _is_required(field: dataclasses.Field) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _join(path: str, key: Any) -> str:
    return f"{path}.{key}" if path else str(key)
