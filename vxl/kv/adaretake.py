"""Of each new piece the entries stay that a proxy question attends to, more in layers where it finds more."""

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from typing_extensions import override

from vxl.errors import ConfigError
from vxl.kv.scored.columns import Columns
from vxl.kv.scored.config import ScoredConfig
from vxl.kv.scored.entries import Entries
from vxl.kv.scored.ranking import best, newest
from vxl.kv.scored.words import Speaking, Words, read_words
from vxl.llm.cache import Cache
from vxl.precision import at_least_single


@dataclass(frozen=True, kw_only=True)
class AdaReTaKeConfig(ScoredConfig):
    """Of each new piece the entries stay that a proxy question attends to; layers share the budget."""

    _target_: str = "vxl.kv.adaretake.AdaReTaKe"
    at: Literal["chunks"] = "chunks"
    """After each piece of the prefill: older entries are kept as they are."""
    question: Words = "Describe the video in detail."
    """What is asked behind each piece: a text, or its tokens. The published code asks the real question,
    which is not known while a video is watched once for many."""
    time: float = 4.0
    """How much a layer's share follows how much of the piece is attended to (the square root of `time` times
    that part, 1/2 to 2); 0 leaves it out."""

    def __post_init__(self) -> None:
        super().__post_init__()
        budget = next((n for n in ("tokens", "mib", "layers") if getattr(self, n) is not None), None)
        if budget is not None:
            raise ConfigError(
                f"{budget}={getattr(self, budget)} does not go with kv=adaretake: older entries always stay, "
                f"and layers share one budget.\n  allowed: kv.keep, a fraction\n"
                f"  e.g.  kv.{budget}=null kv.keep=0.25"
            )
        if not self.question or self.time < 0:
            raise ConfigError(
                f'question="{self.question}" time={self.time}: nothing is asked, or no factor.\n'
                "  allowed: a text or tokens, time of 0 or more"
            )


class AdaReTaKe(Speaking):
    """Score: mean over query heads of the sum over the question's tokens of softmax_e over the piece alone.

    AdaReTaKe (arXiv 2503.12559, section 3; SCZwangxiao/video-FlexReduc, retake/longvideo_cache.py). Of a
    piece of C entries in L layers with room for a part a: the int(max(1, a C) L) best scores of all layers
    are counted by layer, share_l = (1 + count_l) / sum * L a; times clamp(sqrt(time * part of s > 0.01 max
    s), 1/2, 2). The published shares are not scaled again, so that the budget is not held; here they are, and
    what all layers hold together is exactly L times the room. Positions are not compressed."""

    per_head = False

    def __init__(self, config: AdaReTaKeConfig) -> None:
        super().__init__(config)
        self.time = config.time

    @override
    def kept(
        self, cache: Cache, columns: Columns, rooms: list[Tensor], first_asked: int | None
    ) -> list[Tensor]:
        entries = [self.entries(cache, n, columns, room, first_asked) for n, room in enumerate(rooms)]
        # What came last stands at the end of every layer, the same tokens in each.
        layers, tokens = len(entries), cache.layouts[-1].shape[1]
        new_BT = entries[0].open_BNS[:, 0, -tokens:]
        old = [h.open_BNS[..., :-tokens] for h in entries]
        score_LBT = self.scores(cache, entries, new_BT)
        # The rest is small, and asks for numbers that the host must know.
        count_B = new_BT.sum(dim=1).tolist()
        older_LB = torch.stack([mask[:, 0].sum(dim=-1) for mask in old]).cpu()
        free_LB = torch.stack([h.free_BN1[:, 0, 0] for h in entries]).cpu() - older_LB
        kept_LB, rooms_LB = older_LB.clone(), torch.zeros_like(older_LB)
        for row in range(cache.rows):
            count, free = count_B[row], int(free_LB[:, row].sum())
            if free < 0:  # text that came since has taken their places
                older_L = older_LB[:, row]
                kept_LB[:, row] = whole_shares(older_L, max(0, int(older_L.sum()) + free), int(older_L.max()))
            free = min(max(0, free), count * layers)
            if count:
                own_LC = score_LBT[:, row, new_BT[row]].cpu()
                share_L = layer_shares(own_LC, free / (count * layers), self.time)
                rooms_LB[:, row] = whole_shares(share_L, free, count)
        kept_LB11, rooms_LB1 = (x.to(new_BT.device)[..., None] for x in (kept_LB[..., None], rooms_LB))
        stays_LBT = best(score_LBT, new_BT.expand_as(score_LBT), rooms_LB1)
        return [
            h.protected_BNS | torch.cat((newest(old[n], kept_LB11[n]), stays_LBT[n, :, None]), dim=-1)
            for n, h in enumerate(entries)
        ]

    def scores(self, cache: Cache, entries: list[Entries], new_BT: Tensor) -> Tensor:
        """Scores of the tokens that came last, [L, B, T], of which the `new` ones count."""
        fork = read_words(cache, self.reader, self.tokens_of("adaretake", "question"))
        assert fork.observed is not None
        keys = torch.stack([h.turned_BNSH[:, :, -new_BT.shape[1] :] for h in entries])
        query = at_least_single(torch.stack(list(fork.observed.queries))).unflatten(2, (keys.shape[2], -1))
        logit_LBNRQT = (query * query.shape[-1] ** -0.5) @ keys[:, :, :, None].mT
        there_BT = new_BT[:, None, None, None]
        weight = logit_LBNRQT.masked_fill_(~there_BT, torch.finfo(query.dtype).min).softmax(dim=-1)
        return (weight * there_BT).sum(dim=4).mean(dim=(2, 3))


def layer_shares(score_LC: Tensor, keep: float, time: float) -> Tensor:
    """Which part of a piece each layer keeps, as published: [L].

    Args:
        score_LC: Scores of the piece's C entries in all layers.
        keep: The part that layers keep on average.
        time: See `AdaReTaKeConfig.time`.
    """
    layers, count = score_LC.shape
    best_K = score_LC.flatten().topk(min(int(max(1, keep * count) * layers), layers * count)).indices // count
    counts_L = 1 + torch.bincount(best_K, minlength=layers).double()
    share_L = counts_L / counts_L.sum() * layers * keep
    if time:
        seen_L = (score_LC > 0.01 * score_LC.amax(dim=1, keepdim=True)).double().mean(dim=1)
        share_L = share_L * (time * seen_L).sqrt().clamp(0.5, 2.0)
    return share_L.clamp(max=1.0)


def whole_shares(share_L: Tensor, total: int, most: int) -> Tensor:
    """Entries of each layer, int64 [L]: in proportion to the shares, `most` at most, `total` together."""
    wish_L = share_L.double().clamp(min=1e-9)
    room_L = torch.zeros_like(wish_L)
    full_L = torch.zeros_like(wish_L, dtype=torch.bool)
    for _ in range(len(wish_L)):  # what the full layers can't take goes to the others
        rest = total - most * int(full_L.sum())
        room_L = torch.where(full_L, float(most), wish_L / wish_L[~full_L].sum().clamp(min=1e-9) * rest)
        over_L = ~full_L & (room_L > most)
        if not bool(over_L.any()):
            break
        full_L = full_L | over_L
    whole_L = room_L.floor().clamp(max=most)
    missing = total - int(whole_L.sum())
    order_L = (room_L - whole_L).masked_fill(whole_L >= most, -1.0).argsort(descending=True, stable=True)
    whole_L[order_L[:missing]] += 1
    return whole_L.long()
