"""`vxl explain`: every group, option and key, from conf/ and from the dataclasses that type it."""

import dataclasses
import inspect
import typing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from vxl.config.schema import schemas
from vxl.errors import ConfigError
from vxl.option.files import CONF, leading_comment
from vxl.option.option import Option
from vxl.option.read_yaml import read_yaml
from vxl.option.rebuild import INTERNAL, describe_type, nearest
from vxl.option.schema import meanings, schema_of
from vxl.option.words import as_typed, flatten

_OF_SWEEPS = "hydra.sweeper.params."
"""Where a sweep's file says what varies; a user types the key alone."""


@dataclass(frozen=True)
class Key:
    """One key of an option, as a user reads it."""

    name: str
    type: str
    default: str
    explained: Callable[[], str] = lambda: ""
    """Gives its meaning: to read one parses a module, and most keys are only looked at for their names."""

    @property
    def meaning(self) -> str:
        """What it means, as the docstring under its field says."""
        return self.explained()


@dataclass(frozen=True)
class OptionFile:
    """One option of a group: its file, what its first comment says, and what it sets."""

    group: str
    name: str
    path: Path
    meaning: str
    command: str
    """The command that the file's comment shows, if any."""
    notes: tuple[str, ...] = ()
    """What it says of data: lines that begin with `Source:`, `Licence:` or `Score:`."""

    @property
    def values(self) -> dict[str, Any]:
        """The file's keys, without its defaults list."""
        loaded = read_yaml(self.path.read_text()) or {}
        return {key: value for key, value in loaded.items() if key != "defaults"}

    @property
    def is_global(self) -> bool:
        """Whether the file chooses and sets parts of the whole config (model=tiny) and is no part itself."""
        return "@package _global_" in self.path.read_text()

    @property
    def overrides(self) -> list[str]:
        """The options of other groups that the file chooses, as one would type them."""
        words = []
        for entry in (read_yaml(self.path.read_text()) or {}).get("defaults", []):
            if isinstance(entry, dict):
                for group, name in entry.items():
                    words.append(f"{group.split()[-1].lstrip('/')}={name}")
            elif entry != "_self_":
                group, _, name = entry.lstrip("/").rpartition("/")
                words.append(f"{group or self.group}={name}")
        return words


def options_by_group(folders: list[Path] | None = None) -> dict[str, dict[str, OptionFile]]:
    """Every option of every group: {group: {option: Choice}}, groups in the order in which a video flows.

    Args:
        folders: Config folders; vxl's own, then those of plug-ins.
    """
    folders = folders or [CONF]
    by_group: dict[str, dict[str, OptionFile]] = {group: {} for group in _flow(folders[0])}
    for folder in folders:
        for path in sorted(folder.glob("*/*.yaml")):
            group = path.parent.name
            option = OptionFile(group, path.stem, path, *leading_comment(path))
            by_group.setdefault(group, {})[path.stem] = option
    return {group: options for group, options in by_group.items() if options and group != "hydra"}


def keys_of(choice: OptionFile, root: type) -> list[Key]:
    """The keys of an option with type, default (the file's, else the dataclass's) and meaning.

    Args:
        choice: An option that describes one part (not one that chooses parts, like model=tiny).
        root: The dataclass of the whole config, which types groups without a `_target_`.
    """
    values = choice.values
    if "_target_" in values:
        return schema_keys(schema_of(values["_target_"]), values)
    hint = typing.get_type_hints(root).get(choice.group)
    if dataclasses.is_dataclass(hint) and not choice.is_global:
        return schema_keys(typing.cast(type, hint), values)
    known = {key.name: key for key in _keys_of_parts(choice, root)} if choice.is_global else {}
    set_here = {name.removeprefix(_OF_SWEEPS): value for name, value in flatten(values).items()}
    return [
        dataclasses.replace(known.get(name, Key(name, type(value).__name__, "")), default=as_typed(value))
        for name, value in set_here.items()
    ]


def _keys_of_parts(choice: OptionFile, root: type) -> Iterator[Key]:
    """Every key that a file of the whole config may set: those of the run, and of the options it chooses."""
    yield from schema_keys(root)
    for word in choice.overrides:
        group, _, name = word.partition("=")
        path = choice.path.parents[1] / group / f"{name}.yaml"
        target = (read_yaml(path.read_text()) or {}).get("_target_") if path.exists() else None
        if target:
            yield from schema_keys(schema_of(target), prefix=f"{group}.")


def schema_keys(schema: type, values: dict[str, Any] | None = None, prefix: str = "") -> list[Key]:
    """The keys of a dataclass, nested ones by their dotted names."""
    values = values or {}
    hints = typing.get_type_hints(schema)
    keys = []
    for field in dataclasses.fields(typing.cast(Any, schema)):
        if field.name == "_target_":
            continue
        default = values.get(field.name, _default(field))
        inner = _nested(hints[field.name], default)
        if inner is not None:
            given = default if isinstance(default, dict) else {}
            keys += schema_keys(inner, given, f"{prefix}{field.name}.")
        else:
            kind, otherwise = describe_type(hints[field.name]), ""
            if hints[field.name] is Any:  # a class of torch.optim: torch documents it
                if field.name == "lr":  # optim.lr and stage.part_lr say it; this one is refused
                    continue
                kind, otherwise = _annotated(field, default), f"As in {values.get('_target_', 'torch')}."
            explained = partial(_meaning, schema, field.name, otherwise)
            keys.append(Key(prefix + field.name, kind, as_typed(default), explained))
    return keys


