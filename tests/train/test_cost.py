"""What a training costs, against what experiments 040 and 050 measured on H100 cards, and by hand."""

import json
from pathlib import Path
from typing import Any

import pytest

from vxl.cli.main import main
from vxl.config.compose import compose
from vxl.errors import ConfigError
from vxl.train.config import TrainConfig
from vxl.train.cost import MEASURED_MFU, TrainingCost, assumed
from vxl.train.sizes import training_sizes
from vxl.units import GIB

EXPERIMENTS = Path(__file__).parents[2] / "experiments"
ROW = [
    "data.batch=1",
    "data.packing=true",
    "data.max_tokens=8192",
    "llm.attention=sdpa",
    "vision.weights=random",
]
FULL = [
    "model=videoxl2",
    "stage=videoxl2_instruct",
    *ROW,
    "llm.checkpointing=true",
    "vision.checkpointing=true",
]
LORA = ["model=videoxl2", "stage=lora", "stage.train=[compressor,projector,llm]", *ROW, "trainer.frozen=bf16"]
SHAPES = {
    "single/7b/8192": ["trainer.precision=bf16-true"],
    "fsdp2/7b/8192/half": [
        "trainer.precision=bf16-true",
        "strategy=fsdp2",
        "trainer.devices=2",
        "llm.recomputed=0.5",
    ],
    "ddp/7b/8192": ["trainer.precision=bf16-true", "strategy=ddp", "trainer.devices=2"],
    "fsdp2_grad/7b/8192": ["trainer.precision=bf16-true", "strategy=fsdp2_grad", "trainer.devices=2"],
    "fsdp2/7b_fp32/8192": ["trainer.precision=bf16-mixed", "strategy=fsdp2", "trainer.devices=2"],
}


def measured(experiment: str) -> list[dict[str, Any]]:
    rows = json.loads((EXPERIMENTS / experiment / "results.json").read_text())
    return [row for row in (rows if isinstance(rows, list) else rows["rows"]) if "mfu" in row]


def cost(words: list[str], **under: Any) -> TrainingCost:
    config: TrainConfig = compose("train", words)
    return TrainingCost.of(config, assumed(config, **under))


@pytest.mark.parametrize("row", SHAPES)
def test_training_in_full_is_what_one_and_two_cards_measured(row: str) -> None:
    found = next(each for each in measured("050_fsdp2_scaling") if each["row"] == row)
    said = cost([*FULL, *SHAPES[row]], tokens=found["tokens_a_gpu"], frames=found["frames_a_gpu"])
    assert said.peak.total / GIB == pytest.approx(found["peak_memory_gib"], rel=0.1)
    assert sum(said.step_flops.values()) / 1e12 == pytest.approx(found["tflop_a_gpu"], rel=0.1)


def test_lora_is_what_one_card_measured() -> None:
    found = next(each for each in measured("040_training_mfu") if each["variant"] == "eager")
    words = [*LORA, "llm.checkpointing=false", "trainer.precision=bf16-mixed", "video.max_frames=64"]
    said = cost(words, tokens=found["tokens_a_step"], frames=found["frames_a_step"])
    assert said.peak.total / GIB == pytest.approx(found["peak_memory_gib"], rel=0.1)
    flops = {part: work / 1e12 for part, work in said.step_flops.items()}
    for part in ("vision", "compressor", "projector", "llm"):
        assert flops[part] == pytest.approx(found["tflop_a_step"][part], rel=0.02)
    assert said.step_seconds == pytest.approx(found["seconds_a_step"], rel=0.1)


def test_first_guesses_of_the_share_are_what_was_measured() -> None:
    rows = {row["row"]: row["mfu"] for row in measured("050_fsdp2_scaling")}
    eager = next(row["mfu"] for row in measured("040_training_mfu") if row["variant"] == "eager")
    for name, found in (("lora", eager), *((s, rows[f"{s}/7b/8192"]) for s in ("single", "ddp", "fsdp2"))):
        assert MEASURED_MFU[name] == pytest.approx(found, abs=5e-4)


def test_a_checkpoint_has_weights_and_moments() -> None:
    """12.4 GB were written of two layers in bf16 (experiment 050)."""
    shallow = [*FULL, "trainer.precision=bf16-true", "llm.layers=2"]
    (found,) = (row for row in measured("050_fsdp2_scaling") if row["row"] == "fsdp2/shallow/8192/save")
    assert training_sizes(compose("train", shallow)).checkpoint_bytes / 1e9 == pytest.approx(
        found["checkpoint_gb"], rel=0.01
    )


