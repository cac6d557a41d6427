"""What every policy promises: its budget, `full` at a budget for everything, rows and requests alone."""

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from tests.small_model import IMAGE, frames, head, model, video
from vxl.compressor.dts import DTSConfig
from vxl.generate import Context, ask, ask_all, watch
from vxl.kv.policy import Policy
from vxl.llm.cache import Cache
from vxl.model import VideoLanguageModel
from vxl.option.build import build
from vxl.option.files import CONF
from vxl.option.schema import schema_of
from vxl.prefill.chunked import ChunkedConfig
from vxl.prefill.full import FullConfig
from vxl.sequence.layout import Kind, Layout
from vxl.sequence.piece import Piece

POLICIES = sorted(file.stem for file in (CONF / "kv").glob("*.yaml"))
# Small videos have small chunks and windows, and policies with words of their own get tokens.
SMALL: dict[str, dict[str, Any]] = {
    "adaretake": {"question": [5, 6, 7]},
    "bilevel": {"groups_per_chunk": 1},
    "criticalkv": {"window": 2, "kernel": 3},
    "expected": {"future": 16},
    "hermes": {"local_question": [5, 6, 7], "global_question": [8, 9], "between": [10]},
    "kvzip": {"first": [5, 6], "later": [7, 8], "suffix": [9], "stretch": 24},
    "lagkv": {"lag": 4},
    "proxy": {"words": [5, 6]},
    "rekv": {"groups": None},
    "pyramid": {"window": 2, "kernel": 3, "beta": 2.0},
    "snapkv": {"window": 2, "kernel": 3},
    "x2l": {"ratios": [2, 8], "groups": 2, "chunks": 1},
}
VARIANTS = {
    **{name: (name, {}) for name in POLICIES},
    "snapkv by chunks": ("snapkv", {"at": "chunks"}),
    "snapkv with a budget a layer": ("snapkv", {"adaptive": True}),
    "bilevel at its own positions": ("bilevel", {"compact": False}),
    "keydiff closed up": ("keydiff", {"compact": True}),
    "uniform in groups": ("uniform", {"unit": "group"}),
    "random by head": ("random", {"per_head": True}),
    "knorm at the question": ("knorm", {"at": "question"}),
    "infinipot when watching ends": ("infinipot", {"at": "finish"}),
}
GROWS = ("quick", "adaretake")
"""Policies without a budget in entries: what they keep of a piece, they keep."""
QUESTIONS = [[5, 6], [8], list(range(30, 50))]
SHOWN = (video(5), IMAGE, video(3))


def policy(name: str, **settings: Any) -> Any:
    """The settings of a policy as its file has them, but for those of a small video and those given."""
    values = yaml.safe_load((CONF / "kv" / f"{name}.yaml").read_text()) | SMALL.get(name, {}) | settings
    return schema_of(values["_target_"])(**values)


def has_budget(name: str) -> bool:
    if name == "x2l":  # whole windows, beside which summaries stay: tests/kv/test_x2l.py
        return False
    return "tokens" in yaml.safe_load((CONF / "kv" / f"{name}.yaml").read_text())


def entries(name: str, count: int, of: int) -> dict[str, Any]:
    """A budget in entries, or the fraction of all tokens that is as many."""
    return {"keep": count / of} if name in GROWS else {"keep": None, "tokens": count}


def watched(m: VideoLanguageModel, *items: Any, seed: int = 0) -> Context:
    items = items or (video(9),)
    return watch(
        m, head(*items), [frames(1 if i.kind == "image" else i.frames, seed + n) for n, i in enumerate(items)]
    )


def of_256(m: VideoLanguageModel) -> Context:
    """256 tokens: 14 groups of 2 + 16, and 4 of text."""
    context = watch(m, head(video(14), tokens=16), [frames(56)])
    assert context.tokens == 256
    return context


def read(context: Context, question: list[int]) -> Cache:
    """The cache that answers a question, when the question is in it."""
    held: list[Cache] = []
    original = context.model.policy.after_question

    def after_question(cache: Cache, asked: Any) -> None:
        original(cache, asked)
        held.append(cache)

    context.model.policy.after_question = after_question  # ty: ignore[invalid-assignment]
    try:
        ask(context, question, max_new_tokens=1)
    finally:
        del context.model.policy.after_question
    return held[0]


# Chunk by chunk, as a policy that acts around chunks gets them: other passes round differently.
CHUNKED = ChunkedConfig(groups=4, groups_per_chunk=2, previous_chunks=1, chunks_per_pass=1)
PREFILLS = [FullConfig(groups=4), CHUNKED]


