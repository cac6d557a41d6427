"""What a message shows: the frames of a video or the views of an image, read as everywhere in vxl."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from vxl.data.batch.encoded import Shown
from vxl.option.build import build
from vxl.parts import ModelParts
from vxl.video.image import rgb_of
from vxl.video.load import load_image, load_video
from vxl.video.sample import VideoConfig
from vxl.video.tiles import cut_into_views
from vxl.video.transform import resize_FCHW

KINDS = {"video": "video", "video_url": "video", "image": "image", "image_url": "image"}
"""{type of a part of a message: what it shows}."""
PLACES = ("video", "image", "url", "path", "video_url", "image_url")
"""Keys under which a part names what it shows."""


def look(part: Mapping[str, Any], parts: ModelParts, video: VideoConfig, size: int) -> tuple[Shown, Tensor]:
    """A visual of a message: when its frames are, and frames_FCHW, uint8 at the tower's size.

    A video's last group is filled up with its last frame.

    Args:
        part: `{"type": "video", "video": PATH}` or the like; `start` and `end` (or `start_time`, `end_time`)
            in seconds cut a piece out. Frames that are decoded already may have `fps`.
        parts: The model's settings.
        video: How videos are sampled.
        size: Frames of a group.

    Raises:
        ValueError: It names nothing that can be read here.
        DataError: It can't be read.
    """
    kind = KINDS[part["type"]]
    source: Any = next((part[key] for key in PLACES if part.get(key) is not None), None)
    if isinstance(source, Mapping):  # {"video_url": {"url": …}}
        source = source.get("url")
    pixels = parts.vision.pixels
    if source is None:
        raise ValueError(
            f"a part of type {part['type']!r} names nothing; expected one of {', '.join(PLACES)}"
        )
    if isinstance(source, str):
        source = _local(source)
    if kind == "image":
        image_CHW = _decoded([source])[0] if _is_decoded(source) else load_image(source, None)
        views_FCHW = cut_into_views(image_CHW, pixels, parts.prompt.images)
        return Shown("image", (0.0,) * len(views_FCHW)), views_FCHW
    if _is_decoded(source) or isinstance(source, list | tuple):
        frames_FCHW = resize_FCHW(_decoded(source), pixels)
        seconds = [round(number / float(part.get("fps") or 1.0), 1) for number in range(len(frames_FCHW))]
    else:
        start, end = (part.get(key, part.get(f"{key}_time")) for key in ("start", "end"))
        on_cpu = replace(video, device="cpu")  # a processor gives what any machine, and any worker, can give
        frames = load_video(source, build(on_cpu), pixels, start=start, end=end, threads=0)
        frames_FCHW, seconds = frames.frames_FCHW, frames.seconds
    fill = -len(frames_FCHW) % size
    return Shown("video", tuple(seconds)), torch.cat([frames_FCHW, frames_FCHW[-1:].expand(fill, -1, -1, -1)])


def _local(name: str) -> str:
    """The path that a text names.

    Raises:
        ValueError: It is elsewhere.
    """
    if name.startswith("file://"):
        return name.removeprefix("file://")
    if "://" in name or name.startswith("data:"):
        raise ValueError(
            f"{name[:80]!r} is not read: nothing is fetched from elsewhere; pass the path of a file"
        )
    return str(Path(name).expanduser())


def _is_decoded(source: Any) -> bool:
    return isinstance(source, Tensor | np.ndarray | Image.Image)


def _decoded(source: Any) -> Tensor:
    """uint8 frames_FCHW of an array or a tensor (channels first or last), or of a list of images.

    Raises:
        ValueError: It has another shape or type.
    """
    if isinstance(source, Sequence):
        pictures = [
            torch.from_numpy(rgb_of(each)).permute(2, 0, 1)
            if isinstance(each, Image.Image)
            else torch.as_tensor(each)
            for each in source
        ]
        if not pictures:
            raise ValueError("a video of no frames")
        source = torch.stack([each if len(each) == 3 else each.permute(2, 0, 1) for each in pictures])
    frames = torch.as_tensor(source)
    if frames.ndim == 4 and frames.shape[1] != 3:
        frames = frames.permute(0, 3, 1, 2)
    if frames.ndim != 4 or frames.shape[1] != 3 or frames.dtype != torch.uint8:
        raise ValueError(
            f"frames of shape {list(frames.shape)} and type {frames.dtype}; expected uint8 [frames, 3, "
            "height, width] or [frames, height, width, 3], or a list of images"
        )
    return frames.contiguous()
