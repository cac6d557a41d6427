"""The words of a `vxl` command: settings `key=value`, and the rest."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vxl.errors import ConfigError
from vxl.option.rebuild import nearest

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
        from vxl.run.find import runs_folder

        return runs_folder(self.take("paths.runs"))

    def refuse_rest(self, command: str, known: Sequence[str]) -> None:
        """Raises ConfigError for settings that the command does not have."""
        if not self.settings:
            return

        problems = []
        for key, value in self.settings.items():
            close = nearest(key, known)
            hint = f"\n  did you mean {' or '.join(close)}?" if close else ""
            problems.append(
                f"{key}={value} is not a setting of `vxl {command}`.{hint}\n  settings: {', '.join(known)}"
            )
        raise ConfigError("\n\n".join(problems))


def sort_words(words: Sequence[str]) -> Words:
    """Splits `key=value` settings from the other words; a word that names a file is no setting."""
    found = Words({}, [])
    for word in words:
        match = _KEY.fullmatch(word)
        if match is None or Path(word).exists():
            found.rest.append(word)
        elif match[1] in found.settings:
            raise ConfigError(f"{match[1]} is given twice: {found.settings[match[1]]} and {match[2]}.")
        else:
            found.settings[match[1]] = match[2]
    return found
