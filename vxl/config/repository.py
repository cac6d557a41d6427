"""Hydra's repository of config files, which reads each of them once in a process.

Hydra reads and parses about forty files to compose a config, which takes it as long as all the rest, and a
sweep composes one for each member.
"""

import os
import pickle
from collections.abc import Collection

from hydra._internal.config_repository import ConfigRepository
from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.object_type import ObjectType
from hydra.plugins.config_source import ConfigResult, ConfigSource

_READ: dict[tuple[object, ...], bytes] = {}
"""What was read, pickled: Hydra changes what it gets."""


class ReadOnce(ConfigRepository):
    """Gives what `ConfigRepository` gives, and reads a file again only after it has changed.

    Args:
        path: Where configs are searched.
        plain: Keys that are values although a folder of options is called so: evaluate.py's `checkpoint`.
    """

    def __init__(self, path: ConfigSearchPath, plain: Collection[str] = ()) -> None:
        super().__init__(path)
        self._plain = plain

    def group_exists(self, config_path: str) -> bool:
        """Whether a key is a group of options."""
        return config_path not in self._plain and super().group_exists(config_path)

    def load_config(self, config_path: str) -> ConfigResult | None:
        """A config, Hydra's own to change; None where there is none."""
        source = self._find_object_source(config_path, ObjectType.CONFIG)
        if source is None or source.scheme() == "structured":  # dataclasses, which are no files
            return super().load_config(config_path)
        key = (source.scheme(), source.path, source.provider, config_path, *_state(source, config_path))
        if key not in _READ:
            _READ[key] = pickle.dumps(super().load_config(config_path))
        return pickle.loads(_READ[key])


def _state(source: ConfigSource, config_path: str) -> tuple[int, int]:
    """When a file was changed, and its length; nothing of files in packages, which do not change."""
    if source.scheme() != "file":
        return (0, 0)
    status = os.stat(os.path.join(source.path, source._normalize_file_name(config_path)))
    return status.st_mtime_ns, status.st_size
