"""From what a user writes for shards to the list of them: lists, braces, wildcards and folders."""

import fnmatch
import glob
import os
from collections.abc import Sequence

from vxl.data.source.ranges import file_system_of, is_url, local
from vxl.errors import DataError
from vxl.patience import is_folder, is_there, patiently

UNFINISHED = ".shards.unfinished"
"""A file beside shards while a set of them takes the place of another."""


def is_pipe(url: str) -> bool:
    """Whether a shard can only be read from its beginning to its end."""
    return url.startswith("pipe:") or url == "-"


def expand_urls(urls: str | Sequence[str]) -> list[str]:
    """All shards that the patterns name, in order, each once.

    Args:
        urls: `shard-{000000..000099}.tar`, `folder/*.tar`, a folder (its *.tar), a URL of fsspec's, or a list
            of these.

    Raises:
        DataError: A pattern matches nothing; says what was looked for and what is there.
    """
    patterns = [urls] if isinstance(urls, str) else list(urls)
    if not patterns:
        raise DataError(
            "the list of shards is empty.\n  write e.g.  'shards/train-{000000..000099}.tar' or shards/*.tar"
        )
    return list(dict.fromkeys(url for pattern in patterns for url in _expand_one(pattern)))


def _expand_one(pattern: str) -> list[str]:
    if is_pipe(pattern):
        return _braces(pattern)
    files: list[str] = []
    missing: list[str] = []
    for name in _braces(pattern):
        if is_url(name):
            hits = _remote_names(name)
        elif not is_there(local(name)):
            hits = _local_names(local(name)) if glob.has_magic(name) else []
        elif is_folder(local(name)):
            hits = _local_names(os.path.join(glob.escape(local(name)), "*.tar"))
        else:
            hits = [local(name)]
        files += hits
        if not hits:
            missing.append(name)
    if not files:
        raise DataError(f"the shards {pattern!r} match nothing.\n  {_looked_for(missing[0])}")
    if missing:
        raise DataError(
            f"{len(missing)} of the {len(missing) + len(files)} shards that {pattern!r} names do not exist.\n"
            f"  the first: {missing[0]}\n  write only those that do, e.g. with a wildcard (*)"
        )
    _refuse_unfinished(files)
    return files


def _refuse_unfinished(files: list[str]) -> None:
    for folder in dict.fromkeys(os.path.dirname(file) for file in files if not is_url(file)):
        mark = os.path.join(folder, UNFINISHED)
        if is_there(mark):
            raise DataError(
                f"the shards in {folder or '.'} are no whole set: who wrote them was stopped on the way.\n"
                "  write them again:  vxl shards write, as before\n"
                f"  or, if you know them to be whole:  rm {mark}"
            )


def _local_names(pattern: str) -> list[str]:
    """What a pattern matches, sorted; as `glob.glob`, which takes a folder that can't be read for empty."""
    above, name = os.path.split(pattern)
    if "**" in pattern or not name:
        return sorted(glob.glob(pattern, recursive=True))
    paths = []
    for folder in _local_names(above) if glob.has_magic(above) else [above]:
        if not glob.has_magic(name):
            paths += [os.path.join(folder, name)] if is_there(os.path.join(folder, name)) else []
        elif is_folder(folder or "."):
            names = _names_in(folder or ".")
            visible = [one for one in names if name.startswith(".") or not one.startswith(".")]
            paths += [os.path.join(folder, one) for one in fnmatch.filter(visible, name)]
    return sorted(paths)


def _names_in(folder: str) -> list[str]:
    return patiently(lambda: sorted(os.listdir(folder)), folder)


def _braces(pattern: str) -> list[str]:
    from braceexpand import UnbalancedBracesError, braceexpand  # ty: ignore  # late: braceexpand, for patterns alone

    try:
        return list(braceexpand(pattern))
    except UnbalancedBracesError as error:
        raise DataError(f"the shards {pattern!r} have a brace without its partner: {error}") from error


def _remote_names(url: str) -> list[str]:
    if not glob.has_magic(url.split("://", 1)[1].split("?")[0] if url.startswith("http") else url):
        return [url]

    system, path = file_system_of(url)
    try:
        names = patiently(lambda: sorted(system.glob(path)), url)
        return [system.unstrip_protocol(name) for name in names]
    except (OSError, NotImplementedError) as error:
        raise DataError(
            f"{url}: its wildcard can't be looked up ({error}).\n  write braces: {{000000..000099}}"
        ) from error


def _looked_for(name: str) -> str:
    """Where a name was looked for, and the nearest folder that exists with what it holds."""
    if is_url(name):
        return f"looked for {name}"
    full = os.path.abspath(local(name))
    folder = os.path.dirname(full)
    while not is_folder(folder):
        folder = os.path.dirname(folder)
    names = _names_in(folder)
    holds = (
        ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
        if names
        else "nothing"
    )
    return f"looked for {full}\n  {folder} holds {holds}"
