"""Answering with a selector: visual tokens are kept encoded, and each question prefills those it selects."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from vxl.kv.policy import SEED
from vxl.llm.cache import Cache
from vxl.llm.chunks import SHOWN, items_of_groups
from vxl.model import VideoLanguageModel
from vxl.selector.rows import choose_row, query_of
from vxl.sequence.layout import Layout
from vxl.sequence.piece import Piece
from vxl.sequence.rows import Rows, gather


@dataclass(frozen=True, eq=False)
class Waiting:
    """Everything before the question: text, time text and all visual tokens, as embeddings."""

    embeds_1TD: Tensor
    layout: Layout
    cuts: tuple[tuple[int, int], ...]
    """Pieces of text or of whole groups, in which it is prefilled."""

    def bytes(self) -> int:
        """Memory that it holds."""
        return self.embeds_1TD.nbytes


def prefill(
    model: VideoLanguageModel, waiting: Waiting, questions: Sequence[Sequence[int]], draw: int = 0
) -> Cache:
    """Selects for each question and runs what stays through the language model; a cache row a question."""
    cache = model.llm.new_cache(rows=len(questions))
    cache.state[SEED] = draw
    cache.state[SHOWN] = items_of_groups(waiting.layout.group_BT, waiting.layout.item_BT)
    selections = [_chosen(model, waiting, question, draw) for question in questions]
    for start, stop in waiting.cuts:
        parts = [(embeds_TD[start:stop], kept_T[start:stop]) for embeds_TD, kept_T in selections]
        embeds_BTD = torch.stack([embeds_TD for embeds_TD, _ in parts])
        kept_BT = torch.stack([kept_T for _, kept_T in parts])
        if not kept_BT.any():
            continue
        rows = gather(_rows(embeds_BTD, waiting.layout.slice(start, stop)), kept_BT)
        valid_BT = rows.layout.real_BT
        whole = bool(valid_BT.all())
        piece = Piece(rows.embeds_BTD, rows.layout, None if whole else valid_BT)
        model.prefill.feed(model.llm, model.policy, cache, piece)
    model.prefill.finish(model.llm, model.policy, cache)
    model.policy.after_watch(cache)
    return cache


def _chosen(
    model: VideoLanguageModel, waiting: Waiting, question: Sequence[int], draw: int
) -> tuple[Tensor, Tensor]:
    """(embeds_TD, kept_T) for one question."""
    layout = waiting.layout
    embeds_TD = waiting.embeds_1TD[0]
    kept_T = layout.real_BT[0].clone()
    query_QD = model.llm.embed(torch.tensor(question, device=embeds_TD.device))
    if model.selector.whole_query:
        text_T = query_of(model.selector, layout, 0, kept_T)
        query_QD = torch.cat([embeds_TD[text_T], query_QD])
    choice = choose_row(model.selector, embeds_TD, layout, 0, kept_T, query_QD, draw)
    if choice is None:
        return embeds_TD, kept_T
    shown_S, shown_SD, kept_S = choice
    embeds_TD = embeds_TD.index_copy(0, shown_S, shown_SD)
    kept_T[shown_S] = kept_S
    return embeds_TD, kept_T


def _rows(embeds_BTD: Tensor, layout: Layout) -> Rows:
    """The same piece of a head in several rows."""
    count = len(embeds_BTD)
    wide = Layout(*(getattr(layout, field.name).expand(count, -1) for field in fields(Layout)))
    nothing_BT = torch.zeros_like(wide.kind_BT, dtype=torch.int64)
    return Rows(embeds_BTD, nothing_BT, nothing_BT, wide)
