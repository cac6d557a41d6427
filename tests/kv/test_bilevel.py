from typing import Any

import pytest
import torch
from torch import Tensor

from tests.small_model import IMAGE, frames, head, model, video
from vxl.errors import ConfigError
from vxl.generate import Context, ask, ask_all, watch
from vxl.kv.bilevel import Bilevel, BilevelConfig
from vxl.kv.budget import budget
from vxl.llm.cache import Cache
from vxl.llm.chunks import SHOWN, Chunks, chunks_of, saves, two_levels
from vxl.model import VideoLanguageModel
from vxl.prefill.chunked import ChunkedConfig
from vxl.relevance.all import AllConfig
from vxl.relevance.base import Relevance, RelevanceConfig
from vxl.relevance.uniform import UniformConfig

QUESTIONS = [[5, 6], [8], list(range(30, 50))]


@pytest.fixture(autouse=True)
def no_gradient():
    with torch.no_grad():
        yield


class Given(Relevance):
    """Scores that a test states, a row each."""

    def __init__(self, scores: list[list[float]]) -> None:
        super().__init__(RelevanceConfig(_target_=""))
        self.scores = torch.tensor(scores)

    def score(self, question: Any, chunks: Chunks, cache: Cache) -> Tensor:
        assert self.scores.shape[1] == chunks.count
        return self.scores.expand(cache.rows, -1)


def watched(m: VideoLanguageModel, *items: Any, seed: int = 0) -> Context:
    items = items or (video(9),)
    given = [frames(1 if item.kind == "image" else item.frames, seed + n) for n, item in enumerate(items)]
    return watch(m, head(*items), given)


