"""Every policy x budgets of layers x prefill x rows x family x budget, and what each combination promises.

    python -m tests.kv.matrix            # prints the table: one line a combination, with what refused it
    python -m tests.kv.matrix 100        # of 100 combinations, drawn as always

`make test-matrix` runs all of them; the quick suite a diagonal (tests/kv/test_matrix.py). float64 on the CPU.
"""

import itertools
import random
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache as remember
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tests.kv.test_policies import POLICIES, policy
from tests.llm.tiny import FAMILIES, decoder
from vxl.errors import ConfigError
from vxl.generate.json_tree import from_json, to_json
from vxl.kv.policy import SEED, Policy
from vxl.kv.scored.policy import Scored
from vxl.llm.cache import Cache
from vxl.llm.decoder import Decoder
from vxl.option.build import build
from vxl.prefill.base import Prefill
from vxl.prefill.chunked import ChunkedConfig
from vxl.prefill.full import FullConfig
from vxl.relevance.all import All, AllConfig
from vxl.relevance.base import QuestionPiece
from vxl.sequence.layout import Kind, Layout
from vxl.sequence.piece import Piece

LAYERS, TEXT, GROUPS, TIME, VISUAL = 2, 6, 8, 2, 12
LENGTHS = (28, 14, 26)
"""Tokens that each row has of every piece of two groups."""
ASKED = ((5, 6, 7, 8), (9, 10), (11, 12, 13))
BUDGETS: dict[str, dict[str, Any]] = {
    "keep=1": {"keep": 1.0},
    "keep=1/2": {"keep": 0.5},
    "keep=1/4": {"keep": 0.25},
    "tokens=40": {"keep": None, "tokens": 40},
}
PREFILLS: dict[str, Any] = {
    "full": FullConfig(groups=2),
    "chunked": ChunkedConfig(groups=2, groups_per_chunk=2, previous_chunks=1),
}
HELD: dict[str, dict[str, Any]] = {
    "int8": {"bits": 8},
    "int4": {"bits": 4, "residual": 4},
    "offload": {"offload": True},
    "int4+offload": {"bits": 4, "residual": 4, "offload": True},
}
WRAPPERS = ("plain", "layers", *HELD)
NO_BUDGET = {
    "vst": "what stays follows from kv.ratio; tests/kv/test_vst.py",
    "x2l": "its summaries stay whatever the budget; tests/kv/test_x2l.py",
}
WHOLE = {"bilevel": 3, "rekv": VISUAL}
"""Policies of whole groups or chunks, and how many entries a budget may miss."""
TOGETHER = ("adaretake", "kvzip")
"""Policies whose layers share a budget."""
BESIDE_TEXT = ("streaming",)
"""Policies that protect the first tokens in place of text."""


class Case(NamedTuple):
    """One combination."""

    policy: str
    wrapper: str
    prefill: str
    rows: int
    family: str
    budget: str


def cases() -> Iterator[Case]:
    """All combinations."""
    for found in itertools.product(POLICIES, WRAPPERS, PREFILLS, (1, 3), FAMILIES, BUDGETS):
        yield Case(*found)


