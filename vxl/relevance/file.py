"""Chunks that a published list selects (Video-XL-2's `selected_infos`)."""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vxl.errors import DataError
from vxl.json_text import doubled_key, parse_json
from vxl.llm.cache import Cache
from vxl.llm.chunks import Chunks
from vxl.patience import read_patiently
from vxl.relevance.base import QuestionPiece, Relevance, RelevanceConfig

log = logging.getLogger(__name__)

OPTION_LINE = re.compile(r"\n\(?A[.):]\s")
"""Where a question's lettered options begin."""


@dataclass(frozen=True, kw_only=True)
class FileConfig(RelevanceConfig):
    """Chunks that a list selects for each question, such as those published with Video-XL-2."""

    _target_: str = "vxl.relevance.file.File"
    file: str
    """JSON: {category: null or {"selected_unit_indices": {"VIDEO_QUESTION": [unit, ...]}}}, or only the inner
    {"VIDEO_QUESTION": [unit, ...]}. VIDEO is the file's name, with or without its ending."""
    groups_per_unit: int = 2
    """Groups of a unit: a published unit is 8 frames."""
    published_missing: bool = False
    """Whether all chunks of a question that is not in the list stay in full, as the published code does
    without a word; otherwise that is an error."""


class File(Relevance):
    """Looks questions up.

    Listed units' chunks stay in full whatever the budget, no others do; an empty list keeps all in full.

    Raises:
        DataError: The file can't be read, or has two lists for one question.
    """

    config: FileConfig

    def __init__(self, config: FileConfig) -> None:
        super().__init__(config)
        self.units = read_selections(Path(config.file))

    def score(self, question: QuestionPiece, chunks: Chunks, cache: Cache) -> Tensor:
        """See `Relevance.score`.

        Raises:
            DataError: A question is not in the list.
        """
        texts = question.texts or ("",) * cache.rows
        return torch.stack([self.row(text, question.names, chunks) for text in texts])

    def row(self, text: str, names: tuple[str, ...], chunks: Chunks) -> Tensor:
        """Scores of one question, [C]."""
        units = self.find(text, names)
        if not units:
            return torch.full((chunks.count,), torch.inf, device=chunks.chunk_BS.device)
        scores_C = torch.full((chunks.count,), -torch.inf, device=chunks.chunk_BS.device)
        groups = torch.tensor(units, device=scores_C.device) * self.config.groups_per_unit
        groups = groups[(groups >= 0) & (groups < len(chunks.of_group_G))]
        scores_C[chunks.of_group_G[groups]] = torch.inf
        return scores_C

    def find(self, text: str, names: tuple[str, ...]) -> list[int]:
        """The units listed for a question about visuals of these names."""
        keys = [key_of_question(name, text) for full in names for name in (full, Path(full).stem)]
        for key in keys:
            if key in self.units:
                return self.units[key]
        if self.config.published_missing:
            return []
        tried_keys = " or ".join(map(repr, dict.fromkeys(keys))) or "nothing: the video has no name"
        raise DataError(
            f"{self.config.file} selects nothing for this question.\n"
            f"  looked for: {tried_keys}\n"
            f"  it has {len(self.units)} questions, such as {next(iter(self.units), 'none')!r}\n"
            "  type  relevance.published_missing=true  to keep such questions' videos in full"
        )


def key_of_question(name: str, text: str) -> str:
    """The key of a question about a video: without lettered options and extra spaces."""
    return " ".join(f"{name}_{OPTION_LINE.split(text, maxsplit=1)[0]}".split())


def read_selections(path: Path) -> dict[str, list[int]]:
    """The units listed for each question.

    Raises:
        DataError: The file can't be read, or has two lists for one question.
    """
    try:
        values = parse_json(read_patiently(path).decode("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"relevance.file={path} can't be read: {error}") from error
    if (doubled := doubled_key(values)) is not None:
        raise DataError(f"{path} has two lists for {doubled!r}.\n  leave the one that is meant")
    selections: dict[str, list[int]] = {}
    for key, units in _entries(values, path):
        if not isinstance(units, list) or not all(type(unit) is int for unit in units):
            raise DataError(f"{path}: {key!r} lists {units!r}.\n  expected: whole numbers, as [3, 17]")
        key = " ".join(key.split())
        if selections.setdefault(key, units) != units:
            raise DataError(f"{path} has two lists for {key!r}: {selections[key]} and {units}.")
    return selections


def _entries(values: Any, path: Path) -> list[tuple[str, Any]]:
    """(question, units) of a published or a plain file."""
    if not isinstance(values, Mapping):
        raise DataError(f"{path} holds a {type(values).__name__}.\n  expected: a JSON object of questions")
    entries: list[tuple[str, Any]] = []
    for key, value in values.items():
        if value is None:
            log.info("%s selects nothing for the questions of %s", path, key)
        elif isinstance(value, Mapping):
            if "selected_unit_indices" not in value:
                raise DataError(f"{path}: {key!r} has no selected_unit_indices, only {', '.join(value)}.")
            entries += value["selected_unit_indices"].items()
        else:
            entries.append((key, value))
    return entries
