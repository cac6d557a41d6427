"""What may be typed: words that are text, and names that a file can have."""

import errno
import os
import re
from collections.abc import Sequence

from vxl.errors import ConfigError

# What a system says of a name that no file can have, where it does not say that there is none.
IMPOSSIBLE = (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ)


_NO_VALUE = re.compile(r"[+]{0,2}([A-Za-z_][\w./]*)=")
_HOME = re.compile(r"(?<=[=,\[])~(?=[/,\]]|$)")


def read_words(words: Sequence[str]) -> list[str]:
    """The words of a command line; `~` for the home folder in a setting, where a shell leaves it as it is.

    Raises:
        ConfigError: A word is no text, or a key without a value: mostly a variable of a script that is empty.

    Example:
        >>> read_words(["model=tiny", "name="])
        Traceback (most recent call last):
        vxl.errors.ConfigError: name= has no value.
          type  name=VALUE   or leave it out; an empty text is  "name=''"
    """
    refuse_no_text(words)
    for word in words:
        if without := _NO_VALUE.fullmatch(word):
            key = without[1]
            raise ConfigError(
                f"{word} has no value.\n  type  {key}=VALUE   or leave it out; an empty text is  \"{key}=''\""
            )
    home = os.path.expanduser("~")
    return [word if " " in word else _HOME.sub(lambda _: home, word) for word in words]


def refuse_no_text(words: Sequence[str]) -> None:
    """Raises ConfigError for a word with bytes that are not UTF-8, which no file of ours can hold."""
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError as error:
            raise ConfigError(f"{word!r} is no text: it holds bytes that are not UTF-8.") from error


def can_be_path(word: str | os.PathLike[str]) -> bool:
    """Whether a file or folder could be called so, whether or not there is one."""
    try:
        os.lstat(word)
    except OSError as error:
        return error.errno not in IMPOSSIBLE
    except ValueError:  # a zero byte, or half of a letter
        return False
    return True


def name_too_long(error: OSError) -> str | None:
    """A message for a word that was taken for the name of a file and is too long for one; None for others."""
    if error.errno != errno.ENAMETOOLONG:
        return None
    name = str(error.filename or "")
    shown = repr(name if len(name) <= 60 else f"{name[:40]}…{name[-10:]}")
    return f"{shown} is too long for the name of a file ({len(name)} letters).\n  allowed: 255 bytes a name"
