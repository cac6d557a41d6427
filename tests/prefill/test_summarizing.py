"""Windows with beacons against the same thing by hand, in batches, in pieces, with other parts, and alone."""

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.prefill import by_hand
from tests.small_model import IMAGE, example, frames, head, model, video
from vxl.data.batch.collate import collate
from vxl.data.batch.encoded import BatchedVisual, Encoded
from vxl.errors import ConfigError
from vxl.generate.asking import ask, ask_all
from vxl.generate.watching import layout_of, watch
from vxl.kv.full import FullConfig as KeepAllConfig
from vxl.kv.segments import Progress
from vxl.kv.vst import VSTConfig
from vxl.llm.decoder import DecoderConfig
from vxl.model import VideoLanguageModel
from vxl.prefill.full import FullConfig
from vxl.prefill.summarizing import Summarizing
from vxl.selector.query import QueryConfig
from vxl.sequence.piece import Piece

SHOWN: dict[str, tuple[BatchedVisual, ...]] = {
    "a video": (video(7),),
    "two videos and an image": (video(5), IMAGE, video(3)),
    "an image": (IMAGE,),
    "text alone": (),
}


def vst(llm: dict[str, Any] | None = None, prefill: int = 2, **settings: Any) -> VideoLanguageModel:
    sizes: dict[str, Any] = {"vocab": 97, "width": 48, "mlp": 64, "layers": 2} | (llm or {})
    kv = VSTConfig(**({"ratio": 3, "groups": 2} | settings))
    return model(kv=kv, llm=DecoderConfig(**sizes), prefill=FullConfig(groups=prefill))


def pixels(shown: tuple[BatchedVisual, ...]) -> list[Tensor]:
    """Frames of each visual as a watcher is given them."""
    return [frames(1 if item.kind == "image" else item.frames, seed) for seed, item in enumerate(shown)]


@torch.no_grad()
def recomputed(
    m: VideoLanguageModel, shown: tuple[BatchedVisual, ...], question: list[int], count: int
) -> list[int]:
    """Greedy tokens where every step runs everything anew, by hand."""
    views = [f.expand(4, -1, -1, -1) if len(f) == 1 else f for f in pixels(shown)]
    visual = m.encode(torch.cat(views)) if views else None
    said: list[int] = []
    for _ in range(count):
        whole = Encoded(**{k: list(v) for k, v in vars(head(*shown)).items() if k != "answer_at"})
        whole.text([*question, *said])
        embeds = m.splice(torch.tensor([whole.tokens]), visual, layout_of(whole))[0]
        kv: Any = m.policy.config
        said.append(int(by_hand.logits(m.llm, embeds, whole, kv.groups, kv.ratio)[-1].argmax()))
    return said


