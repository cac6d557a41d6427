"""Memory of a training by arithmetic: of a trained parameter, of a frozen one, and the share of a rank."""

import sys

import pytest
import torch

from vxl.config.compose import compose
from vxl.train.config import TrainConfig
from vxl.train.cost import assumed
from vxl.train.recomputing import decide
from vxl.train.report.opening import data_line, weights_line
from vxl.train.sizes import activation_bytes, most_frames, training_sizes
from vxl.train.step.learner import build_learner
from vxl.train.step.micro_batch import longest_rows
from vxl.train.step.stage import freeze
from vxl.units import GIB


def gib(*words: str) -> float:
    return training_sizes(compose("train", ["model=videoxl2", *words])).bytes_a_process / GIB


def test_true_sizes() -> None:
    """8,123,869,216 parameters: 16 bytes each in bf16-mixed, 8 in bf16-true; spread over 8 GPUs an eighth."""
    assert gib() == pytest.approx(16 * 8_123_869_216 / GIB)
    assert gib("trainer.precision=bf16-true") == pytest.approx(8 * 8_123_869_216 / GIB)
    assert gib("strategy=fsdp2", "trainer.devices=8") == pytest.approx(2 * 8_123_869_216 / GIB)
    assert gib("strategy=ddp", "trainer.devices=8") == pytest.approx(16 * 8_123_869_216 / GIB)
    assert gib("strategy=hsdp", "trainer.devices=8", "strategy.shard=4") == pytest.approx(
        4 * 8_123_869_216 / GIB
    )


def test_muon_keeps_one_moment_of_a_hidden_matrix() -> None:
    """12 bytes of it in the place of 16, and 8 in the place of 12 in a checkpoint."""
    block = 2 * 3584 * 3584 + 2 * 3584 * 512 + 3 * 3584 * 18944
    tower_block = 4 * 1152 * 1152 + 2 * 1152 * 4304
    hidden = 28 * block + 26 * tower_block + 3584 * 1152 + 3584 * 3584  # the last two: the projector
    adamw, muon = (
        training_sizes(compose("train", ["model=videoxl2", "stage=videoxl2_instruct", f"optim={name}"]))
        for name in ("adamw", "muon")
    )
    assert adamw.moment_bytes == 8 * 8_123_869_216
    assert adamw.moment_bytes - muon.moment_bytes == 4 * hidden
    assert adamw.total_bytes - muon.total_bytes == adamw.moment_bytes - muon.moment_bytes
    assert adamw.checkpoint_bytes - muon.checkpoint_bytes == adamw.moment_bytes - muon.moment_bytes


def test_frozen_weights_count_as_they_are_kept() -> None:
    same, bf16, int8, nf4 = (
        gib("stage=lora", f"trainer.frozen={how}") for how in ("same", "bf16", "int8", "nf4")
    )
    assert same == pytest.approx(31.06, abs=0.01)
    assert bf16 == pytest.approx(15.95, abs=0.01)
    packed = 28 * (2 * 3584 * 3584 + 2 * 3584 * 512 + 3 * 3584 * 18944)  # the layers that LoRA adapts
    assert bf16 - int8 == pytest.approx(packed / GIB, rel=1e-3)
    assert bf16 - nf4 == pytest.approx(1.484 * packed / GIB, rel=1e-3)


def test_a_frozen_tower_in_fp8_counts_a_byte_a_weight() -> None:
    layers = 26 * (4 * 1152 * 1152 + 2 * 1152 * 4304)
    plain, held = (
        training_sizes(compose("train", ["model=videoxl2", "stage=lora", f"vision.fp8={fp8}"]))
        for fp8 in ("false", "true")
    )
    assert plain.total_bytes - held.total_bytes == 3 * layers
    assert plain.checkpoint_bytes - held.checkpoint_bytes == 2 * layers  # saved as bf16


