"""Resolved configs without Hydra: reading one, changing keys of it, and the typed parts of a model in it."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from vxl.errors import CheckpointError, ConfigError
from vxl.option.files import option_files
from vxl.option.moved import renewed
from vxl.option.plugins import load_plugins
from vxl.option.read_yaml import read_yaml
from vxl.option.rebuild import nearest, rebuild

if TYPE_CHECKING:  # late: torch takes 2 s, and to find a source needs none of it
    from vxl.parts import ModelParts


def read_config(file: Path, overrides: Sequence[str] = (), also: Sequence[str] = ()) -> dict[str, Any]:
    """The values of a resolved.yaml, changed by overrides.

    Args:
        file: The file.
        overrides: As on the command line; see `with_changes`.
        also: Other words that a mistyped key may have meant, for the message.

    Raises:
        ConfigError: The file is not there or no YAML, or an override names nothing.
    """
    if not file.exists():
        raise ConfigError(
            f"{file} does not exist: the run failed before it began, or it is no run.\n"
            f"  expected: a directory that `python train.py` made, or a file that `dry_run=true` wrote"
        )
    try:
        values = renewed(read_yaml(file.read_text()))
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{file} is not YAML: {' '.join(str(error).split())[:300]}") from error
    if not isinstance(values, dict) or "compressor" not in values:
        raise ConfigError(f"{file} is not a resolved config: it names no compressor, vision or llm.")
    return with_changes(values, overrides, also)


def model_parts(values: Mapping[str, Any]) -> "ModelParts":
    """The typed settings of a model's parts, out of a resolved config that may hold more.

    Plug-ins that the config records are not imported: the command has to name them (`plugins=[NAME]`).

    Raises:
        ConfigError: A key is unknown, missing or of the wrong type.
    """
    from vxl.parts import ModelParts  # late: torch takes 2 s, and to find a source needs none of it

    names = {field.name for field in dataclasses.fields(ModelParts)}
    return rebuild(ModelParts, {key: value for key, value in values.items() if key in names})


def refuse_part(values: Mapping[str, Any], run: Path) -> None:
    """Refuses a run that trained a part of the model by an objective of its own, and holds no more than that.

    Raises:
        CheckpointError: There is no language model in it.
    """
    objective = (values.get("stage") or {}).get("objective", "language")
    if objective != "language":
        raise CheckpointError(
            f"{run} has no language model: it trained the compressor alone (stage.objective={objective}).\n"
            f"  go on with it:  python train.py model={values['model']} init_from={run} stage=align"
        )


def with_changes(
    values: dict[str, Any], overrides: Sequence[str], also: Sequence[str] = ()
) -> dict[str, Any]:
    """A copy of a config with changes: `KEY=VALUE` (VALUE is YAML), or `GROUP=NAME` for a part.

    `plugins=[NAME]` imports a package whose options the other changes may then name.

    Args:
        values: The config.
        overrides: The changes, as on the command line, in order.
        also: Other words that the user may have meant, for the message.

    Raises:
        ConfigError: A key, option or package does not exist; the message lists the nearest.

    Example:
        >>> with_changes({"prefill": {"groups": 4}}, ["prefill.groups=8"])
        {'prefill': {'groups': 8}}
    """
    for override in sorted(overrides, key=lambda override: not override.startswith("plugins=")):
        values = _with_change(values, override, also)
    return values


def _with_change(values: dict[str, Any], override: str, also: Sequence[str]) -> dict[str, Any]:
    key, equals, text = override.partition("=")
    if not equals:
        raise ConfigError(f"{override!r} changes nothing.\n  form: KEY=VALUE or GROUP=NAME")
    if isinstance(values.get(key), dict) or key in newer_parts(values):
        files = option_files(key)
        if text not in files:
            close = nearest(text, files)
            hint = f"\n  did you mean {key}={close[0]}?" if close else ""
            raise ConfigError(
                f"there is no option {override}.{hint}\n  options of {key}: {', '.join(files)}\n"
                f"  of a package of your own:  {override} plugins=[PACKAGE]"
            )
        option_values = read_yaml(files[text].read_text()) or {}
        return values | {key: {name: value for name, value in option_values.items() if name != "defaults"}}
    try:
        value = read_yaml(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{override}: the value is not YAML: {' '.join(str(error).split())}") from error
    if key == "plugins":
        names = [value] if isinstance(value, str) else value
        load_plugins(names)
        return values | {"plugins": names}
    return _set(values, key.split("."), value, override, "", also)


def newer_parts(values: Mapping[str, Any]) -> set[str]:
    """Groups of parts that a config from before they came does not have."""
    from vxl.parts import ModelParts  # late: torch takes 2 s, and to find a source needs none of it

    optional = {
        field.name for field in dataclasses.fields(ModelParts) if field.default is dataclasses.MISSING
    }
    return {name for name in optional - values.keys() if option_files(name)}


def _set(
    values: dict[str, Any], parts: list[str], value: Any, override: str, parent: str, also: Sequence[str]
) -> dict[str, Any]:
    head, rest = parts[0], parts[1:]
    inner = values.get(head)
    if head not in values or (rest and not isinstance(inner, dict)):
        keys = list(dict.fromkeys([*also, *(key for key in values if not key.startswith("_"))]))
        close = nearest(head, keys)
        hint = f"\n  did you mean {' or '.join(parent + key for key in close)}?" if close else ""
        raise ConfigError(
            f"{override}: there is no key {parent}{head}.{hint}\n  valid keys: {', '.join(keys)}"
        )
    if not rest:
        return values | {head: value}
    assert isinstance(inner, dict)
    return values | {head: _set(inner, rest, value, override, f"{parent}{head}.", ())}
