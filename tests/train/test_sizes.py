"""Memory of a training by arithmetic: of a trained parameter, of a frozen one, and the share of a rank."""

import sys

import pytest

from vxl.config.compose import compose
from vxl.memory import GIB
from vxl.train.report.opening import data_line, weights_line
from vxl.train.sizes import training_sizes


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


def test_frozen_weights_count_as_they_are_kept() -> None:
    same, bf16, int8, nf4 = (
        gib("stage=lora", f"trainer.frozen={how}") for how in ("same", "bf16", "int8", "nf4")
    )
    assert same == pytest.approx(31.06, abs=0.01)
    assert bf16 == pytest.approx(15.95, abs=0.01)
    packed = 28 * (2 * 3584 * 3584 + 2 * 3584 * 512 + 3 * 3584 * 18944)  # the layers that LoRA adapts
    assert bf16 - int8 == pytest.approx(packed / GIB, rel=1e-3)
    assert bf16 - nf4 == pytest.approx(1.484 * packed / GIB, rel=1e-3)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["model=tiny"], "random: vision, language model, compressor"),
        (
            ["model=videoxl2"],
            "pretrained: vision google/siglip-so400m-patch14-384 · random: language model, compressor",
        ),
        (["weights=folder"], "weights=folder"),
        (["init_from=first"], "init_from=first, random where it has none"),
        (["model=tiny", "stage=dts_reconstruct"], "random: vision, compressor"),
    ],
)
def test_where_weights_come_from(words: list[str], line: str) -> None:
    assert weights_line(compose("train", words)) == line


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
