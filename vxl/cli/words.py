"""The words of a `vxl` command: settings `key=value`, and the rest."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path

from vxl.errors import ConfigError
from vxl.option.files import CONF
from vxl.option.rebuild import nearest
from vxl.run.find import runs_folder

TEXT_SETTINGS = ("run", "name", "weights", "context", "options", "stop", "checkpoint", "device", "init_from")
"""Settings without a dot whose values may hold spaces, beside the config's groups."""

_KEY = re.compile(r"\+{0,2}([A-Za-z_][\w.]*)=(.*)", re.DOTALL)


@dataclass
class Words:
    """A command's words, sorted: settings by key, and the rest in order."""

    settings: dict[str, str]
    rest: list[str]

    def take(self, key: str, default: str | None = None) -> str | None:
        """Removes and returns a setting."""
        return self.settings.pop(key, default)

    def runs(self) -> Path:
        """The folder of runs: `paths.runs=FOLDER`, conf/local/default.yaml, or `runs`."""
        return runs_folder(self.take("paths.runs"))

    def refuse_rest(self, command: str, settings: Sequence[str]) -> None:
        """Raises ConfigError for settings that the command does not have."""
        if not self.settings:
            return

        problems = []
        for key, value in self.settings.items():
            close = nearest(key, settings)
            hint = f"\n  did you mean {' or '.join(close)}?" if close else ""
            problems.append(
                f"{key}={value} is not a setting of `vxl {command}`.{hint}\n  settings: {', '.join(settings)}"
            )
        raise ConfigError("\n\n".join(problems))


def sort_words(words: Sequence[str]) -> Words:
    """Splits `key=value` settings from the other words.

    A word that names a file is no setting, nor is a sentence with `=` in it (`x=3 is written: what is x?`).
    """
    split = Words({}, [])
    for word in words:
        match = _KEY.fullmatch(word)
        if match is None or is_there(word) or _is_sentence(match[1], match[2]):
            split.rest.append(word)
        elif match[1] in split.settings:
            raise ConfigError(f"{match[1]} is given twice: {split.settings[match[1]]} and {match[2]}.")
        else:
            split.settings[match[1]] = match[2]
    return split


def is_there(word: str) -> bool:
    """Whether a word names a file or folder; a word that no file can be called names none."""
    try:
        return Path(word).exists()
    except (OSError, ValueError):
        return False


def _is_sentence(key: str, value: str) -> bool:
    """Whether `key=value` is meant as words: it has spaces or asks, and the key is (nearly) no setting's."""
    settings = [*TEXT_SETTINGS, *_groups()]
    is_said = " " in value.strip() or value.rstrip().endswith(("?", "？"))
    return is_said and "." not in key and not get_close_matches(key, settings, cutoff=0.8)


@cache
def _groups() -> list[str]:
    return [folder.name for folder in CONF.iterdir() if folder.is_dir()]
