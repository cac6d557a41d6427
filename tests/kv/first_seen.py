"""A task that only memory can answer: which colour was seen first, many windows ago."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from vxl.config.compose import compose
from vxl.data.batch.collate import Batch, Example, collate
from vxl.data.batch.encoded import BatchedVisual, Encoded
from vxl.data.clips.drawn import COLOURS, draw_clips
from vxl.model import VideoLanguageModel, build_model
from vxl.seeds import generator
from vxl.sequence.layout import Kind

SIDE = 56
FRAMES = 2
"""Of each clip, and of each window."""
ROWS, RATE = 16, 1e-3
LETTERS = (10, 11, 12, 13)
"""Tokens of the answers, one a colour."""


def model(ratio: int, seed: int = 0) -> VideoLanguageModel:
    """Video-XL in miniature: 4 tokens a frame, windows of 2 frames."""
    words = ["model=videoxl", "size=tiny", "llm.vocab=32", f"kv.ratio={ratio}", f"kv.groups={FRAMES}"]
    return build_model(compose("train", [*words, f"seed={seed}"]))


def clips(split: str, count: int) -> Tensor:
    """frames [clip, colour, F, C, H, W], uint8: `count` still clips of each colour."""
    drawn = list(draw_clips("colour", count * len(COLOURS), seed=0, split=split))
    frames = torch.from_numpy(np.stack([clip.frames_FHWC[:FRAMES] for clip in drawn])).movedim(-1, 2)
    small = F.interpolate(frames.flatten(0, 1).float(), (SIDE, SIDE), mode="bilinear", antialias=True)
    return small.round().byte().unflatten(0, (count, len(COLOURS), FRAMES))


def batch(frames: Tensor, rows: int, windows: int, *name: int | str) -> tuple[Batch, list[int]]:
    """Videos of one clip a window, each of a colour of its own; and the first clips' colours."""
    chance = generator("first seen", *name)
    examples, answers = [], []
    for _ in range(rows):
        colours = chance.integers(len(COLOURS), size=windows)
        shown = frames[chance.integers(len(frames), size=windows), colours].flatten(0, 1)
        encoded = Encoded()
        encoded.text([1, 2])
        for group in range(len(shown)):
            encoded.visual([9] * 4, Kind.VISUAL, group, float(group))
        encoded.items.append(BatchedVisual("video", len(shown), len(shown)))
        encoded.text([3, 4])
        encoded.text([LETTERS[colours[0]]], supervised=True)
        examples.append([Example(encoded, shown)])
        answers.append(int(colours[0]))
    return collate(examples, pad=0), answers


def learn(ratio: int, *, steps: int = 80, windows: int = 8, seed: int = 0) -> float:
    """Trains, and returns the accuracy on videos of clips that were not trained on."""
    vlm = model(ratio, seed).train()
    optimizer = torch.optim.AdamW(vlm.parameters(), lr=RATE, weight_decay=0.0)
    frames = clips("train", 64)
    for step in range(steps):
        share = min(1.0, (step + 1) / 20) * min(1.0, 4 * (1 - step / steps))
        optimizer.param_groups[0]["lr"] = RATE * share
        drawn, _ = batch(frames, ROWS, windows, seed, step)
        out = vlm(drawn)
        loss = out.loss_sum / out.supervised
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vlm.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return accuracy(vlm, windows)


@torch.no_grad()
def accuracy(vlm: VideoLanguageModel, windows: int, rows: int = 200) -> float:
    """Share of right answers about new videos, by `model.forward`."""
    vlm.eval()
    drawn, answers = batch(clips("test", 16), rows, windows, "test")
    said = vlm.llm.logits(vlm(drawn).hidden_SD)[:, LETTERS].argmax(dim=1).tolist()
    return float(np.mean([a == b for a, b in zip(said, answers, strict=True)]))
