"""Reading the authors' files: JSON, JSON lines and Parquet, with errors that say what was expected."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from vxl.errors import ConfigError, DataError
from vxl.json_text import doubled_key, parse_json
from vxl.patience import is_file, read_patiently
from vxl.video.endings import VIDEO_ENDINGS, media_kind

ENDINGS = ("", ".mp4", ".MP4", ".mkv", ".webm", ".avi", *(f".{ending}" for ending in VIDEO_ENDINGS))
"""That a video may have where the annotations name another, or none; the likeliest first."""


def read_json(path: Path) -> Any:
    """A JSON file, UTF-8 whatever the locale says.

    Raises:
        DataError: It is not there, or cut off.
    """
    try:
        value = parse_json(read_patiently(path).decode("utf-8-sig"))
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file.\n  {_neighbours(path)}") from error
    except IsADirectoryError as error:
        raise DataError(f"{path} is a folder, not a JSON file.\n  {_neighbours(path / 'x')}") from error
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{path} is no JSON: {error}.\n  it holds {path.stat().st_size} bytes; a download that was "
            "cut off ends like this: fetch it again"
        ) from error
    _refuse_doubled(value, str(path))
    return value


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a .json list, a .jsonl or a .parquet file.

    Raises:
        DataError: It is not there, cut off, or no table.
        ConfigError: It is Parquet, and pyarrow is not installed.
    """
    if path.suffix.lower() == ".parquet":
        return _read_parquet(path)
    if path.suffix.lower() == ".jsonl":
        return _read_lines(path)
    rows = read_json(path)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(f"{path} holds a {type(rows).__name__}; expected a list of objects, one a question.")
    return rows


def one_file(place: Path, names: Sequence[str]) -> Path:
    """The annotation file: the given one, or the first of these names below a folder.

    Raises:
        DataError: There is none; the message lists what the folder holds.
    """
    if is_file(place):
        return place
    for name in names:
        for file in (place / name, *sorted(place.glob(f"*/{name}"))):
            if is_file(file):
                return file
    expected = ", ".join(names)
    raise DataError(
        f"{place}: expected {expected} there, or a file's own path.\n  {_neighbours(place / 'x')}\n"
        "  type  benchmark.annotations=FILE"
    )


def field(row: dict[str, Any], name: str, where: str) -> Any:
    """A row's value.

    Raises:
        DataError: The row has none; the message lists its keys.
    """
    if name not in row or row[name] is None:
        raise DataError(f"{where}: no {name!r}.\n  got the keys: {', '.join(sorted(row)) or 'none'}")
    return row[name]


def texts(values: Any, where: str) -> tuple[str, ...]:
    """Options as strings; some files hold numbers.

    Raises:
        DataError: It is no list.
    """
    if not isinstance(values, list | tuple):
        raise DataError(f"{where}: options are a {type(values).__name__}; expected a list.")
    if any(value is None or value != value for value in values):  # NaN is no text either
        raise DataError(f"{where}: an option is missing.\n  got: {str(values)[:160]}")
    return tuple(str(value) for value in values)


def _refuse_doubled(value: Any, where: str) -> None:
    if (key := doubled_key(value)) is not None:
        raise DataError(f"{where}: the key {key!r} comes twice.\n  leave the one that is meant")


def find_video(folder: Path, name: str) -> Path | None:
    """A video by name: as written, with the usual endings, with any ending, or a folder of frames."""
    place = folder / name
    if is_file(place):
        return place
    stem = place.with_suffix("") if place.suffix.lower() in ENDINGS else place
    for ending in ENDINGS[1:]:
        other = stem.with_name(stem.name + ending)
        if is_file(other):
            return other
    for frames in (place, stem):
        if frames.is_dir() and any(media_kind(file.name) == "image" for file in frames.iterdir()):
            return frames
    return None


def _read_lines(path: Path) -> list[dict[str, Any]]:
    try:
        lines = read_patiently(path).decode("utf-8-sig").split("\n")  # strings may hold other separators
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file.\n  {_neighbours(path)}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is no text: {error}.\n  expected: JSON lines in UTF-8") from error
    rows = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = parse_json(line)
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"{path}, line {number} of {len(lines)} is no JSON: {error}.\n"
                "  a download that was cut off ends like this: fetch it again"
            ) from error
        if not isinstance(row, dict):
            raise DataError(f"{path}, line {number} is a {type(row).__name__}; expected an object.")
        _refuse_doubled(row, f"{path}, line {number}")
        rows.append(row)
    return rows


def _read_parquet(path: Path) -> list[dict[str, Any]]:
    try:
        import pyarrow.parquet  # late: pyarrow, an optional package
    except ModuleNotFoundError as error:
        raise ConfigError(f"{path.name} is Parquet.\n  type  pip install 'vxl[parquet]'") from error
    try:
        return pyarrow.parquet.read_table(io.BytesIO(read_patiently(path))).to_pylist()
    except (OSError, pyarrow.ArrowException) as error:
        raise DataError(f"{path} is no Parquet: {error}.\n  fetch it again") from error


def _neighbours(path: Path) -> str:
    """What a folder holds, for the message about a file that it does not."""
    folder = path.parent
    if not folder.is_dir():
        return f"there is no folder {folder} either"
    names = sorted(entry.name + ("/" if entry.is_dir() else "") for entry in folder.iterdir())
    some = ", ".join(names[:12]) + (f", … ({len(names)} in all)" if len(names) > 12 else "")
    return f"{folder}/ holds: {some or 'nothing'}"