def by_hand(cache: Cache, dense: set[int], groups: int, pool: int) -> list[list[tuple[Tensor, Tensor, int]]]:
    """Key, value and first member of every entry of each layer, written out group by group (one row)."""
    layout_kind = torch.cat([part.kind_BT[0] for part in cache.layouts]).tolist()
    layout_group = torch.cat([part.group_BT[0] for part in cache.layouts]).tolist()
    layout_item = torch.cat([part.item_BT[0] for part in cache.layouts]).tolist()
    first = {item: layout_group[layout_item.index(item)] for item in set(layout_item)}
    chunk: list[Any] = [
        (i, (g - first[i]) // groups) if i >= 0 else None
        for i, g in zip(layout_item, layout_group, strict=True)
    ]
    number = {c: n for n, c in enumerate(dict.fromkeys(c for c in chunk if c))}
    found = []
    for blocks in cache.layers:
        keys = torch.cat([block.keys_BNSH for block in blocks], 2)[0]
        values = torch.cat([block.values_BNSH for block in blocks], 2)[0]
        entries, run = [], []
        for column, kind in enumerate(layout_kind):
            if kind != 2 or number[chunk[column]] in dense:
                entries.append((keys[:, column], values[:, column], column))
                continue
            run = [*run, column] if run and layout_group[run[0]] == layout_group[column] else [column]
            if len(run) == pool:
                entries.append((keys[:, run].mean(1), values[:, run].mean(1), run[0]))
                run = []
        found.append(entries)
    return found


@pytest.mark.parametrize("pool", [1, 2, 3, 4])
@pytest.mark.parametrize("dense", [set(), {0, 2}, {1, 4}])
def test_two_levels_are_those_made_by_hand(pool: int, dense: set[int]) -> None:
    cache = watched(model(), video(5), IMAGE, video(3)).cache
    expected = by_hand(cache, dense, 2, pool)
    chunks = chunks_of(cache, 2)
    assert chunks.count == 3 + 1 + 2
    assert chunks.ends_C.tolist() == [True, False, True, True, True, True]
    dense_BC = torch.tensor([[number in dense for number in range(6)]])
    fork = cache.fork()
    two_levels(fork, chunks, dense_BC, pool, compact=True)
    assert fork.entries() == len(expected[0])
    assert cache.entries() - fork.entries() == int((saves(chunks, pool) * ~dense_BC).sum())
    for layer, entries in enumerate(expected):
        (block,) = fork.layers[layer]
        torch.testing.assert_close(block.keys_BNSH[0], torch.stack([key for key, _, _ in entries], 1))
        torch.testing.assert_close(block.values_BNSH[0], torch.stack([value for _, value, _ in entries], 1))
        assert block.index_BNS.flatten().tolist() == [column for *_, column in entries]
        turned = cache.rotary.turn(block.keys_BNSH, torch.arange(len(entries))[None, None])
        torch.testing.assert_close(block.rotated_BNSH, turned)
    assert fork.next_B.tolist() == [fork.entries()]
    own = cache.fork()
    two_levels(own, chunks, dense_BC, pool, compact=False)
    columns = torch.tensor([column for *_, column in expected[0]])
    shift = own.positions()[0, 0] - columns
    assert set(shift.tolist()) <= {0, (pool - 1) // 2}
    assert own.next_B.equal(cache.next_B)
    torch.testing.assert_close(own.layers[0][0].keys_BNSH, fork.layers[0][0].keys_BNSH)


@pytest.mark.parametrize(
    "changes",
    [
        {"kv": BilevelConfig(keep=1.0, groups_per_chunk=2)},
        {"kv": BilevelConfig(keep=None, tokens=10**6, groups_per_chunk=2)},
        {"kv": BilevelConfig(keep=0.3, groups_per_chunk=2), "relevance": AllConfig()},
    ],
)
def test_a_budget_for_everything_changes_no_bit(changes: dict[str, Any]) -> None:
    chunked = ChunkedConfig(groups=2, groups_per_chunk=2, previous_chunks=1)
    full, bilevel = model(prefill=chunked), model(prefill=chunked, **changes)
    one, two = watched(full), watched(bilevel)
    for question in QUESTIONS:
        expected, got = ask(one, question, max_new_tokens=15), ask(two, question, max_new_tokens=15)
        assert (got.tokens, got.cache_bytes) == (expected.tokens, expected.cache_bytes)


@pytest.mark.parametrize("keep", [0.6, 0.7, 0.85])
def test_whole_chunks_fill_the_budget(keep: float) -> None:
    m = model(kv=BilevelConfig(keep=keep, groups_per_chunk=1), relevance=UniformConfig())
    context = watched(m, video(16))
    entries = context.cache.entries()
    asked = ask_cache(m, context)
    assert keep * entries - 3 < asked.entries() <= keep * entries + 0.5  # a chunk of 4 saves 3
    assert context.cache.entries() == entries


def ask_cache(m: VideoLanguageModel, context: Context) -> Cache:
    """The cache that a question finds."""
    from vxl.relevance.base import QuestionPiece
    from vxl.sequence.layout import Layout

    embeds = m.llm.embed(torch.tensor([[5, 6]]))
    question = QuestionPiece(embeds, Layout.text(1, 2), llm=m.llm, relevance=m.relevance, tokens=((5, 6),))
    cache = context.cache.fork()
    m.policy.before_question(cache, question)
    return cache


def test_scores_choose_and_infinities_decide() -> None:
    context = watched(model(), video(12))
    chunks = chunks_of(context.cache, 2)
    held = torch.tensor([context.cache.entries()])
    low, high = float("-inf"), float("inf")

    def chosen(config: BilevelConfig, *scores: float) -> list[int]:
        dense_BC = Bilevel(config).choose(chunks, torch.tensor([scores]).float(), held, budget(config, held))
        return dense_BC[0].nonzero()[:, 0].tolist()

    two = BilevelConfig(keep=None, chunks=2, groups_per_chunk=2)
    assert chosen(two, 0, 3, 1, 2, 0, 9) == [0, 1, 3, 5]
    assert chosen(two, 0, low, 1, low, low, 0) == [0, 2, 5]
    assert chosen(two, 0, high, high, high, 1, 0) == [0, 1, 2, 3, 4, 5]
    none = BilevelConfig(keep=0.1, groups_per_chunk=2)
    assert chosen(none, 9, 3, 1, 2, 0, 9) == [0, 5]
    assert chosen(none, 9, high, 1, 2, 0, 9) == [0, 1, 5]
    fits = BilevelConfig(
        keep=None, tokens=int(held) - 6, groups_per_chunk=2
    )  # one chunk of two groups pooled
    assert chosen(fits, 0, 3, 1, 2, 0.5, 0) == [0, 1, 2, 3, 5]


def test_a_batch_of_questions_is_each_alone() -> None:
    kv = BilevelConfig(keep=None, chunks=1, groups_per_chunk=2)
    scores = [[0.0, 9, 1, 0, 0], [0.0, 0, 0, 9, 0], [0.0, 0, float("-inf"), float("-inf"), 0]]
    m = model(kv=kv)
    context = watched(m)
    alone = []
    for question, row in zip(QUESTIONS, scores, strict=True):
        m.relevance = Given([row])
        alone.append(ask(context, question, max_new_tokens=15))
    m.relevance = Given(scores)
    batch = ask_all(context, QUESTIONS, max_new_tokens=15)
    assert [answer.tokens for answer in batch] == [answer.tokens for answer in alone]
    full = watched(model())
    assert any(
        a.tokens != ask(full, q, max_new_tokens=15).tokens for a, q in zip(alone, QUESTIONS, strict=True)
    )


def test_both_levels_stay_for_the_next_question() -> None:
    m = model(kv=BilevelConfig(keep=None, chunks=1, groups_per_chunk=2))
    context = watched(m)
    layers, held = list(context.cache.layers), context.cache_bytes
    first, second = [0.0, 9, 1, 0, 0], [0.0, 0, 0, 9, 0]
    answers = {}
    for turn in range(2):
        for name, scores in (("first", first), ("second", second)):
            m.relevance = Given([scores])
            tokens = ask(context, [5, 6], max_new_tokens=15).tokens
            assert answers.setdefault(name, tokens) == tokens, turn
    assert answers["first"] != answers["second"]
    assert (context.cache.layers, context.cache_bytes) == (layers, held)


def test_a_question_holds_less_memory() -> None:
    m = model(kv=BilevelConfig(keep=0.6, groups_per_chunk=2))
    context = watched(m, video(24))
    assert ask_cache(m, context).bytes() < 0.61 * context.cache.bytes()


def test_text_alone_has_nothing_to_pool() -> None:
    m = model(kv=BilevelConfig(keep=0.5))
    expected = ask(watch(model(), head()), [5, 6], max_new_tokens=9).tokens
    assert ask(watch(m, head()), [5, 6], max_new_tokens=9).tokens == expected


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"keep": None}, "no budget: a policy has one budget.\n  type one of  kv.keep=VALUE kv.tokens=null"),
        ({"tokens": 9}, "keep=0.5 tokens=9: a policy has one budget."),
        ({"keep": 1.5}, "keep=1.5 is no fraction."),
        ({"keep": None, "tokens": 0}, "tokens=0 keeps nothing."),
        ({"keep": None, "chunks": -1}, "chunks=-1 is no number of chunks."),
        ({"pool": 0}, "groups_per_chunk=4 pool=0 is no chunk."),
    ],
)
def test_mistakes_say_what_is_allowed(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        BilevelConfig(**settings)
    assert str(caught.value).startswith(message)


def test_a_chunk_that_a_row_does_not_have_takes_no_place() -> None:
    """A score of minus infinity: it is never whole, whatever the room."""
    policy = Bilevel(BilevelConfig(keep=None, chunks=9))
    ends_C = torch.tensor([True, False, False, True])
    none = torch.empty(1, 0, dtype=torch.int64)
    chunks = Chunks(none, none.bool(), none, none.bool(), torch.arange(4), ends_C, 1)
    scores_BC = torch.tensor([[0.0, float("-inf"), 1.0, 0.0]])
    many_B = torch.tensor([100])
    assert policy.choose(chunks, scores_BC, many_B, many_B).tolist() == [[True, False, True, True]]


def test_chunks_are_the_videos_where_a_selector_dropped_a_whole_group() -> None:
    """Of a second video's first group nothing was fed; it is in that video's first chunk all the same."""
    cache = watched(model(), video(8)).cache
    of_all = chunks_of(cache, 1)
    groups = len(of_all.of_group_G)
    assert groups > 2
    cache.state[SHOWN] = torch.tensor([0] * (groups - 1) + [1] * 3)
    found = chunks_of(cache, 2)
    assert len(found.of_group_G) == groups + 2
    halves = -(-(groups - 1) // 2)
    assert found.of_group_G.tolist()[groups - 1 :] == [halves, halves, halves + 1]
