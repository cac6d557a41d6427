"""One pass of new tokens through the language model: an immutable description that every layer reads.

It travels as a keyword argument of the model call. Layers change nothing that they read, so that activation
checkpointing may run them twice: what they add is left in `new`, one slot a layer, and put into the cache
when the pass is over.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vxl.llm.attention.split import Split
from vxl.llm.attention.windows import Sliding, Windows
from vxl.llm.block import Block
from vxl.llm.rope import Rotary

InTurn = Callable[[int, Tensor, Tensor, Tensor, float | None], Tensor]


class Span(NamedTuple):
    """A document's place in a batch: row, and columns [start, stop)."""

    row: int
    start: int
    stop: int


@dataclass(frozen=True, eq=False)
class Step:
    """What attention must know about the tokens of one pass. Made by `Decoder.step`.

    Without `past`, `spans` are the documents of the batch, which do not see each other. With `past`, each
    row is the continuation of that row's cache, and `valid_BT` marks real tokens (padding on the right).
    """

    positions_BT: Tensor
    """Rotary positions of the new tokens, int64."""
    rotary: Rotary
    cos_BTH: Tensor
    sin_BTH: Tensor
    backend: str = "sdpa"
    spans: tuple[Span, ...] | None = None
    """Documents of the batch; None = every row is one causal sequence, with padding behind it, which
    no real token sees."""
    past: Sequence[tuple[Block, ...]] | None = None
    """Blocks of the cache per layer, as they were when the step was made; each layer reads its own, once."""
    valid_BT: Tensor | None = None
    """Real tokens of a cached step; None = all."""
    windows: Windows | None = None
    """What tokens see of what came before them, where that is not everything; `spans` are in it, too."""
    sliding: Sliding | None = None
    """The window that tokens see, where no token sees what is further back but the first text."""
    memo: bool = True
    """Whether the cache that made the step remembers rotated keys."""
    beacons: Tensor | None = None
    """Which tokens are beacons, as places in the flattened [B T], int64 (vxl.llm.beacon); None = the ordinary
    weights alone run. An empty tensor keeps the beacons' weights in the graph, as all ranks must."""
    new: "Slots | None" = field(default=None, repr=False)
    """A slot for each layer's new keys and values; None = they are not kept."""
    observed_BQ: Tensor | None = None
    """Columns whose queries are kept (negative: the row has fewer); None = none are."""
    queries: list[Tensor | None] | None = field(default=None, repr=False)
    """A slot for each layer's queries of these columns, rotated, [B, query heads, Q, H]."""
    in_turn: "InTurn | None" = None
    """Attention of a layer whose tokens come in parts, between which a policy drops entries (vxl.llm.turns):
    (layer, query, rotated key, value, scaling) -> [B, T, query heads, H]. None = all come at once."""
    split: Split | None = None
    """The part of the sequence that this process has, in context parallelism: positions are of its columns,
    `spans` and `windows` of the whole sequence. None = all of it."""
    scratch: dict[Any, Any] = field(default_factory=dict, repr=False)
    """What a backend works out once for all layers."""


class Slots:
    """A slot for each layer. No list: FSDP2 hands a copy of every list to each block, and what a block put
    into its copy would be lost."""

    def __init__(self, layers: int) -> None:
        self.slots: list[New | None] = [None] * layers

    def __getitem__(self, layer: int) -> "New | None":
        return self.slots[layer]

    def __setitem__(self, layer: int, new: "New | None") -> None:
        self.slots[layer] = new

    def __iter__(self) -> "Iterator[New | None]":
        return iter(self.slots)


class New(NamedTuple):
    """Keys and values that one layer adds: [B, heads, T, H]; keys as they are and, with a memo, rotated."""

    keys_BNTH: Tensor
    values_BNTH: Tensor
    rotated_BNTH: Tensor | None


class Observed(NamedTuple):
    """Queries of the last tokens of a pass, rotated to their positions."""

    queries: Sequence[Tensor]
    """Each layer's, [B, query heads, Q, H]."""
    columns_BQ: Tensor
    """Their columns in the pass; negative where a row is shorter than Q."""
    tokens: int
    """Columns of the pass."""

    @property
    def real_BQ(self) -> Tensor:
        """Which of them exist."""
        return self.columns_BQ >= 0


def documents(document_BT: Tensor) -> tuple[Span, ...] | None:
    """The spans of equal document numbers >= 0, or None where each row is one document followed by
    padding."""
    document = document_BT.cpu()
    rows, width = document.shape
    changes = torch.ones(rows, width, dtype=torch.bool)
    changes[:, 1:] = document[:, 1:] != document[:, :-1]
    starts = changes.nonzero().tolist()
    numbers = document[changes].tolist()
    spans = []
    for i, ((row, start), number) in enumerate(zip(starts, numbers, strict=True)):
        last = i + 1 == len(starts) or starts[i + 1][0] != row
        if number >= 0:
            spans.append(Span(row, start, width if last else starts[i + 1][1]))
    plain = all(span.start == 0 for span in spans) and len({span.row for span in spans}) == len(spans)
    return None if plain else tuple(spans)


def runs(spans: tuple[Span, ...], rows: int, width: int) -> list[tuple[Span, bool]]:
    """The documents, and the padding between and behind them, row by row in order: (run, is a document)."""
    spans_and_documents: list[tuple[Span, bool]] = []
    for row in range(rows):
        end = 0
        for span in (*(span for span in spans if span.row == row), Span(row, width, width)):
            if span.start > end:
                spans_and_documents.append((Span(row, end, span.start), False))
            if span.stop > span.start:
                spans_and_documents.append((span, True))
            end = span.stop
    return spans_and_documents