def diagonal() -> list[Case]:
    """Every policy with every other budget, everything else in turn."""
    found = []
    thin = [(p, b) for n, p in enumerate(POLICIES) for b in list(BUDGETS)[n % 2 :: 2]]
    for i, (name, budget) in enumerate(thin):
        rows, prefill = (1, 3)[(i // 2 + i) % 2], tuple(PREFILLS)[(i + i // 4) % 2]
        wrapper, family = WRAPPERS[(i // 4 + i) % len(WRAPPERS)], FAMILIES[i % 3]
        found.append(Case(name, wrapper, prefill, rows, family, budget))
    return found


@dataclass(frozen=True, eq=False)
class Made:
    """A combination, built."""

    case: Case
    llm: Decoder
    policy: Policy
    prefill: Prefill
    settings: Any


@remember
def language_model(family: str) -> Decoder:
    return decoder(family, layers=LAYERS).double()


def make(case: Case) -> Made:
    """Builds a combination.

    Raises:
        ConfigError: It is undefined.
    """
    if case.policy in NO_BUDGET:
        raise ConfigError(f"kv={case.policy} has no budget: {NO_BUDGET[case.policy]}")
    budget = dict(BUDGETS[case.budget])
    if case.policy == "full":
        if case.budget != "keep=1" or case.wrapper == "layers":
            raise ConfigError("kv=full has no budget: it keeps everything")
        budget = {}
    if case.wrapper == "layers":
        if budget.get("tokens"):
            raise ConfigError("kv.layers and kv.tokens are two budgets")
        if case.policy in ("bilevel", "streaming"):
            raise ConfigError(f"kv={case.policy} has one budget for all layers")
        # The lower layer half of the share, the upper one half as much again.
        keep = budget["keep"]
        shares = [keep, keep] if keep == 1 else [keep * 0.9, keep * 1.1]
        budget = {"keep": None, "layers": dict(enumerate(shares))}
    budget |= HELD.get(case.wrapper, {})
    if case.policy == "streaming":
        budget = {"tokens": None} | budget
    settings = policy(case.policy, **budget)
    llm, made = language_model(case.family), build(settings)
    made.equip(llm)
    return Made(case, llm, made, build(PREFILLS[case.prefill]), settings)


@remember
def sequence(family: str) -> tuple[Tensor, Layout]:
    """Embeddings of what is watched, three rows, and its layout: text, then groups of time text and visual
    tokens. No token of a row occurs twice in its first half, so that norms of the first layer differ."""
    group = [-1] * TEXT + [g for g in range(GROUPS) for _ in range(TIME + VISUAL)]
    own = [*[Kind.TIME] * TIME, *[Kind.VISUAL] * VISUAL]
    kind = [Kind.TEXT] * TEXT + own * GROUPS
    generator = torch.Generator().manual_seed(1)
    embeds = torch.randn(3, len(kind), 48, generator=generator, dtype=torch.float64)
    text = Layout.text(3, len(kind))
    group_BT = torch.tensor([group] * 3).int()
    kind_BT = torch.tensor([kind] * 3, dtype=torch.uint8)
    item_BT = torch.where(group_BT < 0, -1, 0).int()
    return embeds, replace(text, kind_BT=kind_BT, group_BT=group_BT, item_BT=item_BT)


def pieces(case: Case, row: int | None = None) -> Iterator[Piece]:
    """What is fed: three rows of unequal lengths, or one row alone."""
    embeds, layout = sequence(case.family)
    cuts = [0, TEXT, *range(TEXT + 28, TEXT + 28 * GROUPS // 2 + 1, 28)]
    for start, stop in itertools.pairwise(cuts):
        lengths = LENGTHS if start else (TEXT,) * 3
        part = Piece(embeds[:, start:stop], layout.slice(start, stop))
        if row is None and case.rows == 3:
            valid_BT = torch.arange(stop - start) < torch.tensor(lengths)[:, None]
            yield replace(part, valid_BT=None if bool(valid_BT.all()) else valid_BT)
        else:
            own = part.part(0, lengths[row or 0])
            yield Piece(own.embeds_BTD[(row or 0) :][:1], one_row(own.layout, row or 0))


def one_row(layout: Layout, row: int) -> Layout:
    return Layout(*(getattr(layout, name)[row : row + 1] for name in vars(layout)))


def question(made: Made, rows: list[int], longer: int = 0) -> QuestionPiece:
    """What each row is asked; `longer` makes it another question."""
    tokens = [(*ASKED[row], *range(20, 20 + longer)) for row in rows]
    width = max(map(len, tokens))
    ids = torch.tensor([[*own, *[own[-1]] * (width - len(own))] for own in tokens])
    valid_BT = torch.arange(width) < torch.tensor([len(own) for own in tokens])[:, None]
    layout = Layout.text(len(rows), width)
    valid = None if bool(valid_BT.all()) else valid_BT
    relevance = All(AllConfig())
    embeds = made.llm.embed(ids)
    return QuestionPiece(embeds, layout, valid, llm=made.llm, relevance=relevance, tokens=tuple(tokens))


def watched(made: Made, row: int | None = None, check: bool = False) -> Cache:
    """A context: everything fed, and what the policy does when watching ends."""
    rows = 1 if row is not None else made.case.rows
    cache = made.llm.new_cache(rows=rows)
    cache.state[SEED] = 11
    for piece in pieces(made.case, row):
        before = [int(cache.valid(layer).sum(dim=-1).max()) for layer in range(LAYERS)]
        made.prefill.feed(made.llm, made.policy, cache, piece)
        if check and made.policy.acts_in_prefill:
            check_budget(made, cache, 0)
        check_entries(cache)
        assert all(
            int(cache.valid(n).sum(dim=-1).max()) <= before[n] + piece.layout.shape[1] for n in range(LAYERS)
        )
    made.prefill.finish(made.llm, made.policy, cache)
    made.policy.after_watch(cache)
    if check and not made.policy.keeps_all_watched:
        check_budget(made, cache, 0)
    return cache


def asked(made: Made, context: Cache, rows: list[int], longer: int = 0) -> tuple[Tensor, Cache]:
    """Hidden states of a question and of one token behind it, and the cache with both."""
    cache, q = context.fork(), question(made, rows, longer)
    made.policy.before_question(cache, q)
    found = [
        made.llm.extend(
            q.embeds_BTD,
            cache,
            valid_BT=q.valid_BT,
            layout=q.layout,
            observe=made.policy.observe_question,
        )
    ]
    made.policy.after_question(cache, q)
    more = made.llm.embed(torch.tensor([[30]] * len(rows)))
    found.append(made.llm.extend(more, cache, observe=made.policy.observe_answer))
    made.policy.after_decode(cache)
    last = torch.tensor([len(own) for own in q.tokens]) - 1
    return torch.cat([found[0][torch.arange(len(rows)), last][:, None], found[1]], dim=1), cache


def check_entries(cache: Cache) -> None:
    """Every head holds its entries in order, and none twice."""
    for layer in range(LAYERS):
        valid_BNS, index_BNS = cache.valid(layer), cache.index(layer)
        for b, n in itertools.product(range(cache.rows), range(valid_BNS.shape[1])):
            own = index_BNS[b, min(n, index_BNS.shape[1] - 1)][valid_BNS[b, n]]
            assert bool((own.diff() > 0).all())


def check_budget(made: Made, cache: Cache, question_tokens: int) -> None:
    """Every head of every layer and row holds what its budget says, and all text."""
    name, keep = made.case.policy, getattr(made.settings, "keep", None)
    tokens, layers = made.settings.tokens, getattr(made.settings, "layers", None)
    kinds = torch.cat([layout.kind_BT.expand(cache.rows, -1) for layout in cache.layouts], dim=1)
    real = torch.zeros(cache.rows, cache.fed, dtype=torch.bool)
    done = 0
    for piece in pieces(made.case, None if cache.rows == made.case.rows else 0):
        if done + piece.layout.shape[1] > cache.fed:
            break
        valid = piece.valid_BT
        stop = done + piece.layout.shape[1]
        real[:, done:stop] = True if valid is None else valid
        done = stop
    if done < cache.fed:  # a piece that the prefill has cut in two
        parts = list(pieces(made.case, None if cache.rows == made.case.rows else 0))
        valid = [
            p.valid_BT if p.valid_BT is not None else torch.ones(cache.rows, p.layout.shape[1]) for p in parts
        ]
        real[:, done:] = torch.cat(valid, dim=1)[:, done : cache.fed].bool()
    protected_BF = real & (kinds != Kind.VISUAL)
    if name in BESIDE_TEXT:
        protected_BF = real & (real.cumsum(dim=1) <= made.settings.sinks)
    watched_B, protected_B = real.sum(dim=1), protected_BF.sum(dim=1)
    shares = []
    for layer in range(LAYERS):
        share = layers[layer] if layers else keep
        room_B = torch.full_like(watched_B, tokens or 0)
        if share is not None:
            room_B = (watched_B * share + 0.5).floor().long()
        if name == "pyramid" and isinstance(made.policy, Scored):
            from vxl.kv.scored.columns import columns_of

            room_B = made.policy.rooms(cache, columns_of(cache), cache.fed)[layer]
        shares.append(torch.minimum(watched_B, torch.maximum(room_B, protected_B)))
    held = [cache.valid(layer).sum(dim=-1) for layer in range(LAYERS)]
    if name in TOGETHER:
        sums = torch.stack([own.double().mean(dim=1) for own in held]).sum(dim=0)
        torch.testing.assert_close(sums, torch.stack(shares).double().sum(dim=0))
    else:
        for own, share in zip(held, shares, strict=True):
            assert bool((own == share[:, None]).all()), (made.case, own.tolist(), share.tolist())
    for layer in range(LAYERS):
        valid_BNS, index_BNS = cache.valid(layer), cache.index(layer)
        for b, n in itertools.product(range(cache.rows), range(valid_BNS.shape[1])):
            own = index_BNS[b, min(n, index_BNS.shape[1] - 1)][valid_BNS[b, n]]
            assert set(protected_BF[b].nonzero()[:, 0].tolist()) <= set(own.tolist())


def same(one: Cache, two: Cache) -> bool:
    """Whether two caches hold the same numbers at the same places."""
    parts = zip(one.layers, two.layers, strict=True)
    pairs = [(a, b) for blocks in parts for a, b in zip(*blocks, strict=True)]
    return all(torch.equal(x, y) for a, b in pairs for x, y in zip(a.tensors(), b.tensors(), strict=True))


@torch.no_grad()
def run(case: Case) -> str:
    """Checks a combination: `held`, or why it is refused."""
    try:
        made = make(case)
    except ConfigError as error:
        return str(error).split("\n")[0]
    rows = list(range(case.rows))
    context = watched(made, check=True)
    one, first = asked(made, context, rows)
    two, _ = asked(made, context, rows, longer=3)
    again, _ = asked(made, context, rows)
    assert torch.equal(one, again)  # asking twice
    fresh = watched(made)
    assert same(context, fresh)  # the same bits twice, and questions have left the context alone
    assert torch.equal(two, asked(made, fresh, rows, longer=3)[0])
    if case.budget == "keep=1":
        full = replace(made, policy=build(policy("full")))
        theirs = watched(full) if made.policy.acts_in_prefill is False else watched_alike(full, made)
        ours, (expected, _) = one, asked(full, theirs, rows)
        if getattr(made.settings, "bits", None) is None:
            assert torch.equal(ours, expected)
        else:  # half a scale, some 1/250 or 1/30 of a range
            bound = 0.05 if made.settings.bits == 8 else 0.5
            torch.testing.assert_close(ours, expected, rtol=bound, atol=bound)
    else:
        check_asked(made, context, first)
    for row in rows if case.rows > 1 else ():
        alone = watched(made, row)
        expected, _ = asked(made, alone, [row])
        torch.testing.assert_close(one[row : row + 1], expected, rtol=1e-10, atol=1e-10)
    tensors: dict[str, Tensor] = {}
    written = to_json(context.state, tensors)
    copy = context.fork()
    copy.state = from_json(written, {name: tensor.clone() for name, tensor in tensors.items()})
    assert torch.equal(asked(made, copy, rows)[0], one)
    return "held"


def watched_alike(full: Made, made: Made) -> Cache:
    """What `kv=full` watches in the passes that a policy's prefill makes."""
    cache = full.llm.new_cache(rows=full.case.rows)
    cache.state[SEED] = 11
    acts = type("Acts", (type(full.policy),), {"acts_in_prefill": made.policy.acts_in_prefill})
    for piece in pieces(full.case):
        full.prefill.feed(full.llm, acts(full.policy.config), cache, piece)
    return cache


def check_asked(made: Made, context: Cache, cache: Cache) -> None:
    """What a policy that acts at the question leaves for the answer."""
    name = made.case.policy
    if not made.policy.keeps_all_watched or name in WHOLE or name == "pyramid":
        return
    own_B = torch.tensor([len(tokens) for tokens in ASKED[: made.case.rows]]) + 1
    watched_B = context.valid()[:, 0].sum(dim=-1)
    kinds = torch.cat([x.kind_BT.expand(context.rows, -1) for x in context.layouts], dim=1)
    index_BS, valid_BS = context.index()[:, 0], context.valid()[:, 0]
    text_B = (valid_BS & (kinds.gather(1, index_BS) != Kind.VISUAL)).sum(dim=1)
    for layer in range(LAYERS):
        share = made.settings.layers[layer] if made.settings.layers else made.settings.keep
        room_B = torch.full_like(watched_B, made.settings.tokens or 0)
        if share is not None:
            room_B = (watched_B * share + 0.5).floor().long()
        expected_B = torch.minimum(watched_B, torch.maximum(room_B, text_B)) + own_B
        held_BN = cache.valid(layer).sum(dim=-1)
        assert bool((held_BN == expected_B[:, None]).all()), (made.case, held_BN, expected_B)


def table(most: int | None = None) -> Iterator[str]:
    """One line a combination, of all or of `most` drawn ones, and what they add up to."""
    every = list(cases())
    if most is not None:
        random.Random(0).shuffle(every)
    counts: Counter[str] = Counter()
    for case in every[:most]:
        try:
            said = run(case)
        except AssertionError as error:
            said = f"BROKEN {error}".replace("\n", " ")
        counts["held" if said == "held" else "broken" if said.startswith("BROKEN") else "refused"] += 1
        yield f"{' '.join(map(str, case)):60} {said}"
    counted = ", ".join(f"{count} {what}" for what, count in counts.items())
    yield f"{sum(counts.values())} of {len(every)}: {counted}"


if __name__ == "__main__":
    for line in table(int(sys.argv[1]) if sys.argv[1:] else None):
        print(line, flush=True)