@pytest.mark.parametrize("prefill", PREFILLS, ids=["full", "chunked"])
@pytest.mark.parametrize("variant", [v for v, (name, _) in VARIANTS.items() if has_budget(name)])
def test_half_of_256_tokens_are_128(variant: str, prefill: Any) -> None:
    name, settings = VARIANTS[variant]
    budgets = [{"keep": 0.5, "tokens": None}]
    if name not in GROWS and prefill is PREFILLS[0]:  # entries and chunks together: tests/kv/test_matrix.py
        budgets.append({"keep": None, "tokens": 128})
    for budget in budgets:
        m = model(kv=policy(name, **budget, **settings), prefill=prefill, compressor=DTSConfig(ratio=4))
        context = of_256(m)
        cache = read(context, [5, 6, 7, 8])
        # A sliding window slides over the question, too; elsewhere it stays beside the budget.
        most = (128 if budget["keep"] is None else 130) if name == "streaming" else 128 + 4
        # Whole chunks fill the budget, and pooling one saves 12 entries; a whole group is 16.
        spare = {"bilevel": 12, "rekv": 16, "uniform": 16 * ("unit" in settings)}.get(name, 0)
        held = [cache.valid(layer).sum(dim=-1).double().mean().item() for layer in range(len(cache.layers))]
        if name in ("adaretake", "kvzip", "pyramid"):  # layers share
            held = [sum(held) / len(held)]
        for count in held:
            assert most - spare < count + 1e-9 <= most + 1e-6 or count == most, held
        whole = [context.cache.valid(n).sum(dim=-1).double().mean().item() for n in range(len(cache.layers))]
        assert most - 4 - spare <= sum(whole) / len(whole) <= most or not evicts_before_questions(m.policy)
        assert evicts_before_questions(m.policy) or whole == [256] * len(whole)


def evicts_before_questions(policy: Policy) -> bool:
    return not policy.keeps_all_watched


@pytest.mark.parametrize("prefill", PREFILLS, ids=["full", "chunked"])
@pytest.mark.parametrize("variant", [v for v, (name, _) in VARIANTS.items() if has_budget(name)])
def test_a_budget_for_everything_is_full_bit_for_bit(variant: str, prefill: Any) -> None:
    name, settings = VARIANTS[variant]
    values = yaml.safe_load((CONF / "kv" / f"{name}.yaml").read_text())
    budget = {"keep": 1.0, "tokens": None} if "keep" in values else {"tokens": 10**6}
    context = watched(model(kv=policy(name, **budget, **settings), prefill=prefill), *SHOWN)
    for question, (all_of_it, tokens) in zip(QUESTIONS, of_full(prefill), strict=True):
        kept = read(context, question)
        for ours, theirs in zip(kept.layers, all_of_it.layers, strict=True):
            for a, b in zip(ours, theirs, strict=True):
                assert torch.equal(a.keys_BNSH, b.keys_BNSH)
                assert torch.equal(a.values_BNSH, b.values_BNSH)
        assert ask(context, question, max_new_tokens=12).tokens == tokens


@functools.cache  # the same for every policy
def of_full(prefill: Any) -> list[tuple[Cache, list[int]]]:
    """With `kv=full`: the cache that answers each question, and the answer."""
    context = watched(model(prefill=prefill), *SHOWN)
    return [(read(context, q), ask(context, q, max_new_tokens=12).tokens) for q in QUESTIONS]


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_batch_of_questions_is_each_alone(variant: str) -> None:
    name, settings = VARIANTS[variant]
    budget = entries(name, 40, of=58) if has_budget(name) else {}
    m = model(kv=policy(name, **budget, **settings))
    context = watched(m)
    layers, held = list(context.cache.layers), context.cache_bytes
    alone = [ask(context, question, max_new_tokens=15).tokens for question in QUESTIONS]
    batch = ask_all(context, QUESTIONS, max_new_tokens=15)
    assert [answer.tokens for answer in batch] == alone
    assert (context.cache.layers, context.cache_bytes) == (layers, held)  # nobody changed the context


def shown(rows: int, tokens: int, first_group: int) -> Layout:
    """Visual tokens, six a group."""
    text = Layout.text(rows, tokens)
    group_BT = (first_group + torch.arange(tokens) // 6).int().expand(rows, -1)
    kind_BT = torch.full_like(text.kind_BT, Kind.VISUAL)
    return replace(text, kind_BT=kind_BT, group_BT=group_BT, item_BT=torch.zeros_like(group_BT))


@torch.no_grad()
@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("variant", [v for v in VARIANTS if VARIANTS[v][0] not in ("vst", "x2l")])
def test_rows_of_a_prefill_are_rows_alone(variant: str, layers: int) -> None:
    from tests.llm.tiny import decoder, tokens

    name, settings = VARIANTS[variant]
    budget = entries(name, 14, of=24) if has_budget(name) else {}
    llm, made = decoder(layers=layers), build(policy(name, **budget, **settings))
    made.equip(llm)
    prefill = build(FullConfig())
    lengths = [[12, 12, 12], [12, 7, 1]]  # of each piece in each row
    ids = tokens(3, 24)
    together = llm.new_cache(rows=3)
    alone = [llm.new_cache() for _ in range(3)]
    for piece, rows in enumerate(lengths):
        start = 12 * piece
        part = llm.embed(ids[:, start : start + 12])
        valid = torch.arange(12) < torch.tensor(rows)[:, None]
        layout = shown(3, 12, first_group=2 * piece)
        prefill.feed(llm, made, together, Piece(part, layout, None if bool(valid.all()) else valid))
        for row, length in enumerate(rows):
            own = shown(1, length, first_group=2 * piece)
            prefill.feed(llm, made, alone[row], Piece(part[row : row + 1, :length], own))
    for cache in (together, *alone):
        made.after_watch(cache)
    more = llm.embed(tokens(3, 1, seed=1))
    got = llm.extend(more, together)
    for row, single in enumerate(alone):
        torch.testing.assert_close(
            got[row : row + 1], llm.extend(more[row : row + 1], single), rtol=1e-4, atol=1e-4
        )


def test_every_policy_is_here() -> None:
    assert {name for name, _ in VARIANTS.values()} == {file.stem for file in Path(CONF / "kv").glob("*.yaml")}
