"""How large the model of `vxl bench all` is, and how much it is given."""

from dataclasses import dataclass, replace
from typing import Any

LORA = ("stage=lora", "stage.train=[compressor,projector,llm]", "video=uniform")
"""The model as it learns: LoRA on the language model, projector and compressor."""


@dataclass(frozen=True)
class Size:
    """How large the model is, and how much it is given."""

    parts: tuple[str, ...]
    """Words that choose the model."""
    watching: tuple[str, ...]
    """Words that choose how it watches."""
    training: tuple[str, ...]
    """Words that choose how it trains."""
    decoded: int
    """Frames that are decoded of each clip."""
    frames: int
    """Frames that are encoded and watched."""
    question: int
    """Tokens of the question."""
    answer: int
    """Tokens of the answer, the first included."""
    repeats: int


SIZES = {
    "published": Size(
        parts=("model=videoxl2", "vision.weights=random"),
        watching=("prefill.groups=64", "prefill.time_rows=window"),
        # As experiments/040_training_mfu trains, without compiling, which would take a minute: rows of as
        # many visual tokens as three of its videos have.
        training=(
            *LORA,
            "video.max_frames=192",
            "data.max_tokens=8192",
            "llm.attention=varlen",
            "llm.checkpointing=false",
            "trainer.precision=bf16-mixed",
            "trainer.frozen=bf16",
            "+optim.optimizer.fused=true",
        ),
        decoded=64,
        frames=2048,
        question=40,
        answer=65,
        repeats=7,
    ),
    "tiny": Size(
        parts=("model=tiny", "trainer=cpu"),
        watching=("prefill.groups=4",),
        training=(*LORA, "video.max_frames=8", "data.max_tokens=512"),
        decoded=16,
        frames=64,
        question=40,
        answer=33,
        repeats=15,
    ),
}
QUICK: dict[str, dict[str, Any]] = {
    "published": {"decoded": 16, "frames": 512, "answer": 33, "repeats": 5},
    "tiny": {"decoded": 4, "frames": 32, "answer": 9, "repeats": 9},
}
"""What `--quick` measures less of."""


def size_of(name: str, *, quick: bool) -> Size:
    """A size, or what `--quick` leaves of it."""
    return replace(SIZES[name], **QUICK[name]) if quick else SIZES[name]