@pytest.mark.parametrize("shown", SHOWN.values(), ids=SHOWN.keys())
@pytest.mark.parametrize("ratio", [1, 3, 16])
def test_greedy_tokens_are_those_of_a_recomputation_by_hand(
    shown: tuple[BatchedVisual, ...], ratio: int
) -> None:
    m = vst(ratio=ratio)
    context = watch(m, head(*shown), pixels(shown))
    expected = recomputed(m, shown, [5, 6], 8)
    assert list(ask(context, [5, 6], max_new_tokens=8).tokens) == expected
    beacons = sum(
        -(-sum(1 for _ in range(first, min(first + 2, item.groups))) * 4 // ratio)
        for item in shown
        for first in range(0, item.groups, 2)
    )
    visual = sum(item.groups for item in shown) * 4
    assert context.cache.entries() == len(head(*shown)) - visual + beacons


@pytest.mark.parametrize("model_type", ["llama", "qwen3"])
@pytest.mark.parametrize("projections", [["q", "k", "v"], ["q", "k", "v", "o", "mlp"], ["v"]])
def test_any_decoder_with_any_projections(model_type: str, projections: list[str]) -> None:
    m = vst({"model_type": model_type}, projections=projections)
    shown = (video(5),)
    answer = ask(watch(m, head(*shown), pixels(shown)), [5, 6], max_new_tokens=5)
    assert list(answer.tokens) == recomputed(m, shown, [5, 6], 5)


@pytest.mark.parametrize("settings", [{}, {"window": 5}, {"density": True, "density_longest": 3}], ids=str)
def test_pieces_of_any_size_change_nothing(settings: dict[str, Any]) -> None:
    shown = (video(9), IMAGE)
    found = []
    for prefill in (1, 3, 16):
        context = watch(vst(prefill=prefill, **settings), head(*shown), pixels(shown))
        found.append((ask(context, [5, 6], max_new_tokens=12).tokens, context.cache.entries()))
    assert found[0] == found[1] == found[2]


def test_what_is_read_at_once_is_a_window() -> None:
    m, sizes = vst(prefill=16), []
    extend = m.llm.extend

    def noted(embeds_BTD: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        sizes.append(embeds_BTD.shape[1])
        return extend(embeds_BTD, *args, **kwargs)

    m.llm.extend = noted  # ty: ignore[invalid-assignment]
    watch(m, head(video(9)), [frames(36)])
    assert max(sizes) == 2 * (2 + 4) + 3  # two groups of time text and visual tokens, and 8 / 3 beacons


def test_ratio_0_is_plain_attention() -> None:
    shown = (video(5), IMAGE)
    examples = [[example(*shown)], [example(video(2), seed=1)], [example()]]
    plain, none = model(kv=KeepAllConfig()), vst(ratio=0)
    none.load_state_dict(none.state_dict() | plain.state_dict())
    batch = collate(examples, pad=0)
    torch.testing.assert_close(none(batch).loss_sum, plain(batch).loss_sum, rtol=1e-5, atol=1e-5)
    answers = [
        ask(watch(m, head(*shown), pixels(shown)), [5], max_new_tokens=9).tokens for m in (none, plain)
    ]
    assert answers[0] == answers[1]


@torch.no_grad()
def test_training_reads_what_answering_reads() -> None:
    m = vst()
    one = example(video(5), IMAGE)
    batch = collate([[one]], pad=0)
    embeds = m.splice(batch.tokens_BT, m.encode(batch.frames_FCHW), batch.layout)[0]
    expected = by_hand.logits(m.llm, embeds, one.encoded, 2, 3)[:-1][batch.labels_BT[0, 1:] != -100]
    torch.testing.assert_close(m.llm.logits(m(batch).hidden_SD), expected, rtol=1e-4, atol=1e-4)


def test_rows_of_a_batch_are_rows_alone() -> None:
    m = vst()
    rows = [[example(video(7))], [example()], [example(video(2), IMAGE, seed=1)], [example(IMAGE, seed=2)]]
    losses, gradients = [], []
    for batches in ([collate(rows, pad=0)], [collate([row], pad=0) for row in rows]):
        m.zero_grad()
        loss = sum(m.train()(batch).loss_sum for batch in batches)
        assert isinstance(loss, Tensor)
        loss.backward()
        losses.append(loss.detach())
        gradients.append({name: p.grad.clone() for name, p in m.named_parameters() if p.grad is not None})
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-5, atol=1e-5)
    assert gradients[0].keys() == gradients[1].keys() == dict(m.named_parameters()).keys()
    for name, gradient in gradients[0].items():
        scale = gradient.abs().max().item()
        torch.testing.assert_close(gradient, gradients[1][name], rtol=1e-3, atol=1e-4 * max(scale, 1e-3))


def test_text_alone_keeps_the_beacons_in_the_graph() -> None:
    m = vst().train()
    m(collate([[example()]], pad=0)).loss_sum.backward()
    assert m.llm.beacon is not None
    assert m.llm.beacon.grad is not None
    assert not m.llm.beacon.grad.any()


def test_nothing_leaks_between_requests() -> None:
    m = vst()
    shown = (video(5),)
    first, second = (watch(m, head(*shown), [frames(20, seed)]) for seed in (3, 4))
    fresh = [ask(context, [5, 6], max_new_tokens=9).tokens for context in (first, second)]
    for _ in range(2):
        for context, expected in zip((first, second), fresh, strict=True):
            assert ask(context, [5, 6], max_new_tokens=9).tokens == expected
            ask(context, [8], max_new_tokens=3)
    assert fresh[0] != fresh[1]
    again = watch(m, head(*shown), [frames(20, 3)])
    assert ask(again, [5, 6], max_new_tokens=9).tokens == fresh[0]


@pytest.mark.parametrize("settings", [{}, {"window": 6}, {"density": True}, {"ratios": [2, 4]}], ids=str)
def test_a_selector_chooses_what_is_summarized(settings: dict[str, Any]) -> None:
    kv = VSTConfig(**({"ratio": 3, "groups": 2} | settings))
    m = model(kv=kv, selector=QueryConfig(keep=0.6, score="token"))
    context = watch(m, head(video(6), IMAGE), [frames(24), frames(1, 2)])
    questions = [[5, 6], [8], list(range(30, 50))]
    alone = [ask(context, question, max_new_tokens=8).tokens for question in questions]
    assert [answer.tokens for answer in ask_all(context, questions, max_new_tokens=8)] == alone
    examples = [[example(video(5))], [example(video(3), IMAGE, seed=1)], [example()]]
    together = m(collate(examples, pad=0)).loss_sum
    single = sum(m(collate([row], pad=0, first_row=b)).loss_sum for b, row in enumerate(examples))
    torch.testing.assert_close(together, single, rtol=1e-4, atol=1e-4)


def test_gradients_stop_where_they_are_told_to() -> None:
    found = {}
    for truncate in (None, 1, 2, 9):
        m = vst(truncate=truncate)
        batch = collate([[example(video(8))]], pad=0)
        embeds = (
            m.splice(batch.tokens_BT, m.encode(batch.frames_FCHW), batch.layout).detach().requires_grad_()
        )
        hidden, *_ = m.prefill.forward(m.llm, m.policy, embeds, batch.positions_BT, batch.layout)
        hidden[0, -1].sum().backward()
        assert embeds.grad is not None
        group_T = batch.layout.group_BT[0]
        found[truncate] = [bool(embeds.grad[0, (group_T // 2) == window].any()) for window in range(4)]
    assert found == {
        None: [True] * 4,
        1: [False, False, False, True],
        2: [False, False, True, True],
        9: [True] * 4,
    }


def test_recomputing_activations_changes_no_gradient() -> None:
    found = []
    for checkpointing in (False, True):
        m = vst({"checkpointing": checkpointing}, projections=["q", "k", "v", "o", "mlp"]).train()
        m(collate([[example(video(7))], [example(video(3), seed=1)]], pad=0)).loss_sum.backward()
        found.append({name: p.grad for name, p in m.named_parameters()})
    torch.testing.assert_close(found[0], found[1])


@pytest.mark.slow
def test_compiled_blocks_have_their_beacons() -> None:
    m = vst()
    batch = collate([[example(video(5))]], pad=0)
    expected = m(batch).loss_sum
    for block in m.llm.causal_lm.model.layers:
        block.compile(backend="eager")
    torch.testing.assert_close(m(batch).loss_sum, expected, rtol=1e-5, atol=1e-5)


def test_drawn_ratios_depend_on_the_seed_and_the_row_alone() -> None:
    m = vst(ratios=[1, 2, 4, 8])
    rows = [[example(video(7), seed=seed)] for seed in range(4)]
    whole = m(collate(rows, pad=0, first_row=8)).hidden_SD
    parts = [m(collate(rows[b : b + 2], pad=0, first_row=8 + b)).hidden_SD for b in (0, 2)]
    torch.testing.assert_close(whole, torch.cat(parts), rtol=1e-4, atol=1e-4)
    other = m(collate(rows, pad=0, first_row=100)).hidden_SD
    assert not torch.allclose(whole, other, atol=1e-3)

    def entries(seed: int) -> int:
        return watch(m, head(video(7)), [frames(28)], seed=seed).cache.entries()

    assert entries(1) == entries(1)
    assert len({entries(seed) for seed in range(8)}) > 2


def test_a_stage_draws_in_training_alone() -> None:
    m = vst(ratio=4)
    batch = collate([[example(video(7))]], pad=0)
    assert m(batch).numbers["vst_ratio"] == 4.0
    assert m(batch, ratios=(2,)).numbers["vst_ratio"] == 2.0
    assert m(batch).numbers["vst_ratio"] == 4.0


def test_packed_samples_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"can't train on packed samples"):
        vst()(collate([[example(video(2)), example(video(1))]], pad=0))


def test_a_row_that_gets_nothing_stays_where_it_is() -> None:
    m = vst()
    assert isinstance(m.prefill, Summarizing)
    cache = m.llm.new_cache(rows=2)
    layout = collate([[example(video(3))], [example(video(3), seed=1)]], pad=0).layout
    embeds_BTD = torch.zeros(2, layout.shape[1], m.llm.width)
    is_real_BT = layout.real_BT.clone()
    is_real_BT[1] = False
    before = [Progress(item=0, windows=3, rest=1), Progress(item=1, windows=5, rest=2)]
    piece = Piece(embeds_BTD, layout, is_real_BT)
    plans, taken, after = m.prefill.plan(m.llm, cache, piece, before, [0, 0], (), ended=True)
    assert (plans[1], taken[1], after[1]) == ([], 0, before[1])
    assert after[0] != before[0]
