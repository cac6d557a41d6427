"""What an item says of itself beside its text: its name, and the files that it shows."""

import math
import re
from collections.abc import Mapping
from typing import Any

from vxl.data.fields import number_of
from vxl.data.source.texts import without_half_letters
from vxl.errors import DataError
from vxl.video.endings import media_kind

MEDIA_KEYS = ("image", "images", "video", "videos")
"""Keys of an item that name files."""
_NAMES_MEDIA = re.compile("video|image|media|clip|file|path")


def key_of_item(item: Mapping[str, Any], number: int) -> str:
    """An item's name: its `id`, else one made of its number."""
    name = item.get("id")
    return f"item-{number}" if name is None or name == "" else str(without_half_letters(str(name)))


def media_of_item(item: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(path, kind) of an item's media: one path or a list under `image(s)` and `video(s)`, images first.

    Raises:
        DataError: They are no paths.
    """
    media = []
    for kind in ("image", "video"):
        for key in (kind, f"{kind}s"):
            paths = item.get(key)
            if paths is None or paths == "":
                continue
            paths = [paths] if isinstance(paths, str) else paths
            if not isinstance(paths, list) or not all(isinstance(path, str) and path for path in paths):
                raise DataError(
                    f"'{key}' is {str(item[key])[:120]}.\n"
                    f'  write a path, a list of paths, or leave it out:  "{key}": "NAME"'
                )
            media += [(path, kind) for path in paths]
    if not media:
        _refuse_other_names(item)
    return media


def rate_of_frames(item: Mapping[str, Any]) -> float:
    """How many frames a second an item says that its folder of frames has.

    Raises:
        DataError: It says none, or what is no rate.
    """
    if "fps" not in item:
        raise DataError(
            "a folder of frames does not say when they were taken.\n"
            '  write how many a second beside it:  "fps": 2'
        )
    fps = number_of(item["fps"], "fps", "the item")
    if not 0.0 < fps < math.inf:
        raise DataError(f"'fps' is {item['fps']!r}.\n  write how many frames there are a second, above 0")
    return fps


def _refuse_other_names(item: Mapping[str, Any]) -> None:
    """Refuses an item that shows nothing but names a file under a key that looks like one of ours."""
    for key, value in item.items():
        first = value[0] if isinstance(value, list) and value else value
        kind = media_kind(first) if isinstance(first, str) else None
        if kind is not None and key not in MEDIA_KEYS and _NAMES_MEDIA.search(key.lower()):
            raise DataError(
                f"the key '{key}' names {first}, and only {', '.join(MEDIA_KEYS)} are shown.\n"
                f'  write  "{kind}": "{first}"'
            )
