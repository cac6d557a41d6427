"""The query-aware selector: scores, budgets, documents of all kinds."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.small_model import IMAGE, example, frames, head, model, video
from vxl.data.batch.collate import collate
from vxl.data.batch.encoded import Encoded
from vxl.errors import ConfigError
from vxl.generate import ask, ask_all, watch
from vxl.selector.attention import TimeToToken
from vxl.selector.query import Query, QueryConfig
from vxl.selector.rows import draw_of_sample, query_of, shorten
from vxl.sequence.layout import Kind, Layout
from vxl.sequence.rows import Rows

WIDTH = 8
TIME, VISUAL = int(Kind.TIME), int(Kind.VISUAL)


def query(**settings: Any) -> Query:
    torch.manual_seed(0)
    return Query(QueryConfig(**settings), llm_width=WIDTH).double()


def ragged() -> tuple[Tensor, Tensor, Tensor]:
    """Four groups: 3 time tokens and 2 visual, 1 and 4, none and 3, 2 and 1."""
    counts = [(3, 2), (1, 4), (0, 3), (2, 1)]
    kind = [k for times, visual in counts for k in [TIME] * times + [VISUAL] * visual]
    group = [g for g, (times, visual) in enumerate(counts) for _ in range(times + visual)]
    shown = torch.randn(len(kind), WIDTH, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return shown, torch.tensor(kind, dtype=torch.uint8), torch.tensor(group, dtype=torch.int32) + 5


def by_hand(attention: TimeToToken, shown: Tensor, kind: Tensor, group: Tensor) -> Tensor:
    """Group by group and head by head."""
    found = []
    for g in group.unique():
        visual, times = shown[(group == g) & (kind == VISUAL)], shown[(group == g) & (kind == TIME)]
        if not len(times):
            found.append(visual)
            continue
        q, k = attention.k_proj(visual), attention.q_proj(times)
        size = WIDTH // attention.heads
        heads = [
            ((qh @ kh.T) / size**0.5).softmax(-1) @ kh
            for qh, kh in zip(q.split(size, 1), k.split(size, 1), strict=True)
        ]
        found.append(attention.out_proj(torch.cat(heads, 1)))
    return torch.cat(found)


def test_attention_is_each_group_alone_however_many_time_tokens() -> None:
    attention = query(heads=2).attention
    assert attention is not None
    shown, kind, group = ragged()
    expected = by_hand(attention, shown, kind, group)
    torch.testing.assert_close(attention(shown, kind, group), expected, rtol=0, atol=1e-12)


def test_without_any_time_text_the_tokens_are_compared_themselves() -> None:
    attention = query().attention
    assert attention is not None
    shown, kind, group = ragged()
    visual = kind == VISUAL
    assert torch.equal(attention(shown[visual], kind[visual], group[visual]), shown[visual])


@pytest.mark.parametrize("score", ["time", "token"])
def test_the_best_stay_in_their_order_and_time_text_always(score: str) -> None:
    selector = query(score=score, keep=0.45)
    shown, kind, group = ragged()
    found = selector.select(shown, kind, group, shown[:3])
    assert found.scores_N.min() == 0.0
    assert found.scores_N.max() == 1.0
    best = set(found.scores_N.topk(4).indices.tolist())  # int(10 x 0.45)
    assert {n for n, kept in enumerate(found.kept_S[kind == VISUAL]) if kept} == best
    assert found.kept_S[kind == TIME].all()
    unchanged = (found.shown_SD == shown).all(dim=1)
    assert unchanged[kind == TIME].all() == (score == "token")


def test_equal_tokens_have_a_score() -> None:
    shown, kind, group = ragged()
    found = query(score="token").select(torch.ones_like(shown), kind, group, shown[:2])
    assert torch.equal(found.scores_N, torch.zeros(10, dtype=torch.float64))
    assert found.kept_S[kind == VISUAL].tolist() == [True] * 7 + [False] * 3


@pytest.mark.parametrize(
    ("settings", "visual", "kept"),
    [
        ({"keep": 1.0}, 144, 144),
        ({"keep": 0.75}, 720, 540),
        ({"keep": 0.7, "published_multiple": True}, 720, 496),
        ({"keep": 1.0, "tokens": 100}, 720, 100),
        ({"keep": 1.0, "tokens": 9600, "published_multiple": True}, 360_000, 9600),
        ({"keep": 0.5, "tokens": 100}, 150, 75),
        ({"keep": 0.01}, 16, 1),
        ({"keep": 0.7, "published_multiple": True}, 16, 11),  # too few for a multiple
    ],
)
def test_how_many_stay(settings: dict[str, Any], visual: int, kept: int) -> None:
    assert query(**settings).count(visual) == kept


def test_the_published_random_fraction_follows_seed_and_pass() -> None:
    def counts(seed: int) -> list[int]:
        config = QueryConfig(keep=None, published_random_keep=True)
        selector = Query(config, llm_width=WIDTH, seed=seed)
        return [selector.count(10_000, draw) for draw in range(20)]

    assert counts(0) == counts(0) != counts(1)
    assert len(set(counts(0))) == 20
    assert 7000 <= min(counts(0)) < max(counts(0)) <= 9900


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"keep": 0.0}, "keep=0.0"),
        ({"keep": 1.2}, "no fraction"),
        ({"keep": None}, "keep=null keeps no known fraction"),
        ({"keep": 0.5, "published_random_keep": True}, r"published_random_keep=false selector\.keep=0\.5"),
        ({"tokens": 0}, "tokens=0 keeps nothing"),
        ({"heads": 0}, "heads=0 is too small"),
    ],
)
def test_impossible_settings(settings: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        QueryConfig(**settings)


def test_heads_that_do_not_divide_the_width() -> None:
    with pytest.raises(ConfigError, match=r"selector\.heads=3 does not divide the language model's width, 8"):
        query(heads=3)


@pytest.fixture(scope="module")
def m() -> Any:
    return model(selector=QueryConfig(keep=0.5)).double()


@torch.no_grad()
def test_rows_of_all_kinds_are_each_document_alone(m: Any) -> None:
    examples = [example(video(3)), example(IMAGE, video(1), seed=1), example(answer=(13, 14)), example(IMAGE)]
    together = m(collate([[examples[0], examples[1]], [examples[2]], [examples[3]]], pad=0))
    alone = [m(collate([[ex]], pad=0)) for ex in examples]
    torch.testing.assert_close(together.loss_sum, sum(out.loss_sum for out in alone), rtol=1e-9, atol=1e-9)
    assert torch.equal(together.labels_S, torch.cat([out.labels_S for out in alone]))
    hidden = torch.cat([out.hidden_SD for out in alone])
    torch.testing.assert_close(together.hidden_SD, hidden, rtol=1e-9, atol=1e-9)


@torch.no_grad()
def test_rows_shrink_and_positions_start_anew(m: Any) -> None:
    batch = collate([[example(video(3)), example(IMAGE)], [example()]], pad=0)
    visual = m.encode(batch.frames_FCHW)
    embeds = m.splice(batch.tokens_BT, visual, batch.layout)
    rows = shorten(m.selector, Rows(embeds, batch.labels_BT, batch.positions_BT, batch.layout))
    lengths = [len(example(video(3)).encoded) - 6, len(example(IMAGE).encoded) - 2]
    assert rows.embeds_BTD.shape[:2] == (2, sum(lengths))
    assert rows.positions_BT[0].tolist() == [*range(lengths[0]), *range(lengths[1])]
    assert int(rows.layout.visual_BT.sum()) == 8
    assert rows.layout.real_BT[1].sum() == len(example().encoded)
    assert rows.labels_BT[rows.labels_BT != -100].tolist() == [10, 11, 12] * 3


def test_the_gradient_reaches_the_selector() -> None:
    trained = model(selector=QueryConfig(keep=0.5)).train()
    trained(collate([[example(video(2))]], pad=0)).loss_sum.backward()
    gradients = {name: p.grad for name, p in trained.named_parameters() if name.startswith("selector.")}
    assert {name.removeprefix("selector.") for name in gradients} == {
        f"{layer}.{kind}"
        for layer in ("text", "attention.q_proj", "attention.k_proj", "attention.out_proj")
        for kind in ("weight", "bias")
    }
    # A bias of what is compared moves all scores alike, and they are stretched to 0..1.
    assert all(g is not None and g.abs().sum() > 0 for n, g in gradients.items() if "out_proj.bias" not in n)


def test_text_alone_keeps_every_parameter_in_the_graph() -> None:
    trained = model(selector=QueryConfig()).train()
    trained(collate([[example()]], pad=0)).loss_sum.backward()
    assert all(p.grad is not None and not p.grad.any() for p in trained.selector.parameters())


def test_the_state_has_the_published_layers() -> None:
    layers = {name.rpartition(".")[0] for name in query().state_dict()}
    assert layers == {"text", *(f"attention.{n}_proj" for n in ("q", "k", "v", "out"))}
    assert not query(score="token").state_dict().keys() - {"text.weight", "text.bias"}


@torch.no_grad()
def recomputed(m: Any, encoded: Encoded, frames_FCHW: Tensor, question: list[int], count: int) -> list[int]:
    """Greedy tokens where every step runs the whole sequence anew."""
    from vxl.data.batch.collate import Example

    said: list[int] = []
    for _ in range(count):
        whole = Encoded(**{n: list(v) for n, v in vars(encoded).items() if n != "answer_at"})
        whole.text(question, question=True)
        whole.text(said)
        batch = collate([[Example(whole, frames_FCHW)]], pad=0)
        visual = m.encode(frames_FCHW)
        embeds = m.splice(batch.tokens_BT, visual, batch.layout)
        rows = shorten(m.selector, Rows(embeds, batch.labels_BT, batch.positions_BT, batch.layout))
        hidden, *_ = m.prefill.forward(m.llm, m.policy, rows.embeds_BTD, rows.positions_BT, rows.layout)
        said.append(int(m.llm.logits(hidden[0, -1]).argmax()))
    return said


def test_each_question_reads_what_it_keeps(m: Any) -> None:
    clip = frames(20)
    context = watch(m, head(video(5)), [clip.split(3)])
    questions = [[5, 6, 8], [40], list(range(30, 45))]
    expected = [recomputed(m, head(video(5)), clip, question, 12) for question in questions]
    assert [list(a.tokens) for a in ask_all(context, questions, max_new_tokens=12)] == expected
    assert [list(ask(context, q, max_new_tokens=12).tokens) for q in questions] == expected
    assert context.cache_bytes == len(head(video(5))) * 48 * 8  # no keys and values yet
    assert context.prefill_ms == 0.0


def test_a_document_asks_its_own_question_and_no_other() -> None:
    """A packed row of two documents, padded: text, visual, text, with the question at the end."""
    layout = Layout.text(1, 9)
    layout = replace(
        layout,
        kind_BT=torch.tensor([[0, VISUAL, 0, 0, VISUAL, 0, 0, 0, 0]], dtype=torch.uint8),
        document_BT=torch.tensor([[0, 0, 0, 1, 1, 1, 1, -1, -1]], dtype=torch.int32),
        question_BT=torch.tensor([[0, 0, 1, 0, 0, 0, 1, 0, 0]], dtype=torch.bool),
    )
    asked, whole = query(), query(published_query=True)
    found = {
        (name, document): query_of(selector, layout, 0, layout.document_BT[0] == document).nonzero()[:, 0]
        for name, selector in (("asked", asked), ("whole", whole))
        for document in (0, 1)
    }
    assert {key: columns.tolist() for key, columns in found.items()} == {
        ("asked", 0): [2],
        ("asked", 1): [6],
        ("whole", 0): [0, 2],
        ("whole", 1): [3, 5, 6],
    }


@torch.no_grad()
def test_the_published_random_fraction_is_drawn_by_sample_whatever_the_micro_batch() -> None:
    """Five samples, the last two packed into one row, as one batch and row by row."""
    m = model(selector=QueryConfig(keep=None, published_random_keep=True)).double()
    many = [[example(video(12))] for _ in range(3)] + [[example(video(12)), example(video(12))]]
    together = m(collate(many, pad=0, first_row=7))
    alone = [m(collate([row], pad=0, first_row=7 + number)) for number, row in enumerate(many)]
    torch.testing.assert_close(together.loss_sum, sum(out.loss_sum for out in alone), rtol=1e-9, atol=1e-9)
    kept = [out.numbers["ratio"] for out in alone]
    assert len(set(kept)) > 1  # samples draw for themselves
    draws = [draw_of_sample(row, document) for row in (7, 8) for document in (0, 1, 2)]
    assert len(set(draws)) == 6
    assert draws[0] == 7


def test_a_part_of_a_token_does_not_stay() -> None:
    assert [query(keep=0.7).count(visual) for visual in (5, 8, 11)] == [3, 5, 7]