def _meaning(schema: type, field: str, otherwise: str) -> str:
    return " ".join(meanings(schema).get(field, "").split()) or otherwise


def look_up(word: str, folders: list[Path], roots: Sequence[type] = ()) -> tuple[str, Any]:
    """What a word of `vxl explain WORD` names.

    Args:
        word: `GROUP=NAME`, `GROUP`, or a key.
        folders: The config folders.
        roots: Dataclasses of whole configs; none: those of training and evaluation, imported when needed.

    Returns:
        `("option", Choice)` for GROUP=NAME, `("group", {name: Choice})` for GROUP, `("keys", [Key])` for a
        key of the run or a dotted key.

    Raises:
        ConfigError: Nothing of that name exists; the message lists the nearest.
    """
    options = options_by_group(folders)
    group, equals, name = word.partition("=")
    if equals:
        if group not in options:
            raise ConfigError(_no("group", group, word, list(options), suffix=f"={name}"))
        if name not in options[group]:
            raise ConfigError(_no(f"option of {group}", name, word, list(options[group]), f"{group}="))
        return "option", options[group][name]
    if group in options:
        return "group", options[group]
    roots = roots or schemas()
    run_keys = {key.name: key for root in reversed(roots) for key in schema_keys(root)}
    if word in run_keys:
        return "keys", [_as_set(run_keys[word], options)]
    below = [key for name, key in run_keys.items() if name.startswith(f"{word}.")]
    if below:
        return "keys", below
    head, dot, tail = word.partition(".")
    if dot and head in options:
        found = {
            f"{head}={option}": key
            for option, choice in options[head].items()
            for key in keys_of(choice, roots[0])
            if key.name == tail
        }
        if found:
            return "keys", [dataclasses.replace(key, name=f"{where} {tail}") for where, key in found.items()]
        names = [key.name for choice in options[head].values() for key in keys_of(choice, roots[0])]
        raise ConfigError(_no(f"key of {head}", tail, word, list(dict.fromkeys(names)), f"{head}."))
    plain = [key for key in run_keys if "." not in key and key not in INTERNAL]
    raise ConfigError(_no("group or key", word, word, list(dict.fromkeys([*options, *plain]))))


def _annotated(field: dataclasses.Field[Any], default: Any) -> str:
    """The type that a foreign signature gives an argument; that of its default where it gives none."""
    annotation = field.metadata.get("annotation", inspect.Parameter.empty)
    if isinstance(annotation, str) or annotation is inspect.Parameter.empty:
        return describe_type(type(default))
    return describe_type(annotation).replace(" or Tensor", "").replace("NoneType", "null")


def _as_set(key: Key, options: dict[str, dict[str, OptionFile]]) -> Key:
    """A key of the run with the value that all files of its group give it, and which options set another."""
    group, _, tail = key.name.partition(".")
    each_given = [flatten(choice.values).get(tail) for choice in options.get(group, {}).values()]
    given = each_given[0] if each_given and all(value == each_given[0] for value in each_given) else None
    others = [
        f"{choice.group}={choice.name} ({as_typed(flatten(choice.values)[key.name])})"
        for each in options.values()
        for choice in each.values()
        if choice.is_global and key.name in flatten(choice.values)
    ]
    meaning = f"{key.meaning} Set by {', '.join(others)}." if others else key.meaning
    default = key.default if given is None else as_typed(given)
    return dataclasses.replace(key, default=default, explained=lambda: meaning)


def _default(field: dataclasses.Field[Any]) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def _nested(hint: Any, default: Any) -> type | None:
    """The dataclass that a field holds, if any: an option's own class where a `_target_` names it."""
    candidates = [hint, *typing.get_args(hint)]
    schema = next((c for c in candidates if dataclasses.is_dataclass(c) and isinstance(c, type)), None)
    if schema is None or default is None:
        return None
    if issubclass(schema, Option):
        target = default.get("_target_") if isinstance(default, dict) else getattr(default, "_target_", None)
        return schema_of(target) if target else schema
    return schema


def _flow(folder: Path) -> list[str]:
    """Groups in the order of conf/train.yaml's defaults list."""
    file = folder / "train.yaml"
    entries = (read_yaml(file.read_text()) or {}).get("defaults", []) if file.exists() else []
    return [next(iter(entry)).split()[-1] for entry in entries if isinstance(entry, dict)]


def _no(kind: str, name: str, word: str, known: list[str], prefix: str = "", suffix: str = "") -> str:
    lines = [f"vxl explain {word}: there is no {kind} {name!r}."]
    close = nearest(name, known)
    if close:
        lines.append(
            "  did you mean " + " or ".join(f"vxl explain {prefix}{other}{suffix}" for other in close) + "?"
        )
    lines.append("  there are: " + ", ".join(known))
    return "\n".join(lines)
