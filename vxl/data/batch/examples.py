"""From a sample to an example: choosing frames, decoding, resizing, writing the conversation down."""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from vxl.data.batch.collate import Example, joined_frames
from vxl.data.batch.encoded import Encoded, Shown
from vxl.data.batch.prompt import Prompt
from vxl.data.sample import BadSample, Media, Sample, SampleWithMedia, Visual
from vxl.errors import DataError
from vxl.sequence.rows import IGNORE
from vxl.video.decode import decode
from vxl.video.load import load_image
from vxl.video.sample import Sampler, Selection
from vxl.video.tiles import cut_into_views, views_of
from vxl.video.transform import PixelSpec
from vxl.video.virtual import Virtual

Decoded = Callable[[Visual, Media | Virtual], Tensor]
"""(a visual, what it is read from) -> uint8 frames_FCHW of whole groups, at the tower's size."""


class Examples:
    """Makes examples of samples, in whatever process it is copied to.

    Args:
        prompt: The conversation's format.
        sampler: Which frames of a video.
        pixels: What the vision tower wants its pixels to be.
        decoded: Gives a visual's frames; None = decodes them.
    """

    def __init__(
        self, prompt: Prompt, sampler: Sampler, pixels: PixelSpec, decoded: Decoded | None = None
    ) -> None:
        self.prompt, self.sampler, self.pixels = prompt, sampler, pixels
        self.decoded = decoded or self._frames

    def cost(self, sample: Sample) -> int:
        """Tokens that the model will see, from the sample's record alone.

        Raises:
            DataError: The sample can't be used.
        """
        return self.prompt.fed(self.prompt.training(sample, self.shown(sample)))

    def make(self, with_media: SampleWithMedia, seed: int) -> Example:
        """Decodes and encodes a sample.

        Args:
            with_media: The sample with its media.
            seed: For random choices; this class makes none.

        Raises:
            DataError: The sample can't be used, or its media can't be read.
        """
        sample = with_media.sample
        encoded = self.prompt.training(sample, self.shown(sample))
        frames = [self.decoded(v, media) for v, media in zip(sample.visuals, with_media.media, strict=True)]
        question = sample.question
        return Example(
            encoded=encoded,
            frames_FCHW=joined_frames(frames) if frames else self._no_frames(),
            key=sample.key,
            question=question,
            letters=tuple(self.prompt.letters(len(question.options))) if question else (),
        )

    def masked(self, bad: BadSample) -> Example:
        """What stands in the place of a sample that can't be used: one token, nothing to learn."""
        encoded = Encoded()
        encoded.text([self.prompt.start])
        return Example(encoded=encoded, frames_FCHW=self._no_frames(), key=bad.key, bad=bad)

    def shown(self, sample: Sample) -> list[Shown]:
        """The times of the frames that will be seen of each visual."""
        return [
            Shown("image", (0.0,) * self._views(visual))
            if visual.kind == "image"
            else Shown("video", tuple(self._select(visual).seconds))
            for visual in sample.visuals
        ]

    def _views(self, visual: Visual) -> int:
        try:
            return views_of(visual.width, visual.height, self.pixels.size, self.prompt.config.images)
        except DataError as error:
            raise DataError(f"{visual.name}: {error}") from error

    def _select(self, visual: Visual) -> Selection:
        try:
            return self.sampler.select(
                visual.frames,
                visual.fps,
                visual.start,
                visual.end,
                begins=visual.begins,
                times_F=visual.times_F,
            )
        except DataError as error:
            raise DataError(f"{visual.name}: {error}") from error

    def _frames(self, visual: Visual, media: Media | Virtual) -> Tensor:
        """uint8 frames_FCHW of whole groups."""
        size = self.prompt.plan.frames_per_group
        if visual.kind == "image" and not isinstance(media, Virtual):
            image_CHW = load_image(media, None, name=visual.name)
            return cut_into_views(image_CHW, self.pixels, self.prompt.config.images).repeat_interleave(
                size, dim=0
            )
        indices = self._select(visual).indices
        if isinstance(media, Virtual):
            frames_FCHW = media.frames(indices.tolist(), self.pixels)
        else:
            video = self.sampler.config
            frames_FCHW = decode(
                media,
                indices,
                pixels=self.pixels,
                decoder=video.decoder,
                device=video.device,
                name=visual.name,
            )
        missing = -len(frames_FCHW) % size
        if not missing:  # copying a long video costs as much as resizing it
            return frames_FCHW
        return torch.cat([frames_FCHW, frames_FCHW[-1:].expand(missing, -1, -1, -1)])

    def _no_frames(self) -> Tensor:
        return torch.zeros(0, 3, self.pixels.size, self.pixels.size, dtype=torch.uint8)


def without_labels(example: Example) -> Example:
    """The same example with nothing supervised and nothing asked: it fills a place and counts for nothing."""
    encoded = replace(example.encoded, labels=[IGNORE] * len(example.encoded), answer_at=None)
    return replace(example, encoded=encoded, question=None, letters=(), padding=True)
