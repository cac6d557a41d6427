"""One conversation as tokens, each with its label and its place in the layout."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from vxl.prune.base import Pruner
from vxl.sequence.layout import Kind
from vxl.sequence.rows import IGNORE


@dataclass(frozen=True)
class Shown:
    """A visual as the model sees it: when each of its frames was."""

    kind: Literal["video", "image"]
    seconds: tuple[float, ...] = (0.0,)
    """Timestamp of each sampled frame of a video; one entry a view for an image."""


@dataclass(frozen=True)
class BatchedVisual:
    """A visual in a batch: `frames` of the frame tensor become `groups` groups."""

    kind: Literal["video", "image"]
    frames: int
    """Frames in the tensor, a multiple of frames_per_group (the last frame is repeated)."""
    groups: int


@dataclass
class Encoded:
    """Tokens of one conversation and, for each, its label and place in the layout."""

    tokens: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    kind: list[int] = field(default_factory=list)
    group: list[int] = field(default_factory=list)
    item: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    question: list[bool] = field(default_factory=list)
    items: list[BatchedVisual] = field(default_factory=list)
    answer_at: int | None = None
    """Position of the option's letter, where the sample is a question with its answer."""

    def __len__(self) -> int:
        return len(self.tokens)

    def until(self, stop: int) -> "Encoded":
        """Its first tokens, which have all of its visuals."""
        of_tokens = ("tokens", "labels", "kind", "group", "item", "seconds", "question")
        return Encoded(**{name: getattr(self, name)[:stop] for name in of_tokens}, items=list(self.items))

    def text(self, tokens: Sequence[int], supervised: bool = False, question: bool = False) -> None:
        """Appends text; `question` marks what the user asks, see `Layout.question_BT`."""
        self._append(tokens, tokens if supervised else [IGNORE] * len(tokens), Kind.TEXT, -1, -1, -1.0)
        self.question += [question] * len(tokens)

    def visual(self, tokens: Sequence[int], kind: Kind, group: int, seconds: float) -> None:
        """Appends a group's time text or its placeholders, for the item that comes next in `items`."""
        self._append(tokens, [IGNORE] * len(tokens), kind, group, len(self.items), seconds)
        self.question += [False] * len(tokens)

    def _append(
        self, tokens: Sequence[int], labels: Sequence[int], kind: Kind, group: int, item: int, seconds: float
    ) -> None:
        count = len(tokens)
        self.tokens += tokens
        self.labels += labels
        self.kind += [int(kind)] * count
        self.group += [group] * count
        self.item += [item] * count
        self.seconds += [seconds] * count


def fed_length(encoded: Encoded, pruner: Pruner | None, size: int) -> int:
    """Tokens of a conversation without those that are pruned, where it is known how many these are.

    Args:
        encoded: The conversation, whole.
        pruner: What drops visual tokens; None = nothing does.
        size: Visual tokens of a group.
    """
    count, first = len(encoded), 0
    if pruner is None or not pruner.drops:
        return count
    times = Counter(g for g, k in zip(encoded.group, encoded.kind, strict=True) if k == Kind.TIME)
    for item in encoded.items:
        if item.kind == "video":
            count -= item.groups * size - pruner.most_fed(item.groups, size)
            count -= sum(times[first + group] for group in range(pruner.never_fed(item.groups)))
        first += item.groups
    return count
