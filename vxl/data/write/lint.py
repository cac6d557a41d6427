"""Checking and describing samples before training on them."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vxl.data.sample import BadSample, Media, Visual
from vxl.data.source.index import count_samples, open_index
from vxl.data.source.json_list import JsonSource
from vxl.data.source.member import describe_member
from vxl.data.source.ranges import describe_file
from vxl.data.source.source import IndexedSource
from vxl.data.source.urls import expand_urls
from vxl.data.write.content import Content, encoded
from vxl.data.write.shards import TarMember
from vxl.errors import DataError, one_line
from vxl.video.endings import media_kind

if TYPE_CHECKING:  # late: torch takes 2 s, and writing shards needs none of it
    from vxl.video.virtual import Virtual


def sources(
    urls: list[str], cache: Path, videos: Path | None
) -> Iterator[tuple[str, IndexedSource | DataError]]:
    """Each shard (or JSON list) that the arguments name, opened; or what is wrong with it as a whole."""
    for url in [url for pattern in urls for url in expand_urls(pattern)]:
        try:
            if url.endswith((".json", ".jsonl")):
                yield url, JsonSource(Path(url), videos or Path(url).parent, cache=cache, some=False)
            else:
                yield url, IndexedSource(url, [open_index(url, cache)], some=False)
        except DataError as error:
            yield url, error


def lint(urls: list[str], cache: Path, *, videos: Path | None = None, decode: bool = False) -> Iterator[str]:
    """Everything that is wrong, a line each.

    Args:
        urls: Patterns of shards, or JSON lists.
        cache: `paths.cache`.
        videos: Where the paths of JSON lists start; by default the list's folder.
        decode: Whether to decode all that is shown too, which finds damage within files.
    """
    for _, source in sources(urls, cache, videos):
        if isinstance(source, DataError):
            yield one_line(str(source))
            continue
        yield from (one_line(bad.reason) for bad in source.known_bad())
        if decode:
            yield from (one_line(bad.reason) for bad in undecodable(source))


def undecodable(source: IndexedSource) -> Iterator[BadSample]:
    """Samples whose headers are right but of which a frame or an image can't be decoded."""
    decoded_members = set()
    for number in range(len(source)):
        shard, key = source.where(number)
        member = source.member(number)
        if member in decoded_members:
            continue
        decoded_members.add(member)
        try:
            with_media = source.load(number)
        except DataError:
            continue  # known_bad has it
        for visual, media in zip(with_media.sample.visuals, with_media.media, strict=True):
            try:
                _decode_all(visual, media, f"{shard}, member '{visual.name}'")
            except DataError as error:
                yield BadSample(shard, key, str(error), "media")


def _decode_all(visual: Visual, media: "Media | Virtual", name: str) -> None:
    """Raises DataError for the first frame of a video, or the image, that can't be decoded."""
    # late: torch takes 2 s, and writing shards needs none of it
    from vxl.video.decode import open_video
    from vxl.video.load import load_image
    from vxl.video.virtual import Virtual

    if isinstance(media, Virtual):
        for number in range(visual.frames):
            media.frames([number], None)
    elif visual.kind == "image":
        load_image(media, None, name=name)
    else:
        with open_video(media, name=name) as reader:
            for _ in reader.frames(range(visual.frames)):
                pass


def stats(urls: list[str], cache: Path, *, videos: Path | None = None) -> dict[str, Any]:
    """Counts and sizes of samples, media and text; `vxl shards stats` prints it."""
    totals: Counter[str] = Counter()
    seconds: list[float] = []
    fps: list[float] = []
    words: list[int] = []
    sizes: Counter[str] = Counter()
    for url, source in sources(urls, cache, videos):
        if isinstance(source, DataError):
            raise source
        totals.update(shards=1, bytes=describe_file(url)[0], samples=len(source))
        counted_members = set()
        for number in range(len(source)):
            try:
                sample = source.record(number)
            except DataError:
                totals["bad"] += 1
                continue
            totals["questions"] += sample.question is not None
            totals["text only"] += not sample.visuals
            question_texts = [sample.question.question, *sample.question.options] if sample.question else []
            words.append(
                sum(len(text.split()) for text in [*question_texts, *(turn.text for turn in sample.turns)])
            )
            member = source.member(number)
            if member in counted_members:
                continue
            counted_members.add(member)
            totals["members"] += 1
            for visual in sample.visuals:
                totals[visual.kind + "s"] += 1
                sizes[f"{visual.width}x{visual.height}"] += 1
                if visual.kind == "video":
                    totals["frames"] += visual.frames
                    seconds.append(visual.seconds)
                    fps.append(visual.fps)
    names = (
        "shards",
        "bytes",
        "members",
        "samples",
        "questions",
        "text only",
        "videos",
        "images",
        "frames",
        "bad",
    )
    return {
        **{name: totals[name] for name in names},
        "seconds": summary(seconds),
        "fps": summary(fps, summed=False),
        "words": summary(words),
        "sizes": dict(sizes.most_common(5)),
    }


def summary(values: Sequence[float], *, summed: bool = True) -> dict[str, float]:
    """Least, median, largest and, where it means something, sum."""
    if not values:
        return {}
    array = np.array(values, float)
    statistics = {"min": array.min(), "median": np.median(array), "max": array.max()}
    if summed:
        statistics["sum"] = array.sum()
    return {name: round(float(value), 3) for name, value in statistics.items()}


def wrong_members(members: list[TarMember], origin: str) -> dict[int, str]:
    """What would make members of a folder or JSON list bad once written: {their number: reason}."""
    reason_by_member: dict[int, str] = {}
    keys: dict[str, int] = {}
    for number, member in enumerate(members):
        reason = member.bad
        if reason is None:
            entry = describe_member(
                origin, member.key, member.files, lambda s, files=member.files: media_of_member(s, files[s])
            )
            _, reason = count_samples(entry, origin)
        if not reason and member.key in keys:
            first = keys[member.key] + 1
            reason = (
                f"{origin}: samples {first} and {number + 1} both have the key '{member.key}' in a shard "
                "(dots become _).\n  give every sample a name of its own"
            )
        if reason:
            reason_by_member[number] = reason
        else:
            keys[member.key] = number
    return reason_by_member


def media_of_member(suffix: str, content: Content) -> Media:
    """What a member's content is read from: a path for media, else bytes."""
    if not isinstance(content, Path):
        return encoded(content)
    try:
        if media_kind(f".{suffix}") is None:
            return content.read_bytes()
        content.stat()
        return str(content)
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise DataError(f"{content} can't be read: {getattr(error, 'strerror', None) or error}") from error
