"""Answers beside lmms-eval's own files, a line each as soon as it is there, from which it resumes."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vxl.errors import DataError
from vxl.generate.loaded import LoadedModel
from vxl.lmms.messages import Asked
from vxl.option.rebuild import plain


@dataclass(frozen=True)
class Kept:
    """An answer."""

    text: str
    input_tokens: int
    output_tokens: int


class AnswerFile:
    """The answers of one model with its settings; each process writes a file of its own, and reads all.

    Args:
        folder: Where they lie.
        model: Fingerprint of weights and settings.
        rank: Which process this is.
    """

    def __init__(self, folder: Path, model: str, rank: int) -> None:
        self.path = folder / f"{model[:16]}-{rank}.jsonl"
        self.known: dict[str, Kept] = {}
        for file in sorted(folder.glob(f"{model[:16]}-*.jsonl")):
            for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
                try:
                    row = json.loads(line)
                    self.known[row["key"]] = Kept(
                        str(row["text"]), int(row["input_tokens"]), int(row["output_tokens"])
                    )
                except (ValueError, KeyError, TypeError, RecursionError):
                    continue  # the line that a kill cut

    def write(self, key: str, kept: Kept, about: Mapping[str, Any]) -> None:
        """Keeps an answer.

        Raises:
            DataError: It can't be written.
        """
        row = {"key": key, **vars(kept), **about}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            cut = self.path.exists() and not self.path.read_bytes().endswith(b"\n")
            with self.path.open("a", encoding="utf-8") as file:
                file.write("\n" * cut + json.dumps(row, ensure_ascii=False) + "\n")
        except OSError as error:
            raise DataError(f"{self.path} can't be written: {error}\n  elsewhere:  answers=FOLDER") from error
        self.known[key] = kept


def model_key(loaded: LoadedModel) -> str:
    """What a model's answers depend on: its weights (by their files' sizes and times) and its settings."""
    files = sorted(loaded.checkpoint.rglob("*")) if loaded.checkpoint is not None else []
    status = [(str(file.name), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return _hash(
        [str(loaded.checkpoint), status, plain(loaded.config), str(loaded.model.llm.causal_lm.dtype)]
    )


def request_key(asked: Asked, settings: Mapping[str, Any]) -> str:
    """What an answer depends on besides the model.

    Args:
        asked: The conversation.
        settings: How it is generated.
    """
    shown = [(visual.key, _status(visual.source)) for visual in asked.visuals]
    turns = [(turn.role, turn.texts) for turn in asked.turns]
    return _hash([asked.system, turns, shown, dict(sorted(settings.items()))])


def _status(source: Any) -> Any:
    if isinstance(source, bytes):
        return None  # its key is its content
    status = Path(source).stat()
    return status.st_size, status.st_mtime_ns


def _hash(values: Any) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True, default=str).encode()).hexdigest()
