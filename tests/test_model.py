from typing import Any

import pytest
import torch
import torch.nn.functional as F

from tests.golden.sequences import PLACEHOLDER, golden_llm, golden_sequence
from tests.small_model import IMAGE, example, head, model, settings, video
from vxl.compressor.dts import DTSConfig
from vxl.data.batch.collate import collate
from vxl.errors import DataError
from vxl.generate.watching import layout_of
from vxl.model import VideoLanguageModel, build_model
from vxl.prefill.full import FullConfig
from vxl.sequence.layout import Kind, Layout


def written_out(m: VideoLanguageModel, ex: Any) -> torch.Tensor:
    """The loss of one example, position by position."""
    encoded = ex.encoded
    embeds = m.llm.embed(torch.tensor([encoded.tokens]))[0]
    visual = iter(m.encode(ex.frames_FCHW).flatten(0, 1)) if len(ex.frames_FCHW) else iter(())
    embeds = torch.stack(
        [next(visual) if k == Kind.VISUAL else e for e, k in zip(embeds, encoded.kind, strict=True)]
    )
    logits = m.llm.logits(m.llm(embeds[None], m.llm.step(torch.arange(len(embeds))[None])))[0]
    losses = [
        F.cross_entropy(logits[at - 1], torch.tensor(label))
        for at, label in enumerate(encoded.labels)
        if label != -100
    ]
    return torch.stack(losses).sum()


def test_the_loss_is_the_sum_over_each_example_alone() -> None:
    m = model()
    examples = [
        example(video(3)),
        example(IMAGE, video(1), seed=1),
        example(answer=(13, 14)),
        example(video(2), seed=2),
    ]
    packed = collate([[examples[0], examples[1]], [examples[2]], [examples[3]]], pad=0)
    out = m(packed)
    expected = sum(written_out(m, ex) for ex in examples)
    torch.testing.assert_close(out.loss_sum, expected, rtol=1e-5, atol=1e-5)
    assert out.supervised == packed.supervised == len(out.labels_S) == 11
    assert out.labels_S.tolist() == [10, 11, 12, 10, 11, 12, 13, 14, 10, 11, 12]
    assert out.hidden_SD.shape == (11, 48)


def test_the_gradient_reaches_every_part() -> None:
    m = model().train()
    m(collate([[example(video(2))]], pad=0)).loss_sum.backward()
    for name, parameter in m.named_parameters():
        assert parameter.grad is not None, name
    parts = {name.split(".")[0] for name, parameter in m.named_parameters() if parameter.grad.abs().sum() > 0}
    assert parts == {"vision", "compressor", "llm"}


def test_text_alone_keeps_every_parameter_in_the_graph_and_its_number() -> None:
    m = model()
    batch = collate([[example()]], pad=0)
    expected = m(batch).loss_sum
    loss = m.train()(batch).loss_sum
    loss.backward()
    assert torch.equal(loss, expected)
    assert all(parameter.grad is not None for parameter in m.parameters())
    assert not any(parameter.grad.any() for parameter in m.vision.parameters())


def test_a_batch_with_nothing_supervised_gives_zero() -> None:
    m = model().train()
    batch = collate([[example(video(1), answer=())]], pad=0)
    out = m(batch)
    out.loss_sum.backward()
    assert out.loss_sum.item() == 0.0
    assert out.supervised == 0


def test_only_supervised_positions_go_through_the_output_layer() -> None:
    m = model()
    seen: list[torch.Size] = []
    m.llm.causal_lm.lm_head.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape))
    m(collate([[example(video(3))], [example()]], pad=0))
    assert seen == [torch.Size([6, 48])]


@pytest.mark.parametrize(
    ("groups", "text"), [(1, "8 visual positions, but there are 4"), (None, "there are 0")]
)
def test_placeholders_and_visual_tokens_must_agree(groups: int | None, text: str) -> None:
    m, encoded = model(), head(video(2))
    visual = None if groups is None else torch.zeros(groups, 4, 48)
    with pytest.raises(DataError, match=text):
        m.splice(torch.tensor([encoded.tokens]), visual, layout_of(encoded))


def test_encoding_in_pieces_changes_nothing() -> None:
    m, ex = model(), example(video(5))
    with torch.no_grad():
        whole = m.encode(ex.frames_FCHW)
        pieces = [m.encode(part) for part in ex.frames_FCHW.split(8)]
    torch.testing.assert_close(torch.cat(pieces), whole, rtol=1e-5, atol=1e-6)


def test_weights_follow_the_seed_and_not_the_other_parts() -> None:
    one, again = build_model(settings()), build_model(settings())
    other = build_model(settings(compressor=DTSConfig(ratio=64), prefill=FullConfig(groups=5)))
    seeded = build_model(settings(seed=1))
    state = one.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in again.state_dict().items())
    for name, tensor in other.state_dict().items():
        if name.startswith(("llm.", "vision.")):
            assert torch.equal(tensor, state[name]), name
    assert not torch.equal(seeded.llm.causal_lm.lm_head.weight, one.llm.causal_lm.lm_head.weight)


def test_float32_is_float32_on_a_gpu_too() -> None:
    torch.backends.cudnn.allow_tf32 = True  # PyTorch's default
    build_model(settings())
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32


def test_building_leaves_the_generator_and_precision_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    built = build_model(settings(), dtype=torch.float64)
    assert torch.equal(torch.rand(3), expected)
    assert {parameter.dtype for parameter in built.parameters()} == {torch.float64}
    assert torch.get_default_dtype() == torch.float32


def test_shapes_without_memory() -> None:
    built = build_model(settings(), device="meta")
    assert {parameter.device.type for parameter in built.parameters()} == {"meta"}
    assert {n: p.shape for n, p in built.named_parameters()} == {
        n: p.shape for n, p in build_model(settings()).named_parameters()
    }


@torch.no_grad()
@pytest.mark.parametrize("case", [0, 1, 2, 3])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 2e-5), (torch.float32, 2e-4)])
@pytest.mark.parametrize("cut", [False, True], ids=["whole", "pieces"])
def test_video_xl_2_sequences_are_the_published_ones(
    case: int, dtype: torch.dtype, bound: float, cut: bool
) -> None:
    golden, known, ids = golden_sequence(case)
    layout = Layout.text(1, ids.shape[1])
    layout.kind_BT[ids == PLACEHOLDER] = Kind.VISUAL

    m = model()
    m.llm = golden_llm(dtype)
    embeds = m.splice(ids, golden["visual_features"].to(dtype), layout)
    if cut:
        cache = m.llm.new_cache()
        hidden = torch.cat([m.llm.extend(part, cache) for part in embeds.split(157, dim=1)], 1)
    else:
        hidden = m.llm(embeds, m.llm.step(torch.arange(ids.shape[1])[None]))
    rows = known["logit_rows"]
    for name, got in (("embeds_rows", embeds[0, rows]), ("logits_full", m.llm.logits(hidden[0, rows]))):
        expected = golden[name].to(dtype)
        torch.testing.assert_close(
            got, expected, rtol=bound, atol=bound, msg=lambda text, name=name: f"{name}: {text}"
        )
