"""How many entries each layer may hold."""

import logging

import torch
from torch import Tensor

from vxl.kv.budget import budget, cost_of
from vxl.kv.scored.columns import Columns
from vxl.kv.scored.config import ScoredConfig
from vxl.llm.block import sent
from vxl.llm.cache import Cache
from vxl.sequence.share import share

log = logging.getLogger(__name__)
TOLD: list[ScoredConfig] = []
"""Budgets of which it was said in this process."""


def rooms_of(
    settings: ScoredConfig, cache: Cache, columns: Columns, until: int, *, per_head: bool
) -> list[Tensor]:
    """Entries that each layer's heads may hold of the first `until` columns, int64 [B] a layer."""
    layers = len(cache.layers)
    watched_B = columns.real_BF[:, :until].sum(dim=1)
    if settings.tokens is not None or settings.mib is not None:
        cost = None if settings.mib is None else cost_of(cache, settings, per_head=per_head)
        return [budget(settings, watched_B, cost)] * layers
    fractions = [settings.keep] * layers
    if settings.layers is not None:
        fractions = [settings.layers[layer] for layer in range(layers)]
    beside_B = torch.zeros_like(watched_B)
    if settings.of == "visual":
        visual_B = columns.visual_BF[:, :until].sum(dim=1)
        beside_B, watched_B = watched_B - visual_B, visual_B
    rooms = {keep: beside_B + share(watched_B, keep) for keep in set(fractions) if keep is not None}
    return [rooms[keep] for keep in fractions if keep is not None]


def all_fit(cache: Cache, rooms: list[Tensor]) -> bool:
    """Whether every layer's heads hold no more than they may; waits for a device where some have padding."""
    layers = range(len(cache.layers))
    if all(cache.entries(n) <= int(rooms[n].min()) for n in layers):
        return True
    if all(block.valid_BNS is None for blocks in cache.layers for block in blocks):
        return False
    counts = torch.stack([cache.valid(n).sum(dim=-1).amax(dim=1) for n in layers])
    return bool((counts.cpu() <= torch.stack(rooms)).all())


def on_device(rooms: list[Tensor], cache: Cache) -> list[Tensor]:
    """Rooms where the cache is, without waiting for it; layers that have one room still share it."""
    each = list({id(room_B): room_B for room_B in rooms}.values())
    copies = sent(torch.stack(each), cache.next_B.device).unbind()
    of = {id(room_B): there for room_B, there in zip(each, copies, strict=True)}
    return [of[id(room_B)] for room_B in rooms]


def too_small(settings: ScoredConfig, room: int, protected: int, watched: int) -> str:
    """What is said of a budget of `room` entries for so many tokens."""
    budget = next(name for name in settings.budgets if getattr(settings, name) is not None)
    lost = "no visual token" if settings.protect == "text" else "nothing else"
    ways = ["a larger budget"]
    if settings.protect == "sinks":
        ways.append("fewer kv.sinks")
    elif settings.protect == "text":
        ways.append("kv.protect=none")
    if settings.of == "all" and settings.tokens is None and settings.mib is None:
        ways.append("kv.of=visual")
    return (
        f"kv.{budget}={getattr(settings, budget)} is room for {room} entries, but "
        f"kv.protect={settings.protect} keeps {protected} in any case: {lost} would stay.\n"
        f"  allowed: more than {protected} entries, of {watched} tokens\n"
        f"  type one of  {'   '.join(ways)}"
    )


def tell_too_small(settings: ScoredConfig, message: str) -> None:
    """Says it of a question, which is answered all the same; once for a budget, not at every question."""
    if settings not in TOLD:
        TOLD.append(settings)
        log.warning("an answer sees nothing but what is protected: %s", message)
