"""Hydra's and OmegaConf's errors in vxl's words: what was got, what is allowed, what to type."""

import re
from collections.abc import Callable
from typing import Any

from vxl.config.rebuild import nearest
from vxl.errors import ConfigError


def translate(error: Exception, compose: Callable[[list[str]], Any], overrides: list[str]) -> ConfigError:
    """One ConfigError with everything that is wrong with a command line.

    Args:
        error: What Hydra or OmegaConf raised (they stop at the first mistake).
        compose: Composes a config from overrides.
        overrides: The command line without flags.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException, MissingConfigException
    from omegaconf.errors import OmegaConfBaseException

    words = [word for word in overrides if not word.startswith("-")]
    problems: list[str] = []
    groups: list[str] = []
    values: list[tuple[str, str]] = []
    parser = OverridesParser.create()
    for word in words:
        try:
            override = parser.parse_override(word)
        except HydraException:
            problems.append(
                f"{word!r} can't be read.\n"
                "  forms: key=value, GROUP=NAME, key=a,b (a sweep), ~key\n"
                "  quote values with spaces or brackets for the shell: 'key=\"some text\"'"
            )
            continue
        if "." in override.key_or_group or override.key_or_group.startswith("hydra"):
            values.append((override.key_or_group, word))
        else:
            groups.append(word)
    sound: list[str] = []  # choices that compose; added one by one, so that each wrong one is found
    for word in groups:
        if word.startswith("+sweep="):
            continue
        try:
            compose([*sound, word])
            sound.append(word)
        except MissingConfigException as inner:
            problems.append(_missing_option(inner, words))
        except (HydraException, OmegaConfBaseException) as inner:
            key, known = word.lstrip("+~").partition("=")[0], _top_keys(compose)
            problems.append(_plain(inner) if key in known else _unknown(word, key, known))
    base = compose(sound)
    for key, word in values:
        problem = _unknown_key(base, key, word)
        if problem and not word.startswith(("+", "hydra")):
            problems.append(problem)
    return ConfigError("\n\n".join(dict.fromkeys(problems)) or _plain(error))


def _top_keys(compose: Callable[[list[str]], Any]) -> list[str]:
    return [str(key) for key in compose([])] + ["sweep", "experiment", "hydra"]


def _unknown_key(base: Any, key: str, word: str) -> str | None:
    node = base
    parts = key.split(".")
    for i, part in enumerate(parts):
        if not hasattr(node, "keys"):
            return f"{word}: {'.'.join(parts[:i])} is a value, it has no keys."
        if part not in node:
            return _unknown(word, part, [str(k) for k in node], ".".join(parts[:i]))
        node = node[part]
    return None


def _unknown(word: str, part: str, known: list[str], parent: str = "") -> str:
    prefix = f"{parent}." if parent else ""
    close = nearest(part, known)
    lines = [f"{word}: {prefix}{part} is not a key."]
    if close:
        lines.append("  did you mean " + " or ".join(prefix + name for name in close) + "?")
    lines.append(
        f"  valid keys{' of ' + parent if parent else ''}: {', '.join(k for k in known if k[0] != '_')}"
    )
    return "\n".join(lines)


def _missing_option(error: Any, words: list[str]) -> str:
    wanted = str(error.missing_cfg_file)
    group, _, name = wanted.rpartition("/")
    options = [str(o) for o in error.options or []]
    word = next((w for w in words if w.lstrip("+").startswith(f"{group}=")), f"{group}={name}")
    lines = [f"{word}: there is no option {name} in {group}." if group else f"there is no config {wanted}."]
    close = nearest(name, options)
    if close:
        lines.append("  did you mean " + " or ".join(f"{group}={option}" for option in close) + "?")
    if options:
        lines.append(f"  options of {group}: {', '.join(options)}")
    return "\n".join(lines)


def _plain(error: Exception) -> str:
    """Hydra's own words, without its advice to add a `+`."""
    text = str(error) + (f"\n{error.__cause__}" if error.__cause__ else "")
    return re.sub(r"\n?To append to your config use \S+", "", text).strip()
