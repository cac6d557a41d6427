"""Hydra's and OmegaConf's errors in vxl's words: what was got, what is allowed, what to type."""

import functools
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, cast

from vxl.config.schema import root_schema
from vxl.errors import ConfigError
from vxl.option.files import CONF
from vxl.option.read_yaml import read_yaml
from vxl.option.rebuild import INTERNAL, nearest, rebuild


def translate(
    error: Exception, compose: Callable[[list[str]], Any], overrides: list[str], name: str
) -> ConfigError:
    """One ConfigError with everything that is wrong with a command line.

    Args:
        error: What Hydra or OmegaConf raised (they stop at the first mistake).
        compose: Composes a config from overrides.
        overrides: The command line; flags are left aside.
        name: The config and its schema.

    Raises:
        ValueError: `error`, where it is one and nothing is wrong with the command line.
    """
    problems: list[str] = []
    choices: list[str] = []
    values: list[tuple[str, str]] = []
    folders = [word for word in overrides if word.startswith("hydra.searchpath=")]  # of plug-ins
    compose = functools.partial(_with, folders, compose)
    for word in overrides:
        if word.startswith("-") or word.lstrip("+").startswith("sweep=") or word in folders:
            continue
        for key, single in _parsed(word, problems):
            # A plain key at the top and a group look alike; which it is, composing says.
            plain = "." in key or (key.startswith("hydra") and "/" not in key)
            values.append((key, single)) if plain else choices.append(single)
    sound, wrong = _choices(choices, compose, problems)
    base = compose(sound)
    for key, word in values:
        if key.partition(".")[0] in wrong:
            continue  # of an option that does not exist: its keys are unknown
        problem = None if key.startswith("hydra") else _value(base, key, word)
        if problem:
            problems.append(problem)
        else:
            sound += _composing(word, sound, compose, problems)
    if not problems:  # types need the schemas, and those torch: 2 s, which a mistyped key should not wait for
        problems += _of_schema(compose(sound), name)
    if not problems and isinstance(error, ValueError):
        raise error
    return ConfigError("\n\n".join(dict.fromkeys(problems)) or _plain(error))


def _with(always: list[str], compose: Callable[[list[str]], Any], words: list[str]) -> Any:
    return compose([*always, *words])


def _parsed(word: str, problems: list[str]) -> Iterable[tuple[str, str]]:
    """(key, override) of a word, one for each value of a sweep; none and a problem if it can't be read."""
    # late: Hydra, for composing alone
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.core.override_parser.types import IntervalSweep
    from hydra.errors import HydraException

    try:
        override = OverridesParser.create().parse_override(word)
        if not override.key_or_group:
            raise HydraException("no key")
    except HydraException:
        problems.append(
            f"{word!r} can't be read.\n"
            "  forms: key=value, GROUP=NAME, key=a,b (a sweep), ~key\n"
            "  quote values with spaces or brackets for the shell: 'key=\"some text\"'"
        )
        return
    key, interval = override.key_or_group, override.value()
    if isinstance(interval, IntervalSweep):
        yield key, f"{key}={interval.start}"
    elif override.is_sweep_override():
        for value in override.sweep_string_iterator():
            yield key, f"{key}={value}"
    else:
        yield key, word


def _choices(
    words: list[str], compose: Callable[[list[str]], Any], problems: list[str]
) -> tuple[list[str], set[str]]:
    """Words that compose, added one by one so that each wrong one is found; and the keys of wrong ones."""
    from hydra.errors import HydraException, MissingConfigException  # late: Hydra, for composing alone
    from omegaconf.errors import OmegaConfBaseException

    sound: dict[str, str] = {}
    wrong: set[str] = set()
    for word in words:
        sign, key, value = _split(word)
        others = [other for name, other in sound.items() if name != key]
        try:
            try:
                compose([*others, word])
            except ValueError:  # Hydra's for a number where an option is chosen
                compose([*others, f"{sign}{key}='{value}'"])
            sound.setdefault(key, word)
        except MissingConfigException as error:
            problems.append(_missing_option(error, word))
            wrong.add(key)
        except (HydraException, OmegaConfBaseException) as error:
            if key == "experiment":
                problems.append(
                    f"{word}: there is no file {_shown(CONF)}/experiment/{value}.yaml.\n"
                    f"  in a package of yours:  plugins=[mylab] {word}   "
                    f"(mylab/conf/experiment/{value}.yaml)\n"
                    "  it may choose options and set keys; it begins with  # @package _global_"
                )
                continue
            base = compose([])
            keys = _known(base)
            if key not in keys:
                problems.append(_unknown(word, key, keys, inside=base))
            else:
                problems.append(_there_already(word, key) if sign == "+" else _plain(error))
    return list(sound.values()), wrong


