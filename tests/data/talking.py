"""A small tokenizer, prompts for it, and a run's settings, for the tests of prompts and batches."""

from functools import cache
from pathlib import Path
from typing import Any

from tests import small_model
from tests.train_configs import train_settings
from vxl.compressor.dts import DTSConfig
from vxl.compressor.plan import CompressorPlan
from vxl.data.batch.prompt import Prompt, PromptConfig
from vxl.data.batch.tokenizer import train_tokenizer
from vxl.llm.decoder import DecoderConfig
from vxl.run.config import PathsConfig
from vxl.train.config import TrainConfig
from vxl.train.trainer import TrainerConfig
from vxl.video.sample import FpsConfig
from vxl.vision.siglip import SiglipConfig

WORDS = [
    "system",
    "You are a helpful assistant.",
    "user",
    "assistant",
    "Time",
    " What is it?",
    "What is it?",
    "A cat.",
]
PLAN = CompressorPlan(frames_per_group=4, tokens_per_group=2, temporal=4, spatial=2, ratio=16)


@cache
def tokenizer() -> Any:
    """Knows every one of WORDS' words as one token."""
    return train_tokenizer(WORDS * 20, 512)


def prompt(plan: CompressorPlan = PLAN, max_tokens: int | None = None, **settings: Any) -> Prompt:
    """A format for that tokenizer."""
    return Prompt(PromptConfig(**settings), tokenizer(), plan, max_tokens)


def written(encoded: Any) -> str:
    """The tokens as text."""
    return tokenizer().decode(encoded.tokens if hasattr(encoded, "tokens") else encoded)


def learned(encoded: Any) -> list[str]:
    """The supervised tokens, one by one."""
    kept = [label for label in encoded.labels if label != -100]
    return [tokenizer().decode([label]) for label in kept]


def settings(tmp_path: Path, data: Any, *, seed: int = 0, accumulate: int = 1) -> TrainConfig:
    """A run's config for a DataModule: a tower of 56 px with 4 x 4 patches, DTS of ratio 16."""
    small = small_model.settings(
        video=FpsConfig(max_frames=16),
        vision=SiglipConfig(size=56, patch=14, width=64),
        compressor=DTSConfig(ratio=16),
        llm=DecoderConfig(vocab=1024),
        seed=seed,
    )
    return train_settings(
        small,
        data=data,
        trainer=TrainerConfig(accumulate=accumulate),
        paths=PathsConfig(cache=str(tmp_path / "cache"), runs=str(tmp_path / "runs")),
    )
