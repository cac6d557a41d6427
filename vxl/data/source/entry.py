"""A line of an index: what it may hold, and the samples that it makes."""

from typing import Any

from vxl.data.sample import Sample, Visual, parse
from vxl.errors import DataError
from vxl.video.sample import frames_between

PLACE = ("offset", "bytes", "path", "stamp")
"""Keys of a visual that say where it lies."""


def is_entry(entry: Any) -> bool:
    """Whether this is what an index holds of a member: an index may come from anybody, as its tar may."""
    return (
        isinstance(entry, dict)
        and {"key", "text", "visuals", "bad"} <= entry.keys()
        and isinstance(entry["key"], str)
        and isinstance(entry["text"], dict)
        and isinstance(entry["bad"], str | None)
        and isinstance(entry["visuals"], list)
        and all(isinstance(visual, dict) and _is_visual(visual) for visual in entry["visuals"])
    )


def _is_visual(visual: dict[str, Any]) -> bool:
    texts, numbers = ("name", "path", "stamp", "stamps"), ("frames", "fps", "seconds", "width", "height")
    return (
        visual.get("kind") in ("video", "image")
        and "name" in visual
        and all(isinstance(visual.get(name, ""), str) for name in texts)
        and all(
            isinstance(visual.get(name, 0), int | float) for name in (*numbers, "begins", "offset", "bytes")
        )
        and visual.keys() <= {*Visual.__dataclass_fields__, *PLACE}
    )


def samples_of(entry: dict[str, Any], shard: str) -> list[Sample]:
    """The samples of an index line.

    Raises:
        DataError: The text is wrong, or was found wrong when it was indexed.
    """
    if entry["bad"]:
        raise DataError(entry["bad"])
    visuals = [Visual(**{k: v for k, v in item.items() if k not in PLACE}) for item in entry["visuals"]]
    samples = parse(entry["text"], visuals, shard=shard, key=entry["key"])
    for visual in samples[0].visuals:  # all samples of a member show the same
        if visual.start is not None or visual.end is not None:
            _refuse_empty(visual, f"{shard}, sample '{entry['key']}'")
    return samples


def _refuse_empty(visual: Visual, where: str) -> None:
    """Raises DataError where `start` and `end` leave no frame: indexing says so, not training alone."""
    try:
        frames_between(
            visual.frames, visual.fps, visual.start, visual.end, begins=visual.begins, times_F=visual.times_F
        )
    except DataError as error:
        raise DataError(f"{where}: {visual.name}: {error}") from error
