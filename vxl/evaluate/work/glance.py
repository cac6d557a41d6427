"""A few of the frames that a model is shown, kept small beside the answers, for the page of a comparison."""

import io
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from vxl.atomic import whole_file
from vxl.evaluate.fingerprint import digest
from vxl.logger.prediction import strip

MOST = 8
"""Frames of a picture."""


class Glance:
    """Looks at videos on their way to the model."""

    def __init__(self) -> None:
        self.frames: list[Tensor] = []

    def through(self, total: int, pieces: Iterable[Tensor]) -> Iterator[Tensor]:
        """Passes a video on and keeps some of its frames, evenly spread.

        Args:
            total: Its frames.
            pieces: They, uint8, [C,H,W] or [F,C,H,W].
        """
        indices = set(torch.linspace(0, max(0, total - 1), min(MOST, max(1, total))).round().long().tolist())
        at = 0
        for piece in pieces:
            frames_FCHW = piece[None] if piece.ndim == 3 else piece
            self.frames += [frames_FCHW[n].cpu() for n in range(len(frames_FCHW)) if at + n in indices]
            at += len(frames_FCHW)
            yield piece

    def write(self, folder: Path, name: str) -> str:
        """Writes the frames side by side as JPEG, once; its path below the folder, empty without frames.

        Args:
            folder: Of the answers.
            name: Of what was watched.
        """
        if not self.frames:
            return ""
        file = f"frames/{digest(name)[:16]}.jpg"
        place = folder / file
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            picture = io.BytesIO()
            Image.fromarray(strip(torch.stack(self.frames[:MOST])).numpy()).save(picture, "JPEG", quality=80)
            with whole_file(place) as part:
                part.write_bytes(picture.getvalue())
        return file
