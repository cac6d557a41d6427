"""Raw answers on disk: append-only JSON lines, one file a worker, safe against kills at any byte."""

import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from vxl.atomic import why_not
from vxl.errors import CheckpointError

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class RawAnswer:
    """What a model wrote to one item; parsing and metrics are functions of it."""

    key: str
    text: str
    tokens: int = 0
    """Generated tokens."""
    cost: dict[str, float] = field(default_factory=dict)
    worker: str = ""
    failed: str | None = None
    """Why there is no answer: it counts as wrong, and the report says so."""
    shown: str = ""
    """A picture of some frames, below the folder of the answers."""
    kept: Sequence[float] = ()
    """Over the video, in equal parts, the share of its visual tokens that the cache held for the answer."""


# What stands in a line, which anybody may have written.
_KINDS = {
    **dict.fromkeys(("key", "text", "worker", "shown"), str),
    **{"tokens": int, "cost": dict, "kept": list, "failed": str | None},
}


class AnswerFile:
    """The file of one worker: a header line with the fingerprint, then one line an answer.

    Args:
        folder: Where the answers of all workers are.
        fingerprint: Of the protocol; answers of another one are not read.
        worker: This worker's name.

    Raises:
        CheckpointError: The folder can't be written, which is known before anything is asked.
    """

    def __init__(self, folder: Path, fingerprint: str, worker: str) -> None:
        self.folder, self.fingerprint, self.worker = folder, fingerprint, worker
        try:
            folder.mkdir(parents=True, exist_ok=True)
            names = {path.name for path in folder.glob("answers.*.jsonl")}
            number = 0
            while True:
                self.path = folder / f"answers.{number}.jsonl"
                number += 1
                if self.path.name in names:
                    continue
                try:  # exclusive: two workers that begin at once take different numbers
                    descriptor = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND, 0o644)
                    break
                except FileExistsError:
                    continue
            self._file = os.fdopen(descriptor, "a", encoding="utf-8")
            self._write([{"fingerprint": fingerprint, "worker": worker}])
        except OSError as error:
            raise CheckpointError(f"{folder} can't be written: {why_not(error, 'output=FOLDER')}") from error

    def add(self, answers: Sequence[RawAnswer]) -> None:
        """Appends the answers about one video; they are on disk when this returns.

        Raises:
            CheckpointError: The disk is full, or gone.
        """
        try:
            self._write([asdict(answer) for answer in answers])
        except OSError as error:
            raise CheckpointError(
                f"{self.path} can't be written: {why_not(error, 'output=FOLDER')}\n"
                "  earlier answers are kept; then the same command goes on."
            ) from error

    def close(self) -> None:
        """Closes the file; one without answers is taken away."""
        self._file.close()
        lines = self.path.read_text(encoding="utf-8").count("\n")
        if lines <= 1:
            self.path.unlink(missing_ok=True)

    def _write(self, lines: Sequence[dict[str, Any]]) -> None:
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        self._file.write(text)
        self._file.flush()
        os.fsync(self._file.fileno())


def read_answers(folder: Path, fingerprint: str) -> dict[str, RawAnswer]:
    """All answers of one fingerprint, by key; of an item answered twice the first in the files' order.

    A line that a kill cut off is left out.
    """
    answers: dict[str, RawAnswer] = {}
    for path in answer_files(folder):
        header, lines = _read(path)
        if header.get("fingerprint") != fingerprint:
            continue
        for line in lines:
            answer = RawAnswer(**{name: line[name] for name in line if name in RawAnswer.__annotations__})
            earlier = answers.get(answer.key)
            if earlier is None or (earlier.failed is not None and answer.failed is None):
                answers[answer.key] = answer
    return answers


def set_aside(folder: Path, fingerprint: str, *, anew: bool = False) -> list[str]:
    """Moves answers of another fingerprint out of the way, into a folder named after theirs.

    Args:
        folder: Where the answers are.
        fingerprint: Whose answers stay.
        anew: Whether those move too (`resume=false`).

    Returns:
        The fingerprints that were moved.
    """
    fingerprints = []
    for path in answer_files(folder):
        header, _ = _read(path)
        other = str(header.get("fingerprint") or "unreadable")
        if other == fingerprint and not anew:
            continue
        target = folder / f"aside-{other[:12]}"
        target.mkdir(exist_ok=True)
        name, number = path.name, 0
        while (target / name).exists():
            number += 1
            name = f"{path.stem}.{number}.jsonl"
        path.replace(target / name)
        fingerprints.append(other)
    return list(dict.fromkeys(fingerprints))


def answer_files(folder: Path) -> list[Path]:
    """The files of all workers, in the order of their numbers."""
    files = [path for path in folder.glob("answers.*.jsonl") if path.name.split(".")[1].isdigit()]
    return sorted(files, key=lambda path: int(path.name.split(".")[1]))


def _read(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """(header, lines) of a file; lines that are no answer are left out."""
    header: dict[str, Any] = {}
    lines: list[dict[str, Any]] = []
    raw = path.read_bytes().split(b"\n")
    for number, line in enumerate(raw):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            log.info("%s: line %d is cut off, and left out", path, number + 1)
            continue
        if not isinstance(value, dict):
            continue
        if number == 0:
            header = value
        elif _is_answer(value):
            lines.append(value)
    return header, lines


def key_of_other_kind(answer: dict[str, Any], kinds: Mapping[str, Any]) -> str | None:
    """The first key whose value is not of the kind that it should be; keys may be absent."""
    return next(
        (key for key, kind in kinds.items() if key in answer and not isinstance(answer[key], kind)), None
    )


def _is_answer(line: dict[str, Any]) -> bool:
    if key_of_other_kind(line, _KINDS) is not None or "key" not in line or "text" not in line:
        return False
    numbers = [*line.get("cost", {}).values(), *line.get("kept", [])]
    return all(isinstance(number, int | float) for number in numbers)
