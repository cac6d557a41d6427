"""Small real media and shards for the tests of the data package."""

import io
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vxl.data.write.shards import TarMember, write_shards
from vxl.video.encode import write_video


@cache
def video(frames: int = 8, fps: float = 4.0) -> bytes:
    """An mp4 of a brightening picture, 32 x 24."""
    pictures = [np.full((24, 32, 3), 20 * n % 256, np.uint8) for n in range(frames)]
    file = io.BytesIO()
    write_video(file, pictures, fps)
    return file.getvalue()


@cache
def image(width: int = 20, height: int = 10) -> bytes:
    """A JPEG."""
    file = io.BytesIO()
    Image.new("RGB", (width, height), (200, 30, 30)).save(file, "JPEG")
    return file.getvalue()


def talk(words: str = "It gets brighter.") -> dict[str, Any]:
    """The JSON of a conversation about what is shown."""
    return {
        "conversations": [
            {"role": "user", "content": "What happens?"},
            {"role": "assistant", "content": words},
        ]
    }


def write(folder: Path, count: int = 10, *, shards: int = 1, first: str = "s") -> list[Path]:
    """Shards of text-only conversations of growing length: fast to index."""
    members = []
    for n in range(count):
        members.append(TarMember(f"{first}{n:04d}", {"json": talk("word " * (n + 1))}))
    paths = []
    for shard in range(shards):
        paths += write_shards(members[shard::shards], folder, f"{first}-{shard}-{{:03d}}.tar")
    return paths


def write_json(file: Path, items: Any) -> Path:
    """A JSON file."""
    file.write_text(json.dumps(items))
    return file
