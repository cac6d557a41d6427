"""Small files of a folder that a stranger may have made: read as data, copied only if they lie in it."""

import json
import shutil
from pathlib import Path
from typing import Any

from vxl.errors import CheckpointError
from vxl.in_place import HEAD, in_its_place


def refuse_outside(file: Path, folder: Path) -> None:
    """Raises CheckpointError where a file of a folder is a link that leads out of it.

    What it leads to would be copied and handed on under an innocent name. Links into the `blobs` of the
    Hugging Face cache are how its folders are made, and allowed.
    """
    allowed = [folder.resolve()]
    if folder.parent.name == "snapshots":
        allowed.append((folder.parents[1] / "blobs").resolve())
    if not any(file.resolve().is_relative_to(place) for place in allowed):
        raise CheckpointError(
            f"{file} is a link that leads out of its folder, to {file.resolve()}; it is not copied.\n"
            "  remove it, or put the file itself there"
        )


def copy_from_folder(file: Path, folder: Path, target: Path) -> None:
    """Copies a file of a folder.

    Raises:
        CheckpointError: It is a link that leads out of the folder.
    """
    refuse_outside(file, folder)
    shutil.copyfile(file, target)


def read_json_object(file: Path) -> dict[str, Any]:
    """A JSON file's object; empty where there is no file.

    Raises:
        CheckpointError: It is no JSON object.
    """
    if not file.exists():
        return {}
    try:
        data = file.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{file} can't be read: {error}\n  copy or download it again") from error
    try:
        content = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        lies = in_its_place(data[:HEAD])
        raise CheckpointError(f"{file} is not JSON: {error}{lies}\n  copy or download it again") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{file} holds a {type(content).__name__}.\n  expected: a JSON object")
    return content