def test_packed_weights_are_bf16_in_a_checkpoint() -> None:
    packed, plain = (
        training_sizes(compose("train", [*LORA[:-1], f"trainer.frozen={how}"])) for how in ("nf4", "bf16")
    )
    assert packed.checkpoint_bytes == plain.checkpoint_bytes
    assert packed.total_bytes < plain.total_bytes


def test_hours_are_steps_and_cards() -> None:
    words = ["model=tiny", "trainer.max_steps=100", "logger=csv"]
    one = cost(words, mfu=0.5)
    more = cost([*words, "trainer.devices=4", "trainer.accumulate=2", "strategy=ddp"], mfu=0.25)
    assert more.gpu_hours == pytest.approx(16 * one.gpu_hours)
    assert more.step_tokens == 8 * one.step_tokens
    assert one.fits


def test_what_muon_saves_and_what_it_computes() -> None:
    """By hand, of two LoRA factors of one layer: (4 m m n + 2 m m m) an iteration, m the shorter side."""
    words = ["model=tiny", "stage=lora", "stage.train=[llm]", "llm.lora.rank=4", "llm.lora.layers=[q_proj]"]
    words += ["llm.layers=1", "logger=csv"]
    adamw, muon = cost(words), cost([*words, "optim=muon"])
    each = 4 * 4 * 4 * 128 + 2 * 4 * 4 * 4
    assert muon.step_flops == adamw.step_flops | {"optimizer": 5 * 2 * each}
    assert adamw.peak.moments == 2 * 4 * (2 * 4 * 128)
    assert muon.peak.moments == 4 * (2 * 4 * 128)
    assert muon.peak.weights == adamw.peak.weights


def test_what_does_not_fit_says_what_to_type() -> None:
    rows = dict(cost(["model=videoxl2", "stage=videoxl2_instruct", "vision.weights=random"]).rows())
    assert rows["fits"].startswith("no, a card has 79 GiB; e.g.  data.batch=1, llm.checkpointing=true")
    spread = dict(cost([*FULL, "trainer.devices=2", "strategy=ddp"]).rows())
    assert spread["fits"].endswith("spread it:  strategy=fsdp2")


def test_the_screen(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    main(["explain", "cost", "model=tiny", "stage=lora", "devices=2", "card=A100", "frames=4"])
    shown = capsys.readouterr().out
    assert "2 x A100" in shown
    assert "4 frames" in shown
    assert "strategy=fsdp2" in shown
    assert "GPU-hours for 400 steps" in shown
    assert max(map(len, shown.splitlines()[:-1])) <= 80


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("card=K80", "card=K80 is not known"),
        ("mfu=fast", "expected a number"),
        ("mfu=2", "up to 1"),
        ("llm.x=1", "llm.x"),
        ("recipe=videoxl2", "costs its own: dts_reconstruct, align, "),
    ],
)
def test_mistakes(word: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["explain", "cost", "model=tiny", word])
    assert says in capsys.readouterr().err
    with pytest.raises(ConfigError, match="describe no step"):
        assumed(compose("train", ["model=tiny"]), tokens=0.0)


def test_what_is_kept_off_the_card_takes_no_memory_there() -> None:
    off = cost([*FULL, "strategy=fsdp2", "trainer.devices=2", "strategy.offload=true"]).peak
    assert (off.weights, off.moments, off.gradients) == (0.0, 0.0, 0.0)
    assert off.gathered > 0
    assert off.activations > 0


def test_processes_that_share_rows_share_the_work() -> None:
    several = ["strategy=fsdp2", "trainer.devices=4"]
    alone, shared = (cost([*FULL, *several, f"strategy.context={n}"]) for n in (1, 4))
    assert shared.step_tokens * 4 == alone.step_tokens
    assert sum(shared.step_flops.values()) * 4 == pytest.approx(sum(alone.step_flops.values()))
    assert shared.peak.activations < alone.peak.activations / 2
    assert shared.peak.moments == alone.peak.moments
    assert "; 1 x 1 rows for every 4 GPUs" in dict(shared.rows())["a step"]
