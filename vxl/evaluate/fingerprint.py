"""What makes two scores comparable, and a short hash of it that stands in every report."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_WEIGHTS = (".safetensors", ".distcp", ".bin", ".metadata")


@dataclass(frozen=True)
class Protocol:
    """What an answer depends on, and how it is read."""

    answering: Mapping[str, Any]
    """Of the raw texts: checkpoint, parts, preset, first prompt, generation, frames, annotations."""
    scoring: Mapping[str, Any]
    """Of the scores beyond that: the parser, which items were left out or mended."""

    @property
    def fingerprint(self) -> str:
        """Of what raw answers depend on: answers of one fingerprint can be resumed and merged."""
        return digest(self.answering)

    @property
    def short(self) -> str:
        """Eight letters for tables and file names; changes with the scoring too."""
        return digest({"answering": self.answering, "scoring": self.scoring})[:8]

    def comparable(self) -> dict[str, Any]:
        """What two systems must share to be compared: everything but the model and its policies."""
        own = ("checkpoint", "parts")
        return {name: value for name, value in self.answering.items() if name not in own} | dict(self.scoring)

    @property
    def shared(self) -> str:
        """Eight letters of `comparable`: the same for all members of a group that may be paired."""
        return digest(self.comparable())[:8]

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {"hash": self.short, "answering": dict(self.answering), "scoring": dict(self.scoring)}


def digest(value: Any) -> str:
    """A hash of plain values that does not depend on the order of keys."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def unlike(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What two protocols (`Protocol.comparable`) differ in: {what: (first, second)}."""
    names = dict.fromkeys([*first, *second])
    return {n: (first.get(n), second.get(n)) for n in names if first.get(n) != second.get(n)}


def hash_file(path: Path) -> str:
    """sha256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def hash_annotations(place: Path) -> str:
    """sha256 of an annotation file, or of every JSON, text and parquet file of a folder."""
    if place.is_file():
        return hash_file(place)
    kinds = (".json", ".jsonl", ".txt", ".parquet")
    files = sorted(path for path in place.rglob("*") if path.suffix in kinds)
    return digest([(path.relative_to(place).as_posix(), hash_file(path)) for path in files])


def hash_checkpoint(folder: Path | None) -> str:
    """Names the weights of a folder by sizes and times of their files, which costs no reading.

    None, for random weights, is `random`: the config says the seed.
    """
    if folder is None:
        return "random"
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name.endswith(_WEIGHTS))
    facts = [
        (path.relative_to(folder).as_posix(), path.stat().st_size, path.stat().st_mtime_ns) for path in files
    ]
    return digest(facts)