def _shown(folder: Path) -> str:
    """A folder as one types it here."""
    return str(folder.relative_to(Path.cwd()) if folder.is_relative_to(Path.cwd()) else folder)


def _composing(
    word: str, sound: list[str], compose: Callable[[list[str]], Any], problems: list[str]
) -> list[str]:
    """The word, if it composes with the sound ones."""
    from hydra.errors import HydraException  # late: Hydra, for composing alone
    from omegaconf.errors import OmegaConfBaseException

    try:
        compose([*sound, word])
    except (HydraException, OmegaConfBaseException) as error:
        problems.append(_plain(error))
        return []
    return [word]


def _of_schema(composed: Any, name: str) -> list[str]:
    """What the schema says of the words that compose: unknown keys behind a `+`, wrong types."""
    from omegaconf import OmegaConf  # late: omegaconf, and --help needs none of it
    from omegaconf.errors import OmegaConfBaseException

    try:
        rebuild(root_schema(name), cast(dict[str, Any], OmegaConf.to_container(composed, resolve=True)))
    except OmegaConfBaseException:
        return []
    except ConfigError as error:
        return str(error).split("\n\n")
    return []


def _value(base: Any, key: str, word: str) -> str | None:
    """What is wrong with an override of a key inside a group, by the config without it."""
    node, parts, added = base, key.split("."), word.startswith("+")
    for i, part in enumerate(parts):
        parent = ".".join(parts[:i])
        if not hasattr(node, "keys"):
            return f"{word}: {parent} is a value, it has no keys."
        if part not in [str(k) for k in node]:  # `part in node` denies keys that wait for a value
            keys = [str(k) for k in node] if parent else _known(base)
            return None if added else _unknown(word, part, keys, parent)  # the schema tells, if added
        node = node[part] if i + 1 < len(parts) else node
    return _there_already(word, key) if added and not word.startswith("++") else None


def _there_already(word: str, key: str) -> str:
    return f"{word}: {key} is there already.\n  type  {word[1:]}"


def _keys(node: Any) -> list[str]:
    return [str(key) for key in node] if hasattr(node, "keys") else []


def _known(base: Any) -> list[str]:
    more = ["sweep", "experiment"] if "sweep_name" in base else []
    return [str(key) for key in base if key not in INTERNAL] + more


def _split(word: str) -> tuple[str, str, str]:
    """(`+`, `++`, `~` or nothing; key; value)."""
    key, _, value = word.lstrip("+~").partition("=")
    return word[: len(word) - len(word.lstrip("+~"))], key, value


def _unknown(word: str, part: str, keys: list[str], parent: str = "", inside: Any = None) -> str:
    """The message for a key that `keys` are not; `inside` is the config in whose groups it may be one."""
    prefix = f"{parent}." if parent else ""
    inner = [f"{group}.{part}" for group in keys if inside is not None and part in _keys(inside.get(group))]
    close = inner or nearest(part, keys)
    lines = [f"{word}: {prefix}{part} is not a key."]
    if close:
        lines.append("  did you mean " + " or ".join(prefix + name for name in close) + "?")
    valid = [key for key in keys if key[0] != "_"]
    lines.append(
        f"  valid keys{' of ' + parent if parent else ''}: {', '.join(valid)}"
        if valid
        else f"  this option of {parent} has no keys"
    )
    owners = [f"{parent}={option}" for option in _options_with(parent, part)]
    if owners:
        lines.append(f"  it is a key of {' and '.join(owners)}")
    return "\n".join(lines)


def _options_with(group: str, key: str) -> list[str]:
    """The options of a group that have a key."""
    files = sorted((CONF / group).glob("*.yaml")) if group else []
    return [file.stem for file in files if key in (read_yaml(file.read_text()) or {})]


def _missing_option(error: Any, word: str) -> str:
    group, _, name = str(error.missing_cfg_file).rpartition("/")
    options = [str(option) for option in error.options or []]
    lines = [f"{word}: there is no option {name} in {group}."]
    close = nearest(name, options)
    if close:
        lines.append("  did you mean " + " or ".join(f"{group}={option}" for option in close) + "?")
    if options:
        lines.append(f"  options of {group}: {', '.join(options)}")
    return "\n".join(lines)


def _plain(error: Exception) -> str:
    """Hydra's own words, without its advice to add a `+`."""
    lines = [str(error)] + ([str(error.__cause__)] if error.__cause__ else [])
    text = re.sub(r"\n?To append to your? (default list|config) use \S+", "", "\n".join(lines))
    if text.startswith("Ambiguous value"):
        word = text.partition("\n")[0].partition("'")[2][:-1]
        return (
            f"{word} asks for several runs; only python train.py does that.\n  a list is typed as key=[a,b]"
        )
    return re.sub(r"\n\s+(full_key|object_type)[:=].*", "", text).strip()
