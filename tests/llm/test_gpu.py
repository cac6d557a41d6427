"""What runs on a GPU alone, against the same numbers without it: in half precision within its rounding."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.llm.tiny import decoder
from tests.small_model import frames, head, model, video
from vxl.generate import ask_all, watch
from vxl.generate.asking import feed_questions
from vxl.generate.decoding import decoding
from vxl.generate.watching import layout_of
from vxl.kv.full import Full, FullConfig
from vxl.kv.infinipot import InfiniPotConfig
from vxl.kv.keydiff import KeyDiffConfig
from vxl.kv.knorm import KnormConfig
from vxl.kv.policy import Policy
from vxl.kv.random import RandomConfig
from vxl.kv.recent import RecentConfig
from vxl.kv.streaming import StreamingConfig
from vxl.kv.tova import TOVAConfig
from vxl.kv.vst import VST, VSTConfig
from vxl.llm import decoder as decoders
from vxl.llm import fused, replay
from vxl.llm.attention import function as attention
from vxl.llm.decoder import Decoder, DecoderConfig
from vxl.option.build import build
from vxl.prefill import chunked as chunks
from vxl.prefill.chunked import Chunked, ChunkedConfig
from vxl.prefill.full import Full as Plain
from vxl.prefill.full import FullConfig as PlainConfig
from vxl.prefill.summarizing import Summarizing
from vxl.sequence.piece import Piece
from vxl.vision.clip import ClipConfig, ClipTower

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")

KEEP = Full(FullConfig())


def big(**changes: Any) -> Decoder:
    """Heads as wide as the kernels take."""
    sizes: dict[str, Any] = {"width": 512, "mlp": 512, "heads": 8, "kv_heads": 2, "layers": 3}
    return decoder(**(sizes | changes)).cuda()


def fed(
    llm: Decoder, embeds: Tensor, layout: Any, chunked: Any, cuts: list[int], policy: Policy = KEEP
) -> tuple[Tensor, Any]:
    cache, hidden = llm.new_cache(rows=len(embeds)), []
    if policy is KEEP:
        cache.reserve = embeds.shape[1]
    for start, stop in pairwise(cuts):
        piece = Piece(
            embeds[:, start:stop], layout.slice(start, stop), host=layout.slice(start, stop).to("cpu")
        )
        hidden.append(chunked.feed(llm, policy, cache, piece))
    return torch.cat(hidden, 1), cache


def off(got: Tensor, exact: Tensor) -> float:
    return float((got.double() - exact.double()).norm() / exact.double().norm())


@torch.no_grad()
@pytest.mark.parametrize("time_rows", ["all", "window"])
@pytest.mark.parametrize("model_type", ["qwen2", "qwen3", "llama"])
@pytest.mark.parametrize("rows", [1, 2])
def test_chunks_through_the_kernels(time_rows: Any, model_type: str, rows: int, monkeypatch: Any) -> None:
    llm = big(model_type=model_type)
    encoded = head(video(70))
    ids = torch.tensor([encoded.tokens]).cuda() % 97
    embeds = llm.embed(ids).repeat(rows, 1, 1)
    embeds = embeds + 0.3 * torch.randn(embeds.shape, generator=torch.Generator().manual_seed(0)).cuda()
    layout = layout_of(encoded).to("cuda")
    config = ChunkedConfig(groups_per_chunk=4, previous_chunks=2, time_rows=time_rows, chunks_per_pass=5)
    chunked, length = Chunked(config), len(encoded)
    cuts = [0, 3, 120, 300, length]
    wide = type(layout)(*(getattr(layout, name).expand(rows, -1) for name in vars(layout)))
    exact, _ = fed(llm.double(), embeds.double(), wide, chunked, cuts)
    llm.bfloat16()
    assert fused.suits_body(llm.causal_lm.model, embeds.bfloat16())
    got, cache = fed(llm, embeds.bfloat16(), wide, chunked, cuts)
    assert not cache.memo
    assert len(cache.layers[0]) == 1
    for module in (attention, fused, decoders):
        monkeypatch.setattr(module, "usable", lambda tensor: False)
    plain, _ = fed(llm, embeds.bfloat16(), wide, chunked, cuts)
    assert off(got, exact) < 1.2 * off(plain, exact) < 0.1


@torch.no_grad()
@pytest.mark.parametrize("time_rows", ["all", "window"])
@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize(
    "settings",
    [
        RandomConfig(keep=0.5, per_head=True),
        RandomConfig(keep=0.5, per_head=True, protect="none"),
        RecentConfig(keep=0.5),
        StreamingConfig(keep=0.5, tokens=None),
    ],
    ids=lambda settings: type(settings).__name__ + settings.protect,
)
def test_a_past_with_gaps_through_the_kernels(
    settings: Any, rows: int, time_rows: Any, monkeypatch: Any
) -> None:
    """Policies whose choice no rounding changes, so that the same entries stay in every precision."""
    from vxl.llm.kernels import steps  # it imports Triton

    llm, policy = big(), build(settings)
    encoded = head(video(70))
    ids = torch.tensor([encoded.tokens]).cuda() % 97
    embeds = llm.embed(ids).repeat(rows, 1, 1)
    embeds = embeds + 0.3 * torch.randn(embeds.shape, generator=torch.Generator().manual_seed(0)).cuda()
    layout = layout_of(encoded).to("cuda")
    chunked = Chunked(ChunkedConfig(groups_per_chunk=4, previous_chunks=2, time_rows=time_rows))
    cuts = [0, 3, 120, 300, len(encoded)]
    wide = type(layout)(*(getattr(layout, name).expand(rows, -1) for name in vars(layout)))
    exact, held = fed(llm.double(), embeds.double(), wide, chunked, cuts, policy)
    llm.bfloat16()
    ran: list[int] = []
    attend = steps.attend_chosen
    monkeypatch.setattr(steps, "attend_chosen", lambda *args: (ran.append(1), attend(*args))[1])
    got, cache = fed(llm, embeds.bfloat16(), wide, chunked, cuts, policy)
    assert len(ran) > 3 * 15
    for layer in range(3):
        torch.testing.assert_close(cache.index(layer), held.index(layer))
        torch.testing.assert_close(cache.positions(layer), held.positions(layer))
    for module in (attention, fused, decoders):
        monkeypatch.setattr(module, "usable", lambda tensor: False)
    plain, _ = fed(llm, embeds.bfloat16(), wide, chunked, cuts, policy)
    assert off(got, exact) < 1.2 * off(plain, exact) < 0.1


@torch.no_grad()
@pytest.mark.parametrize(
    "settings",
    [KnormConfig(keep=0.5), KeyDiffConfig(keep=0.5), TOVAConfig(keep=0.5), InfiniPotConfig(keep=0.5)],
    ids=lambda settings: type(settings).__name__,
)
def test_chunks_in_turns_on_a_gpu(settings: Any, monkeypatch: Any) -> None:
    """As one by one, but where rounding tips a choice."""
    llm, policy = big().bfloat16(), build(settings)
    encoded = head(video(120), tokens=9)
    embeds = torch.randn(1, len(encoded), 512, generator=torch.Generator().manual_seed(0)).cuda().bfloat16()
    chunked, layout = (
        Chunked(ChunkedConfig(groups_per_chunk=4, previous_chunks=2)),
        layout_of(encoded).to("cuda"),
    )
    cuts = [0, 3, 500, len(encoded)]
    got, ours = fed(llm, embeds, layout, chunked, cuts, policy)
    monkeypatch.setattr(chunks, "usable", lambda tensor: False)
    expected, theirs = fed(llm, embeds, layout, chunked, cuts, policy)
    assert off(got, expected) < 5e-2
    for layer in range(3):
        one, two = ours.index(layer), theirs.index(layer)
        assert one.shape == two.shape
        shared = [len(set(a.tolist()) & set(b.tolist())) for a, b in zip(one[0], two[0], strict=True)]
        assert min(shared) > 0.95 * one.shape[2]


@torch.no_grad()
@pytest.mark.parametrize("rows", [1, 3])
def test_decoding_by_a_graph(rows: int, monkeypatch: Any) -> None:
    llm = DecoderConfig(vocab=97, width=512, mlp=512, heads=8, kv_heads=2, layers=2)
    m = model(llm=llm, prefill=PlainConfig(groups=8)).cuda()
    m.llm.bfloat16()
    context = watch(m, head(video(40)), [frames(160)])
    questions = [[5, 6, 8], [9], [11, 12, 13, 14, 15]][:rows]
    built: list[int] = []
    capture = replay.Tail.capture
    monkeypatch.setattr(replay.Tail, "capture", lambda self: (built.append(1), capture(self)))
    said = torch.randint(0, 97, (24, rows), generator=torch.Generator().manual_seed(0)).cuda()
    by_graph = [scores(context, questions, said) for _ in range(2)]
    assert built == [1]  # the second question finds it
    torch.testing.assert_close(by_graph[0], by_graph[1], rtol=0, atol=0)
    monkeypatch.setattr(replay, "can_replay", lambda *_: False)
    step_by_step = scores(context, questions, said)
    for row in range(rows):
        assert off(by_graph[0][:, row], step_by_step[:, row]) < 3e-2
    answers = ask_all(context, questions, max_new_tokens=24)
    assert len(set(answers[0].tokens)) > 5  # no trivial loop


def scores(context: Any, questions: list[list[int]], said: Tensor) -> Tensor:
    """Logits behind the same tokens, [steps, rows, vocabulary]."""
    cache = context.cache.fork(len(questions))
    feed_questions(context, cache, questions, None)
    with decoding(context.model, context.cache, cache, len(said)) as step:
        return torch.stack([step(next_B).clone() for next_B in said])


def test_gradients_through_blocks_are_the_loops() -> None:
    llm = big(layers=2)
    encoded = head(video(60))
    layout = layout_of(encoded).to("cuda")
    chunked = Chunked(ChunkedConfig(groups_per_chunk=4, previous_chunks=1))
    positions = torch.arange(len(encoded)).cuda()[None]
    embeds = (0.3 * torch.randn(1, len(encoded), 512)).cuda().requires_grad_()
    chunked.forward(llm, KEEP, embeds, positions, layout).hidden_BTD.pow(2).mean().backward()
    by_blocks, embeds.grad = embeds.grad, None
    on_host = llm.cpu()
    host = embeds.detach().cpu().requires_grad_()
    chunked.forward(on_host, KEEP, host, positions.cpu(), layout.to("cpu")).hidden_BTD.pow(
        2
    ).mean().backward()
    assert by_blocks is not None
    assert host.grad is not None
    assert off(by_blocks.cpu(), host.grad) < 2e-2  # tf32


@torch.no_grad()
@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("letters", [["q", "k", "v"], ["q", "k", "v", "o", "mlp"]])
def test_summary_tokens_through_the_fused_layers(rows: int, letters: Any, monkeypatch: Any) -> None:
    llm = big()
    vst = VST(VSTConfig(ratio=5, groups=30, projections=letters))
    vst.equip(llm)
    for name, parameter in llm.named_parameters():
        if "beacon" in name:
            parameter.add_(0.1 * torch.randn(parameter.shape, device="cuda"))
    encoded = head(video(400))  # 14 windows
    ids = torch.tensor([encoded.tokens]).cuda() % 97
    embeds = llm.embed(ids).repeat(rows, 1, 1)
    embeds = embeds + 0.3 * torch.randn(embeds.shape, generator=torch.Generator().manual_seed(0)).cuda()
    host = layout_of(encoded)
    layout = type(host)(**{name: value.expand(rows, -1) for name, value in vars(host).items()})

    def memory(embeds: Tensor) -> Tensor:
        windows, cache = Summarizing(Plain(PlainConfig()), vst, 0), llm.new_cache(rows=rows)
        for start, stop in pairwise([0, 700, 1800, len(encoded)]):
            part = layout.slice(start, stop)
            windows.feed(llm, vst, cache, Piece(embeds[:, start:stop], part.to("cuda"), host=part))
        windows.finish(llm, vst, cache)
        last = llm.extend(embeds[:, :30], cache)
        keys = torch.cat([block.rotated(llm.rotary) for block in cache.layers[-1]], 2)
        return torch.cat([keys.flatten(), last.flatten()])

    exact = memory(embeds)
    llm.bfloat16()
    assert fused.suits_body(llm.causal_lm.model, embeds.bfloat16())
    got = memory(embeds.bfloat16())
    for module in (attention, fused, decoders):
        monkeypatch.setattr(module, "usable", lambda tensor: False)
    plain = memory(embeds.bfloat16())
    assert off(got, exact) < 1.2 * off(plain, exact) < 0.1


@torch.no_grad()
def test_a_tower_with_the_quick_gelu() -> None:
    tower = ClipTower(ClipConfig(size=56, width=64, mlp=256, heads=4, layers=4)).cuda()
    for parameter in tower.parameters():
        parameter.add_(0.1 * torch.randn(parameter.shape, device="cuda"))
    shown = frames(5).cuda()
    got = tower(shown)
    exact = tower.cpu()(shown.cpu())
    assert off(got.cpu(), exact) < 5e-3  # tf32