@pytest.mark.parametrize(
    ("words", "tokens", "frames"),
    [
        (["data.packing=true"], None, 224),  # 56 groups of 144 tokens and 4 frames
        (["data.packing=true"], 1000.0, 24),
        ([], None, 152),  # the last of 38 groups is filled up
        ([], 1000.0, 24),
        ([], 1.0, 0),
        (["prune=evs", "prune.keep=0.5"], 4000.0, 152),
        (["prune=evs", "prune.keep=0.5", "data.packing=true"], 4000.0, 220),
    ],
)
def test_everybody_counts_the_frames_of_a_row_alike(
    words: list[str], tokens: float | None, frames: int
) -> None:
    of_all = ["model=videoxl2", "vision.weights=random", "llm.checkpointing=true", "llm.recomputed=auto"]
    of_rows = ["video.max_frames=150", "data.max_tokens=8192"]
    config: TrainConfig = compose("train", [*of_all, *of_rows, *words])
    assert most_frames(config, tokens) == frames
    under = assumed(config, tokens=tokens)
    assert under.frames == frames
    if tokens is None:
        assert decide(config, 0.0) == decide(config, 0.0, tokens=under.tokens, frames=under.frames)


def held_by(config: TrainConfig) -> int:
    """Bytes that autograd keeps of the longest rows, on this CPU, without the weights."""
    model = build_learner(config)
    freeze(model, config.stage)
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = model(longest_rows(config, config.data.batch)).loss_sum
    del loss
    weights = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    return sum(size for pointer, size in kept.items() if pointer not in weights)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["stage=lora"],
        ["llm.layers=12", "data.max_tokens=256", "stage=align"],
        ["data.max_tokens=64", "video.max_frames=32"],
    ],
)
def test_activations_are_about_what_autograd_keeps(words: list[str]) -> None:
    """transformers' norms keep copies on a CPU; the compressor is left out, a tower that learns counts."""
    config = compose("train", ["model=tiny", "trainer=cpu", "data.batch=1", "data.max_tokens=512", *words])
    assert 0.55 < activation_bytes(config) / held_by(config) < 1.25


def test_recomputed_blocks_keep_their_input_and_one_is_whole() -> None:
    words = ["model=tiny", "trainer=cpu", "stage=align", "data.batch=1", "data.max_tokens=1000"]
    a_block = activation_bytes(compose("train", [*words, "llm.layers=1"]))
    again = activation_bytes(compose("train", [*words, "llm.layers=9", "llm.checkpointing=true"]))
    assert again == a_block + 9 * 1000 * 128 * 4  # the width of model=tiny, in float32


def test_processes_that_share_rows_keep_a_share_and_all_keys_and_values() -> None:
    words = ["model=tiny", "trainer=cpu", "data.batch=1", "data.max_tokens=1024", "strategy=ddp"]
    config = compose("train", [*words, "trainer.devices=4"])
    shared = compose("train", [*words, "trainer.devices=4", "strategy.context=4"])
    llm = config.llm
    keys = llm.kv_heads * llm.head_size
    gathered = llm.layers * 1024 * 2 * keys * 4  # in float32
    whole = activation_bytes(config)
    assert activation_bytes(shared) == pytest.approx((whole - gathered) / 4 + gathered)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["model=tiny"], "random: vision, compressor, projector, language model"),
        (
            ["model=videoxl2"],
            "pretrained: vision google/siglip-so400m-patch14-384 · "
            "random: compressor, projector, language model",
        ),
        (
            ["model=videoxl"],  # has no compressor with weights
            "pretrained: vision openai/clip-vit-large-patch14-336 · random: projector, language model",
        ),
        (["weights=folder"], "weights=folder"),
        (["init_from=first"], "init_from=first, random where it has none"),
        (["model=tiny", "stage=dts_reconstruct"], "random: vision, compressor"),
    ],
)
def test_where_weights_come_from(words: list[str], line: str) -> None:
    config = compose("train", words)
    assert weights_line(config, training_sizes(config).parameters) == line


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "data=clips, the toy clips that come with vxl"),
        (["data=json", "data.json=mine.json", "data.videos=."], "data=json mine.json"),
        (["data=shards", "data.train=[a/*.tar,b.tar]"], "data=shards a/*.tar, b.tar"),
    ],
)
def test_on_which_data(words: list[str], line: str) -> None:
    assert data_line(compose("train", words)) == line


def test_counting_imports_no_code_of_models(monkeypatch) -> None:
    """`dry_run=true` and the opening of a training are to be quick: transformers' classes and PyTorch's
    compiler take seconds each to import."""
    config = compose("train", ["model=videoxl2", "stage=lora"])
    expected = training_sizes(config)
    for package in ("transformers", "torch._dynamo", "torch.fx.experimental.symbolic_shapes"):
        monkeypatch.setitem(sys.modules, package, None)
    assert training_sizes(config) == expected
